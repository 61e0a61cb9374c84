"""Read pickles of plain data without executing what is in them. No TensorFlow.

A pickle can name any function and call it. These readers give it none but the few that rebuild numpy arrays, and those
only where arrays are expected, so a file can hold lists, dicts, strings, numbers and (`read_arrays`) arrays.
"""
from __future__ import annotations

import io
import pickle
import tokenize
from typing import Any

import numpy as np

from common.program import ZooError

_NPY_MAGIC = b"\x93NUMPY"
_ERRORS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError,
           UnicodeDecodeError, MemoryError, OverflowError)


def read_plain(path: str) -> Any:
    """Read a pickle of lists, dicts, tuples, strings and numbers.

    Raises:
        ZooError: it holds something else, or is damaged.
    """
    return _load(path, 0, _Unpickler)


def read_arrays(path: str) -> Any:
    """Read what numpy.save made of an object that is plain but for arrays of numbers, such as a dict of weights.

    Raises:
        ZooError: it holds something else, or is damaged.
    """
    with open(path, "rb") as file:
        head = file.read(len(_NPY_MAGIC))
        if head != _NPY_MAGIC:
            raise ZooError(f"{path}: begins with {head!r}, expected an .npy file of numpy.save")
        try:
            version = np.lib.format.read_magic(_from_start(file))
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else \
                np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
            raise ZooError(f"{path}: its header cannot be read ({error})") from None
        offset = file.tell()
    if not dtype.hasobject or shape != ():
        raise ZooError(f"{path}: holds an array {dtype} {shape}, expected a dict of layers")
    found = _load(path, offset, _ArrayUnpickler)
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found


def _from_start(file: Any) -> Any:
    file.seek(0)
    return file


class _Unpickler(pickle.Unpickler):
    """Finds no class and no function."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data do not need")


class _ArrayUnpickler(_Unpickler):
    """Finds what rebuilds an array."""

    def find_class(self, module: str, name: str) -> Any:
        parts = module.split(".")
        if parts[0] == "numpy" and parts[1:] in ([], ["core", "multiarray"], ["_core", "multiarray"]):
            allowed = {"_reconstruct": _empty_array, "ndarray": np.ndarray, "dtype": _dtype}
            if name in allowed:
                return allowed[name]
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them for protocol 2
            return _latin1
        return super().find_class(module, name)


def _empty_array(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array is not rebuilt as numpy does it")
    return np.ndarray((0,), np.dtype("b"))


def _dtype(text: Any, *flags: Any) -> np.dtype:
    if not isinstance(text, str) or len(text) > 3:
        raise pickle.UnpicklingError(f"an array has dtype {text!r}")
    return np.dtype(text, *flags)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text is encoded as {encoding!r}")
    return text.encode("latin1")


def _load(path: str, offset: int, unpickler: type) -> Any:
    with open(path, "rb") as file:
        file.seek(offset)
        content = io.BytesIO(file.read())
    try:
        return unpickler(content, encoding="latin1").load()
    except _ERRORS as error:
        raise ZooError(f"{path}: is no pickle of plain data that can be read ({type(error).__name__}: {error})"
                       ) from None
