"""Finished runs as one predictor: conversations in, a table out.

>>> from dgl_merc.inference import Predictor
>>> predictor = Predictor.open("runs/seed0", "runs/seed1")  # doctest: +SKIP
>>> table = predictor.predict("talk.csv")  # doctest: +SKIP
>>> table = predictor.predict("talk.csv", media="recordings")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.extraction import Extractors, Media
from dgl_merc.extraction.extractor import open_extractor
from dgl_merc.inference.conversations import as_corpus, completed, read_conversations
from dgl_merc.inference.making import Making
from dgl_merc.inference.utterance import Expected, Utterance
from dgl_merc.training.prediction import averaged, predict, table_of
from dgl_merc.training.run_folder import SavedRun, open_run

__all__ = ["Predictor"]

_KEPT = ("utterance_id", "start", "end", "text")
"""Columns of what was given that the answers repeat, where they are there."""


class Predictor:
    """One run, or several whose answers are averaged.

    Labels, widths, modalities, scaling and the speakers known by name are each run's own.

    Args:
        runs: one or more, of the same target and classes; what they hear and how they are built may differ.
        device: where to compute.

    Raises:
        InputError: no such runs, damaged ones, or such as can't be averaged.
    """

    def __init__(self, runs: Sequence[SavedRun], *, device: str = "cpu") -> None:
        self.runs = tuple(runs)
        self.expected = Expected.of(runs)
        self.device = device
        self.models = [run.model(device) for run in runs]

    @classmethod
    def open(cls, *paths: str | Path, device: str = "cpu") -> Predictor:
        """From run folders."""
        return cls([open_run(Path(path)) for path in paths], device=device)

    def predict(
        self,
        source: str | Path | Corpus | Iterable[Utterance],
        *,
        media: str | Path | Media | None = None,
        models: Mapping[str, str] | None = None,
        extractors: Extractors | None = None,
    ) -> pd.DataFrame:
        """What the runs say of every utterance.

        Args:
            source: a file or folder as :func:`~dgl_merc.inference.conversations.read_conversations` takes it, a corpus, or utterances.
            media: the folder of the recordings that a CSV or a corpus speaks of: features that it lacks are made of them, as those of the
                runs' training were; features of texts are made without.
            models: modality -> where the model that makes its features is on this machine, if it is not where it was.
            extractors: that are kept open from call to call, or look at recordings in several processes.

        Returns:
            A row an utterance, dialogue by dialogue: ``dialogue_id, position`` (counted from 0), ``utterance_id``, ``start``, ``end`` and
            ``text`` where they were given (``utterance_id`` also where positions were given, which it repeats), ``speaker``, ``label``
            (``score``) where any was given, ``predicted``, ``p_<class>`` (``predicted_score`` of runs that learn scores), and what else
            the models say, such as ``sigma_text``. Of a corpus with several splits, ``split`` before all.

        Raises:
            InputError: what was given does not fit the runs, features can't be made, or it is the corpus of a run whose test split was not
                evaluated yet.
        """
        folder = Media(Path(media)) if isinstance(media, str | Path) else media
        with Extractors(1, partial(open_extractor, device=self.device)) as own:
            making = Making(folder, models or {}, extractors or own)
            if isinstance(source, str | Path):
                corpus = read_conversations(Path(source), self.expected, making=making)
            elif isinstance(source, Corpus):
                corpus = completed(source, self.expected, str(source.path or source.name), making=making)
            else:
                corpus = as_corpus(source, self.expected, making=making)
        for run in self.runs:
            if len(run.unseen(corpus)):
                raise InputError(f"{at(run.path)}its test split was not evaluated yet; finish the table it belongs to (ablate --final)")
        datas = [run.dialogue_data(corpus) for run in self.runs]
        every = np.arange(len(corpus))
        parts = [predict(model, data, every, device=self.device) for model, data in zip(self.models, datas, strict=True)]
        table = table_of(datas[0], {"": averaged(parts)}).drop(columns="split")
        for name in ("label", "score"):
            if name in table and table[name].isna().all():
                table = table.drop(columns=name)
        for name in reversed(_KEPT):
            if name in corpus.utterances and corpus.utterances[name].notna().any():
                table.insert(2, name, corpus.utterances[name].to_numpy())
        if len(set(corpus.splits)) > 1:
            table.insert(0, "split", corpus.utterances["split"].to_numpy())
        return table
