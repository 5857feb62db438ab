"""How much choosing the epoch on test would flatter: test scored at every look, into a file of its own that nothing reads.

Not a result, and said so wherever it is printed. It exists because published numbers were often chosen so, and a person who wants to set
their own beside them should see what that alone is worth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.metrics import weighted_f1
from dgl_merc.files import read_json, write_json
from dgl_merc.models import Model
from dgl_merc.training.data import DialogueData, Numbers
from dgl_merc.training.loop import Look
from dgl_merc.training.prediction import predict

__all__ = ["NOT_A_RESULT", "Oracle"]

NOT_A_RESULT = "not a result: an epoch chosen by its test score says nothing about other conversations"
"""What stands beside every number of an oracle."""


class Oracle:
    """Scores test at every look. It draws no random number, so a run is the same with and without it.

    Args:
        folder: where ``oracle.json`` stands; entries of a run that was cut off are kept.
        data: the corpus.
        test: numbers of the test dialogues.
        device: where the model is.

    Raises:
        InputError: no test utterance is labelled.
    """

    def __init__(self, folder: Path, data: DialogueData, test: Numbers, device: str) -> None:
        self.path, self.data, self.test, self.device = folder / "oracle.json", data, test, device
        o = data.corpus.offsets
        if not any((data.labels[o[d] : o[d + 1]] >= 0).any() for d in test):
            raise InputError(f"{at(data.corpus.path or data.corpus.name)}--oracle: expected a labelled test utterance, found none")
        self.looks: list[dict[str, Any]] = read_json(self.path)["looks"] if self.path.is_file() else []

    def __call__(self, look: Look, _best: Look, model: Model) -> None:
        """Score and write."""
        answers, rows, _ = predict(model, self.data, self.test, device=self.device)
        f1 = weighted_f1(self.data.labels[rows], self.data.task.predicted(answers))
        self.looks = [e for e in self.looks if e["number"] < look.number]  # what came after the state a run goes on from
        self.looks.append({"number": look.number, "epoch": look.epoch, "step": look.step, "test_weighted_f1": f1})
        write_json(self.path, {"this_is": NOT_A_RESULT, "looks": self.looks})

    def finish(self, chosen: Look) -> None:
        """Write how much the best look on test is above the one that dev chose."""
        best = max(self.looks, key=lambda e: (e["test_weighted_f1"], -e["number"]))
        by_dev = next(e for e in self.looks if e["number"] == chosen.number)
        flattery = best["test_weighted_f1"] - by_dev["test_weighted_f1"]
        write_json(self.path, {"this_is": NOT_A_RESULT, "best": best, "chosen_on_dev": by_dev, "flattery": flattery, "looks": self.looks})
