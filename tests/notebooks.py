"""The notebooks: executed in a folder of their own, compared with what is stored in them, and stored anew.

python tests/notebooks.py [NAME ...]        executes notebooks (default: all) and stores what they print and draw; `make notebooks`
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image

BESIDE = ("talk.ogg", "talk.csv")
"""Files that stand beside the notebooks and are theirs."""
FIXED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # The instructions that every x86-64 processor has: others round otherwise, and training carries it on.
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "JUPYTER_PLATFORM_DIRS": "1",  # else jupyter_core warns
    "HF_HUB_OFFLINE": "1",  # the model of sentences is carried by a package
}
"""What a kernel's environment says, whoever starts it, so that numbers do not depend on that."""
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
RULE = re.compile(r"[-─]{3,}")
SHARE, UNITS = {False: 0.0, True: 0.02}, {False: 1, True: 3}  # see alike_numbers; True: after training, which carries roundings on
TILES, MEAN, WORST = 16, 3.0, 40.0  # of 255: how far apart two pictures may be on average, and in the tile of a grid that differs most


class _Kernel(AsyncKernelManager):  # type: ignore[misc]
    """This very Python, whatever kernels somebody has installed under a notebook's name; nobody else on the machine can speak to it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(transport_encryption="required", **given)

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        about = {"supported_encryption": ["curve"]}
        return KernelSpec(argv=argv, display_name=KERNELSPEC["display_name"], language=KERNELSPEC["language"], metadata=about)


def executed(path: Path, folder: Path) -> Any:
    """A notebook with what it prints and draws now, in ``folder``: by this checkout, as FIXED says, without anybody's settings of IPython.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook: Any = nbformat.read(path, as_version=4)
    for name in BESIDE:
        shutil.copy(FOLDER / name, folder)
    with tempfile.TemporaryDirectory() as settings:
        env = os.environ | FIXED | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": settings}
        env.pop("MPLBACKEND", None)
        client = NotebookClient(
            notebook, timeout=300, kernel_manager_class=_Kernel, resources={"metadata": {"path": str(folder)}}, record_timing=False
        )
        client.execute(env=env)
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata = {"kernelspec": dict(KERNELSPEC)}
    return notebook


def smaller(png: str) -> str:
    """A picture (base64) with the 256 colours that suit it best, which nobody sees and which take a third of the space."""
    buffer = BytesIO()
    Image.open(BytesIO(base64.b64decode(png))).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def shown(cell: Any) -> list[tuple[str, str]]:
    """What a cell shows, in order: (kind, content); pieces of one stream are one, and a table is there twice, as text and as HTML."""
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
            found += [("text", output.data[kind]) for kind in ("text/plain", "text/html") if kind in output.data]
    return found


def trains(notebook: Any) -> bool:
    """Whether a notebook fits a model."""
    return any("import fit" in cell.source for cell in notebook.cells)


def difference(kind: str, stored: str, fresh: str, *, trained: bool) -> str | None:
    """Why two pieces of output are not the same; None: they are."""
    if kind == "picture":
        return picture_difference(*(Image.open(BytesIO(base64.b64decode(x))).convert("RGB") for x in (stored, fresh)))
    texts = [RULE.sub("---", text) for text in (stored, fresh)]
    words = [" ".join(NUMBER.sub("#", text).split()) for text in texts]
    if words[0] != words[1]:
        return f"other words:\n{stored}\nnow:\n{fresh}"
    for was, now in zip(*(NUMBER.findall(text) for text in texts), strict=True):
        if not alike_numbers(was, now, trained=trained):
            return f"{was} was stored, {now} is found, in:\n{fresh}"
    return None


def alike_numbers(was: str, now: str, *, trained: bool) -> bool:
    """Whole numbers must be the same, others up to some units of the last digit and a share: another processor rounds otherwise."""
    if "." not in was and "e" not in was:
        return float(was) == float(now)
    digits, _, power = was.partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(float(was) - float(now)) <= (UNITS[trained] + 1e-6) * unit + SHARE[trained] * abs(float(was))


def picture_difference(stored: Any, fresh: Any) -> str | None:
    """The same of two pictures: their sizes, their mean difference, and that of the tile in which they differ most."""
    if max(abs(a - b) for a, b in zip(stored.size, fresh.size, strict=True)) > 0.03 * max(stored.size):
        return f"a picture of {stored.size} was stored, one of {fresh.size} is found"
    mean, worst = apart(stored, fresh)
    if mean <= MEAN and worst <= WORST:
        return None
    return f"another picture: its colours are {mean:.1f} apart, in one place {worst:.1f}"


def apart(stored: Any, fresh: Any) -> tuple[float, float]:
    """How far apart the colours of two pictures are, from 0 to 255: on average, and in the worst of TILES x TILES tiles."""
    small = [np.asarray(picture.resize((8 * TILES, 8 * TILES), Image.Resampling.BOX), dtype=float) for picture in (stored, fresh)]
    difference = np.abs(small[0] - small[1]).mean(axis=2)
    tiles = difference.reshape(TILES, 8, TILES, 8).mean(axis=(1, 3))
    return float(difference.mean()), float(tiles.max())


def differences(stored: Any, fresh: Any) -> list[str]:
    """Every cell that shows something else than what is stored."""
    found, trained = [], trains(stored)
    for number, (was, now) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        before, after = shown(was), shown(now)
        if [kind for kind, _ in before] != [kind for kind, _ in after]:
            found.append(f"cell {number}: showed {[kind for kind, _ in before]}, shows {after}")
            continue
        said = [difference(kind, a, b, trained=trained) for (kind, a), (_, b) in zip(before, after, strict=True)]
        found += [f"cell {number}: {text}" for text in said if text]
    return found


def store(paths: list[Path]) -> None:
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(f"{path.name}: executed and stored, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    known = {name for path in NOTEBOOKS for name in (path.stem, path.name)}
    if unknown := set(sys.argv[1:]) - known:
        sys.exit(f"no such notebook: {', '.join(sorted(unknown))}; there are {', '.join(path.stem for path in NOTEBOOKS)}")
    store([path for path in NOTEBOOKS if not sys.argv[1:] or path.stem in sys.argv[1:] or path.name in sys.argv[1:]])
