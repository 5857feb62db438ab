"""Text and numbers as the instructions of a pickle write them."""

from __future__ import annotations

import re

from dgl_merc.corpus.foreign.pickle_terms import NotDataError

__all__ = ["latin1", "long", "number_text", "unescaped", "unquoted", "utf8"]

_NUMBER_BYTES = 1024
"""Of one integer: reading a longer one from text, or printing it, takes time in proportion to its square."""
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[\s\S])")
_PLAIN = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t", "r": "\r"}


def number_text(raw: bytes) -> str:
    """The digits of a number, not too many.

    Raises:
        NotDataError: more than any data has.
        ValueError: no ASCII.
    """
    if len(raw) > 2 * _NUMBER_BYTES:
        raise NotDataError(f"expected a number, found one of {len(raw)} digits; nothing in the field needs it")
    return raw.decode("ascii")


def latin1(raw: bytes) -> str:
    """Python 2's bytes."""
    return raw.decode("latin-1")


def utf8(raw: bytes) -> str:
    """Text; half a surrogate pair is none (``ValueError``)."""
    return raw.decode("utf-8")


def long(raw: bytes) -> int:
    """An integer from its bytes, the lowest first.

    Raises:
        NotDataError: longer than any data is.
    """
    if len(raw) > _NUMBER_BYTES:
        raise NotDataError(f"expected a number, found one of {len(raw)} bytes; nothing in the field needs it")
    return int.from_bytes(raw, "little", signed=True)


def unquoted(raw: bytes) -> str:
    """A byte string of Python 2's protocol 0, as its ``repr`` wrote it, as latin1.

    Raises:
        ValueError: not quoted, or an escape that ``repr`` does not write.
    """
    text = raw.decode("latin-1").strip()
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise ValueError("a text string without its quotes")
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) == 3:
        return chr(int(code[1:], 16))
    if code not in _PLAIN:
        raise ValueError("an escape that is none")
    return _PLAIN[code]


def unescaped(raw: bytes) -> str:
    """Text of protocol 0. Narrow builds of Python 2 wrote a character beyond 65535 as a pair of surrogates, which are joined.

    Raises:
        ValueError: an escape that is none, or half a pair.
    """
    text = raw.decode("raw-unicode-escape")
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
