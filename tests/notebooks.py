"""The notebooks: executed in a folder of their own, compared with what is stored in them, and stored anew.

python tests/notebooks.py [NAME ...]        executes notebooks (default: all) and stores what they print and draw; `make notebooks`
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
SHARE, LEAST = 0.02, 0.011  # of a number with a decimal point: another processor rounds otherwise, and training carries it on
PIXELS = 12.0  # of 255, mean difference of two pictures seen small


def executed(path: Path, folder: Path) -> Any:
    """A notebook with what it prints and draws now."""
    notebook: Any = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("text/html", None)  # said again by text/plain
            output.get("metadata", {}).clear()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def shown(cell: Any) -> list[tuple[str, str]]:
    """What a cell shows, in order: (kind, content); pieces of one stream are one."""
    found: list[tuple[str, str]] = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            kind, text = output.name, output.text
            if found and found[-1][0] == kind:
                text = found.pop()[1] + text
            found.append((kind, text))
        elif output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        elif "image/png" in output.data:
            found.append(("picture", output.data["image/png"]))
        else:
            found.append(("text", output.data["text/plain"]))
    return found


def difference(kind: str, stored: str, fresh: str) -> str | None:
    """Why two pieces of output are not the same; None: they are."""
    if kind == "picture":
        small = [np.asarray(Image.open(BytesIO(base64.b64decode(x))).convert("L").resize((96, 96)), dtype=float) for x in (stored, fresh)]
        apart = float(np.abs(small[0] - small[1]).mean())
        return f"another picture: its pixels are {apart:.1f} apart" if apart > PIXELS else None
    words = [" ".join(NUMBER.sub("#", re.sub(r"[-─]{3,}", "---", text)).split()) for text in (stored, fresh)]
    if words[0] != words[1]:
        return f"other words:\n{stored}\nnow:\n{fresh}"
    for was, now in zip(*(NUMBER.findall(re.sub(r"[-─]{3,}", "---", text)) for text in (stored, fresh)), strict=True):
        whole = "." not in was and "e" not in was
        if abs(float(was) - float(now)) > (0 if whole else LEAST + SHARE * abs(float(was))):
            return f"{was} was stored, {now} is found, in:\n{fresh}"
    return None


def differences(stored: Any, fresh: Any) -> list[str]:
    """Every cell that shows something else than what is stored."""
    found = []
    for number, (was, now) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        before, after = shown(was), shown(now)
        if [kind for kind, _ in before] != [kind for kind, _ in after]:
            found.append(f"cell {number}: showed {[kind for kind, _ in before]}, shows {after}")
            continue
        said = [difference(kind, a, b) for (kind, a), (_, b) in zip(before, after, strict=True)]
        found += [f"cell {number}: {text}" for text in said if text]
    return found


def store(paths: list[Path]) -> None:
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(f"{path.name}: executed and stored, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    store([path for path in NOTEBOOKS if not sys.argv[1:] or path.stem in sys.argv[1:] or path.name in sys.argv[1:]])
