"""A stream on standard input: a line in, a line out, at once.

Lines are those of :mod:`dgl_merc.inference.json_lines`. ``{"dialogue_id": "d1", "end": true}`` says that a dialogue is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from dgl_merc.errors import InputError
from dgl_merc.inference.answers import answer_line
from dgl_merc.inference.json_lines import name_of, parse_utterance, read_lines, read_object
from dgl_merc.inference.stream import Stream

__all__ = ["listen"]


def listen(stream: Stream, file: BinaryIO, name: str = "standard input") -> Iterator[str]:
    """Answer utterances as they come.

    Args:
        stream: the runs that listen.
        file: of lines; open for bytes.
        name: of it, for people.

    Yields:
        A line of JSON for each utterance, without its end.

    Raises:
        InputError: a line is no utterance, or does not fit the runs. What came before it is answered.
    """
    for place, line in read_lines(file, name):
        value = read_object(line, place)
        over = value.get("end") is True  # a number is a time
        if not over or {"speaker", "features", "text"} & set(value):
            utterance = parse_utterance(value, place, stream.task.target)
            try:
                yield answer_line(stream.answer(utterance))
            except InputError as error:
                raise type(error)(f"{place}{error}") from None
        if over:
            stream.end(name_of(value, "dialogue_id", place))
