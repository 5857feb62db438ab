"""Training to be watched while it runs, in TensorBoard: a scalar per look, the settings as text, test at the end where it was evaluated.

The event files stand in the folder of the unfinished run and end up in the run folder, ``tensorboard/``. A resumed run writes a further
file, which takes back the points from its first look on: those of looks that no state was saved of.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgl_merc.errors import InputError
from dgl_merc.models import Model
from dgl_merc.settings import flat_settings
from dgl_merc.training.loop import Look

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TRACK", "Tracker", "check_tracking", "tracking"]

TRACK = "tensorboard"
"""The folder of the event files."""


def check_tracking(*, asked: bool) -> None:
    """Whether TensorBoard is there, if it is asked for.

    Raises:
        InputError: it is not.
    """
    if asked and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--log tensorboard: expected the package tensorboard, found none; pip install 'dglmerc[track]'")


@contextmanager
def tracking(folder: Path, settings: Mapping[str, Any], *, on: bool) -> Iterator[Tracker | None]:
    """A tracker whose files are complete when the block ends, however it ends; None where nothing is to be watched."""
    if not on:
        yield None
        return
    tracker = Tracker(folder, settings)
    try:
        yield tracker
    finally:
        tracker.close()


class Tracker:
    """Writes a point a look. It draws no random number, so a run is the same with and without it.

    Args:
        folder: where ``tensorboard/`` stands; files of a run that was cut off stay.
        settings: of the run, as JSON.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = folder / TRACK, settings
        self.path.mkdir(exist_ok=True)
        self._writer: SummaryWriter | None = None

    def __call__(self, look: Look, _best: Look, _model: Model) -> None:
        """Write the look, to be seen at once."""
        writer = self._writer or self._begin(look.step)
        for name, value in (
            ("train/loss", look.loss),
            ("train/learning rate", look.learning_rate),
            ("dev/weighted F1", look.dev_weighted_f1),
            ("seconds per look", look.seconds),
        ):
            writer.add_scalar(name, value, look.step)
        writer.flush()

    def finish(self, metrics: Mapping[str, Any], out: Path) -> None:
        """Copy everything into a folder; there, write the test scores, if test was evaluated, at the step that dev chose.

        Args:
            metrics: what ``metrics.json`` holds.
            out: the run folder.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        shutil.copytree(self.path, out / TRACK)
        test = metrics["splits"].get("test")
        if test and test["utterances"]:
            with SummaryWriter(str(out / TRACK)) as writer:
                for name, key in (("test/weighted F1", "weighted_f1"), ("test/accuracy", "accuracy"), ("test/macro F1", "macro_f1")):
                    writer.add_scalar(name, test[key], metrics["chosen_step"])

    def close(self) -> None:
        """Everything is on the disk; a further look would begin a new file."""
        if self._writer:
            self._writer.close()
            self._writer = None

    def _begin(self, step: int) -> SummaryWriter:
        """A file of its own, which takes back what earlier ones say of this step and later ones."""
        from torch.utils.tensorboard import SummaryWriter

        resumed = any(self.path.iterdir())
        if resumed:
            time.sleep(1)  # files are read in the order of their names, which begin with the second they were made in
        self._writer = SummaryWriter(str(self.path), purge_step=step if resumed else None)
        if not resumed:
            rows = "\n".join(f"    {key} = {value}" for key, value in sorted(flat_settings(self.settings), key=lambda row: row[0]))
            self._writer.add_text("settings", rows, 0)  # indented: code, in TensorBoard's Markdown
        return self._writer
