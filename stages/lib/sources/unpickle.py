"""Read the one kind of pickle that face verification sets are shipped as, and run nothing of it."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, Final

_ENCODE: Final = ("_codecs", "encode")
_LATIN1: Final = ("latin1", "latin-1", "iso-8859-1")
_LOAD: Final = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "GET", "BINGET", "LONG_BINGET", "MEMOIZE"}
_STORE: Final = {"PUT", "BINPUT", "LONG_BINPUT"}
_FRAME: Final = {"PROTO", "FRAME", "MARK", "STOP"}
_LISTS: Final = {"EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2"}
_FLAGS: Final = {"NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2"}
_TEXT: Final = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES: Final = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_ALLOWED: Final = _LOAD | _STORE | _FRAME | _LISTS | _FLAGS | _TEXT | _BYTES


class RefusedPickle(ValueError):
    """The pickle needs more than lists of bytes and truth values; the message names what."""


def load_lists_of_bytes(data: bytes) -> object:
    """Unpickle lists, tuples, bytes, text, truth values and small integers; strings of Python 2 become
    bytes (in protocols 1 and 2; its protocol 0 is not read).

    The one global that is allowed is `_codecs.encode` on Latin-1 text: Python 3 writes bytes so in protocols
    up to 2. It is never looked up: a function of ours stands in.

    Raises:
        RefusedPickle: any other global or operation, or not a pickle.
    """
    try:
        _check_operations(data)
        return _Lists(data).load()
    except RefusedPickle:
        raise
    except Exception as error:  # a damaged pickle fails in many ways
        raise RefusedPickle(f"it is damaged ({type(error).__name__})") from error


def _check_operations(data: bytes) -> None:
    # `find_class` alone leaves room to change objects or to exhaust memory by a far memo index.
    stored = 0
    for operation, argument, position in pickletools.genops(data):
        if operation.name not in _ALLOWED:
            raise RefusedPickle(f"operation {operation.name} at byte {position} is not needed for lists of bytes")
        if operation.name in _STORE:
            stored += 1
            if not 0 <= int(argument or 0) <= stored:
                raise RefusedPickle(f"memo index {argument} at byte {position} is out of order")


class _Lists(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._budget = len(data)  # text that is encoded again and again through the memo would fill memory

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) != _ENCODE:
            raise RefusedPickle(f"it asks for {module}.{name}, which is not allowed")
        return self._encode

    def _encode(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding not in _LATIN1:
            raise RefusedPickle("_codecs.encode is allowed on Latin-1 text only")
        self._budget -= len(text)
        if self._budget < 0:
            raise RefusedPickle("it expands to more bytes than the file has")
        return text.encode("latin-1")
