"""Where the dialogue is that a run is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dgl_merc.corpus import Corpus
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.errors import InputError
from dgl_merc.inference.conversations import read_conversations
from dgl_merc.inference.making import Making
from dgl_merc.inference.utterance import Expected
from dgl_merc.training.run_folder import SavedRun
from dgl_merc.training.source import corpus_of

__all__ = ["corpus_for"]


def corpus_for(
    run: SavedRun, source: Path | None, features: Sequence[str] = (), nan: NanPolicy = "error", making: Making | None = None
) -> Corpus:
    """The corpus of conversations, or, without a source, the one the run was trained on.

    Args:
        run: whose modalities and target it is to have.
        source: as :func:`~dgl_merc.inference.conversations.read_conversations` takes it.
        features: of a CSV.
        nan: the same: whether a NaN in features is an error or makes the modality absent.
        making: what there is to make features with that the source lacks; None: its texts.

    Raises:
        InputError: as there, and what is for a source without one.
    """
    making = making or Making()
    if source is None:
        given = (("--features", features), ("--nan", nan != "error"), ("--media", making.media), ("--model", making.models))
        if odd := [name for name, there in given if there]:
            raise InputError(f"{odd[0]}: expected a CSV after the dialogue, found none; name it")
        return corpus_of(run, None)
    return read_conversations(source, Expected.of([run]), features=features, nan=nan, making=making)
