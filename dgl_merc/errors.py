"""Errors for people: one line that says where, what was expected, what was found and what to do."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DivergedError", "InUseError", "InputError", "at", "harmless", "is_out_of_memory"]


class InputError(Exception):
    """Bad input, named so that a person can mend it. The command line prints it as one line and exits with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class DivergedError(InputError):
    """Training that has gone astray: its loss or its probabilities are no numbers any more. Going on would not mend it."""


class InUseError(InputError):
    """Another process is at work in a folder."""


def harmless(text: str) -> str:
    """Text from anywhere as a terminal may have it: what would command it is replaced."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is Python's or torch's way to say that memory does not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and ("alloc" in str(error) or "out of memory" in str(error)))


def at(
    file: str | Path | None = None,
    *,
    line: int | None = None,
    dialogue: object = None,
    utterance: object = None,
) -> str:
    """The place of a fault, as every message begins: file, line, dialogue, utterance (what is known of them).

    >>> at("train.csv", line=3, dialogue=0, utterance=1)
    'train.csv: line 3: dialogue 0, utterance 1: '
    """
    parts = []
    if file is not None:
        parts.append(str(file))
    if line is not None:
        parts.append(f"line {line}")
    inside = [f"{name} {value}" for name, value in (("dialogue", dialogue), ("utterance", utterance)) if value is not None]
    if inside:
        parts.append(", ".join(inside))
    return "".join(f"{part}: " for part in parts)
