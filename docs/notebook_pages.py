"""Notebooks as pages of the book: their words, their code, and what is stored beneath it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

__all__ = ["pages_of"]


def pages_of(folder: Path) -> dict[str, bytes]:
    """Pages and pictures of the notebooks in a folder: path in the book -> content."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.ipynb")):
        parts: list[str] = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = _text(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
                continue
            parts.append(f"```python\n{source}\n```")
            for output in cell["outputs"]:
                picture = output.get("data", {}).get("image/png")
                if picture:
                    name = f"{path.stem}-{len(found)}.png"
                    found[f"notebooks/{name}"] = base64.b64decode(_text(picture))
                    parts.append(f"![What the cell above draws.]({name})")
                elif text := _text(output.get("text", output.get("data", {}).get("text/plain", ""))).rstrip():
                    parts.append(f"```text\n{text}\n```")
        found[f"notebooks/{path.stem}.md"] = "\n\n".join(parts).encode()
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(value)
