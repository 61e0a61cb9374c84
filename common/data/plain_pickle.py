"""Read pickles of plain data without executing any of their code.

A pickle can call any function by name, and can set any state of the result. Here no function can be named but those of
numpy that rebuild an array, and stand-ins that check their arguments take the place of these.

It does not defend against files that use up the memory, or are nested so deeply that the interpreter ends.
"""
from __future__ import annotations

import io
import pickle
import re
import struct
import tokenize
from typing import Any

import numpy as np

from common.errors import ZooError, reason_of

_MAX_HEADER_BYTES = 1000  # the header of a single object has 118
_ERRORS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError,
           MemoryError, OverflowError, RecursionError, struct.error)
_NUMBERS = re.compile(r"[fiu][1248]|b1")
_OBJECT = re.compile(r"O[48]?")


def read_plain(path: str) -> Any:
    """Read a pickle of lists, dicts, tuples, strings and numbers; ZooError if it holds anything else or is damaged.

    Lists of a list or tuple may hold arrays of numbers too; others are not returned as arrays.
    """
    content = _load(path, 0)
    if not isinstance(content, (list, tuple)):
        return content
    return [[_unwrap(item, 0) for item in part] if isinstance(part, list) else part for part in content]


def read_arrays(path: str) -> Any:
    """Read an .npy file that holds a dict of arrays of numbers, or a dict of such dicts.

    Arrays are read-only; deeper ones, and those of other types, are not returned as arrays. Raises ZooError if the file
    holds anything else, or is damaged.
    """
    with open(path, "rb") as file:
        head = io.BytesIO(file.read(_MAX_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(head)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else \
            np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(head)
    except (*_ERRORS, SyntaxError, tokenize.TokenError) as error:
        raise ZooError(f"{path}: is not an .npy file of numpy.save ({reason_of(error)})") from None
    if not dtype.hasobject or shape != ():
        raise ZooError(f"{path}: holds an array {dtype} {shape}, expected a dict of layers")
    return _unwrap(_unwrap(_load(path, head.tell()), 0), 2)


class _Dtype:
    """Stand-in for numpy.dtype: a number of 1 to 8 bytes, or an object."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *flags: Any):
        del flags  # align and copy, which do not matter for numbers
        if not isinstance(code, str) or not (_NUMBERS.fullmatch(code) or _OBJECT.fullmatch(code)):
            raise pickle.UnpicklingError("an array is not of numbers")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 8 or state[1] not in ("<", ">", "|", "=") or any(
                part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of numbers has fields, a base or a shape in its dtype")
        self.order = state[1]


class _Array:
    """Stand-in for an array, backed by the bytes of the file, or for the object of an array that holds a single one."""

    content: Any = None

    def __init__(self, kind: Any, shape: Any, typecode: Any):
        if kind is not _Array:
            raise pickle.UnpicklingError("an array is not constructed as numpy does it")
        del shape, typecode  # of the empty array that numpy creates before it sets the state

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise pickle.UnpicklingError("the state of an array is not of the form that numpy writes")
        _, shape, dtype, is_fortran, data = state
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise pickle.UnpicklingError("an array has an invalid shape")
        if _OBJECT.fullmatch(dtype.code):
            if shape != () or not isinstance(data, list) or len(data) != 1:
                raise pickle.UnpicklingError("an array holds more or less than one object")
            self.content = data[0]
            return
        if isinstance(data, str):  # as Python 2 wrote bytes
            data = data.encode("latin1")
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("the content of an array is not bytes")
        # raises ValueError if the sizes differ
        self.content = np.frombuffer(data, np.dtype(dtype.order + dtype.code)).reshape(
            shape, order="F" if is_fortran else "C")


class _Unpickler(pickle._Unpickler):  # in Python: the one in C allocates as much as a file asks for
    """Refuses all classes and functions but the stand-ins for those that rebuild an array.

    A pickle can call these, but not set their state: `__setstate__` of a class lacks an argument, and `str.encode` has
    no attributes.
    """

    _STAND_INS = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Array,
                  ("numpy.core.multiarray", "_reconstruct"): _Array, ("numpy._core.multiarray", "_reconstruct"): _Array,
                  ("_codecs", "encode"): str.encode}  # for bytes, as Python 3 writes them for protocol 2

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data does not need")
        return self._STAND_INS[module, name]


def _unwrap(value: Any, levels: int) -> Any:
    """Replace stand-ins by their content, through the given number of dict levels."""
    if isinstance(value, _Array):
        return value.content
    if isinstance(value, dict) and levels:
        return {key: _unwrap(item, levels - 1) for key, item in value.items()}
    return value


def _load(path: str, offset: int) -> Any:
    with open(path, "rb") as file:
        file.seek(offset)
        content = io.BytesIO(file.read())
    try:
        return _Unpickler(content, encoding="latin1").load()
    except _ERRORS as error:
        raise ZooError(f"{path}: not a readable pickle of plain data ({reason_of(error)})"
                       ) from None

