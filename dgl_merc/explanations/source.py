"""Where the dialogue is that a run is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError
from dgl_merc.inference.conversations import read_conversations
from dgl_merc.inference.utterance import Expected
from dgl_merc.training.run_folder import SavedRun
from dgl_merc.training.source import corpus_of

__all__ = ["corpus_for"]


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
