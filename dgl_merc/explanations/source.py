"""Where the dialogue is that a run is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dgl_merc.corpus import Corpus
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.errors import InputError
from dgl_merc.inference.conversations import read_conversations
from dgl_merc.inference.utterance import Expected
from dgl_merc.training.run_folder import SavedRun
from dgl_merc.training.source import corpus_of

__all__ = ["corpus_for"]


def corpus_for(run: SavedRun, source: Path | None, features: Sequence[str] = (), nan: NanPolicy = "error") -> Corpus:
    """The corpus of conversations, or, without a source, the one the run was trained on.

    Args:
        run: whose modalities and target it is to have.
        source: as :func:`~dgl_merc.inference.conversations.read_conversations` takes it.
        features: of a CSV.
        nan: the same: whether a NaN in features is an error or makes the modality absent.

    Raises:
        InputError: as there, and features without a source.
    """
    if source is None:
        if features or nan != "error":
            raise InputError(f"{'--features' if features else '--nan'}: expected a CSV after the dialogue, found none; name it")
        return corpus_of(run, None)
    return read_conversations(source, Expected.of([run]), features=features, nan=nan)
