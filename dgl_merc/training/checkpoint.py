"""The state of a training that is under way, so that a killed run goes on and ends with the same bits.

    state-000120.safetensors   weights, optimiser moments, averaged and best weights, random state
    state.json                 counters and history, and the name and hash of the tensors that belong to them

The tensors are written first, under a name of their own; replacing ``state.json`` is the one moment at which the new state counts. So
there always is one complete state or none, and nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dgl_merc.errors import InputError, at
from dgl_merc.files import file_record, read_json, verify_files, write_bytes, write_json

__all__ = ["Checkpoint"]


class Checkpoint:
    """States of one training, the latest of which is kept.

    Args:
        folder: exists; ``state*`` in it belongs to this object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, number: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Put a new state in the place of the old one.

        Args:
            number: greater than that of every earlier state.
            tensors: of any device.
            state: as JSON.

        Raises:
            OSError: it can't be written; then the earlier state still stands.
        """
        name = f"state-{number:06d}.safetensors"
        write_bytes(self.folder / name, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
        write_json(self.folder / "state.json", {**state, "files": {name: file_record(self.folder / name)}})
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The latest state: tensors on the CPU, and the JSON; None if there is none yet.

        Raises:
            InputError: a file of it was changed or is missing.
        """
        if not (self.folder / "state.json").is_file():
            return None
        state = read_json(self.folder / "state.json")
        try:
            files = state.pop("files")
            (name,) = files
            verify_files(self.folder, files, hashes=True)
            return load((self.folder / name).read_bytes()), state
        except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
            raise InputError(
                f"{at(self.folder / 'state.json')}expected the state of a run, found a fault at {error}; begin anew with --force"
            ) from None
