"""Read pickles of plain data and arrays of numbers without executing any of their code.

A pickle can call any function by name, and can set any state of the result. Here no function can be named but those of
numpy that rebuild an array, and stand-ins that check their arguments take the place of these.

It does not defend against files that use up the memory, or are nested so deeply that the interpreter ends.
"""
from __future__ import annotations

import io
import pickle
import re
import struct
from typing import Any

import numpy as np

from common.errors import ZooError, first_line

_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_ERRORS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError,
           MemoryError, OverflowError, RecursionError, struct.error)
_CODE = re.compile(r"[fiu][1248]|b1|O[48]?")


def read_plain(path: str) -> Any:
    """Read a pickle of lists, dicts, tuples, strings, numbers and arrays of numbers.

    Raises ZooError if it holds anything else, or is damaged.
    """
    with open(path, "rb") as file:
        return _load(path, file.read())


def read_arrays(path: str) -> Any:
    """Read the object, such as a dict of arrays, that an .npy file of numpy.save holds; errors as `read_plain`."""
    with open(path, "rb") as file:
        magic, size = file.read(len(_NPY_MAGIC)), file.read(2)
        header, content = file.read(int.from_bytes(size, "little")), file.read()
    if magic != _NPY_MAGIC:
        raise ZooError(f"{path}: begins with {magic!r}, expected an .npy file of numpy.save")
    if b"'descr': '|O" not in header:
        raise ZooError(f"{path}: holds an array {header[:80]!r}, expected a dict of layers")
    value = _load(path, content)
    return value.item() if isinstance(value, _Array) and value.shape == () else value


class _Dtype:
    """Stand-in for numpy.dtype: a number of 1 to 8 bytes, or an object."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *flags: Any):
        del flags  # align and copy, which do not matter for numbers
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise pickle.UnpicklingError("an array is not of numbers")
        self.dtype = np.dtype("O" if code[0] == "O" else code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 8 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of numbers has fields, a base or a shape in its dtype")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array whose state is checked: numpy trusts a dtype and negative sides."""

    def __new__(cls, kind: Any, shape: Any, typecode: Any) -> _Array:
        if kind is not _Array:
            raise pickle.UnpicklingError("an array is not constructed as numpy does it")
        del shape, typecode  # of the empty array that numpy creates before it sets the state
        return super().__new__(cls, 0)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise pickle.UnpicklingError("the state of an array is not of the form that numpy writes")
        _, shape, stand_in, is_fortran, data = state
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise pickle.UnpicklingError("an array has an invalid shape")
        if stand_in.dtype.hasobject and shape:
            raise pickle.UnpicklingError("an array holds more than one object")
        super().__setstate__((1, shape, stand_in.dtype, bool(is_fortran), data))


class _Unpickler(pickle._Unpickler):  # in Python: the one in C allocates as much as a file asks for
    """Refuses all classes and functions but those of arrays, and the one that gives bytes in protocol 2.

    A pickle can also set the state of a function. These have none: `__setstate__` of a class lacks its argument.
    """

    _ALLOWED = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Array, ("_codecs", "encode"): str.encode,
                ("numpy.core.multiarray", "_reconstruct"): _Array, ("numpy._core.multiarray", "_reconstruct"): _Array}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data does not need")
        return self._ALLOWED[module, name]


def _load(path: str, content: bytes) -> Any:
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except _ERRORS as error:
        raise ZooError(f"{path}: not a readable pickle of plain data ({type(error).__name__}: {first_line(error)})"
                       ) from None
