"""Where the dialogue is that a run is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.inference.conversations import read_conversations
from dgl_merc.inference.utterance import Expected
from dgl_merc.training.run_folder import SavedRun
from dgl_merc.training.source import corpus_of

__all__ = ["corpus_for", "dialogue_named"]


def corpus_for(run: SavedRun, source: Path | None, features: Sequence[str] = ()) -> Corpus:
    """The corpus of conversations, or, without a source, the one the run was trained on.

    Args:
        run: whose modalities and target it is to have.
        source: as :func:`~dgl_merc.inference.conversations.read_conversations` takes it.
        features: of a CSV.

    Raises:
        InputError: as there, and features without a source.
    """
    if source is None:
        if features:
            raise InputError("--features: expected a CSV to find them in; name it after the dialogue")
        return corpus_of(run, None)
    return read_conversations(source, Expected.of([run]), features=features)


def dialogue_named(corpus: Corpus, word: str) -> int:
    """The number of a dialogue: the one that is called so, else the one of that number.

    Raises:
        InputError: there is none.
    """
    if word in corpus.dialogue_ids:
        return corpus.dialogue_ids.index(word)
    if word.isdecimal() and len(word) < 10 and int(word) < len(corpus):
        return int(word)
    some = ", ".join(corpus.dialogue_ids[:3]) + (", ..." if len(corpus) > 3 else "")
    raise InputError(f"{at(corpus.path or corpus.name)}expected a dialogue, by its name ({some}) or by number, found no {word!r}")
