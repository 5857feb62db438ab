"""``dglmerc import FILE OUT``: a published file is recognised by its structure and becomes a checked corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.readers.beside import moved
from dgl_merc.corpus.readers.known import known_layouts
from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published, Vectors
from dgl_merc.corpus.readers.table import NO_FEATURES
from dgl_merc.corpus.reading.assemble import Origin, assemble
from dgl_merc.corpus.reading.content import describe, read_content
from dgl_merc.corpus.reading.feature_spec import FeatureSpec, parse_specs
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.corpus.reading.labels import class_column, keep_classes, map_classes
from dgl_merc.corpus.reading.rows import Rows, arrange
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError, at

__all__ = ["read_published", "recognise"]


def recognise(content: Content, layout: str | None = None) -> Layout:
    """The layout of some content.

    Args:
        content: of a file or folder.
        layout: its name, where the user says it.

    Raises:
        InputError: none fits, or more than one.
    """
    layouts = known_layouts()
    if layout is not None and layout not in {known.name for known in layouts}:
        raise InputError(f"--layout: expected one of {', '.join(known.name for known in layouts)}, found {layout!r}")
    fitting = [known for known in layouts if known.kind == content.kind and known.recognise(content)]
    if layout is not None:
        fitting = [known for known in fitting if known.name == layout]
    if len(fitting) == 1:
        return fitting[0]
    found = f"a folder with {', '.join(content.value[:8]) or 'no file'}" if content.kind == "folder" else describe(content.value)
    if fitting:
        raise InputError(f"{at(content.path)}fits several layouts, {', '.join(known.name for known in fitting)}; name one with --layout")
    wanted = f"the layout {layout}" if layout else "a published layout (dglmerc import layouts lists them)"
    raise InputError(f"{at(content.path)}expected {wanted}, found {found}; one's own conversations: dglmerc import table")


def read_published(
    path: Path,
    features: Sequence[str] = (),
    *,
    layout: str | None = None,
    label_map: str | None = None,
    classes: Sequence[str] = (),
    label_only_where: Sequence[str] = (),
    nan: NanPolicy = "error",
    one_split: str | None = None,
) -> Corpus:
    """Read a file or folder of a published layout.

    Args:
        path: of it.
        features: as ``--features``; ``MODALITY=file:ARRAY,log(ARRAY)`` takes arrays of the file, ``MODALITY=OTHER.pkl:ARRAY``
            those of another with the same dialogues. They replace and add to those that the
            layout takes by itself.
        layout: its name; None: recognised.
        label_map: one of the layout's, by name; None: its first.
        classes: labels to learn, in this order, after the map; others become context.
        label_only_where: modalities without which an utterance becomes context.
        nan: whether a NaN in features is an error or makes the modality absent.
        one_split: the split of all utterances, of a layout without splits.

    Raises:
        InputError: any fault of the file; the message names dialogue and utterance.
    """
    specs = parse_specs(list(features))
    content = _content(path)
    known = recognise(content, layout)
    published = known.read(content, Choices(one_split))
    if not published.targets:
        arrays = list(published.arrays)
        raise InputError(
            f"{at(path)}expected utterances with labels, found features alone ({', '.join(arrays)}); import the file with the labels of "
            f"these dialogues, with --features NAME={path.name}:{arrays[0]}"
        )
    rows, targets, notes = _labelled(_arranged(path, published), published, known, label_map, classes)
    options = {
        "layout": known.name,
        "label_map": label_map,
        "features": list(features),
        "classes": list(classes),
        "label_only_where": list(label_only_where),
        "nan": nan,
        "one_split": one_split,
    }
    folder = path if path.is_dir() else path.parent
    origin = Origin(known.name, path, folder, published.files or (path,), options)
    beside = {spec.path: spec for spec in specs if spec.kind == "pickle"}
    wanted = _specs(published, specs)
    bare = () if wanted else (NO_FEATURES,)
    said = (f"layout: {known.name}, {known.says}", *published.notes, *notes, *bare)
    return assemble(
        published.name,
        rows,
        targets,
        wanted,
        origin,
        only_where=label_only_where,
        nan=nan,
        notes=said,
        arrays={"": published.arrays, **{name: _beside(spec, rows, folder) for name, spec in beside.items()}},
    )


def _content(path: Path) -> Content:
    """What a file holds, with the classes that some layout names as plain fields."""
    return read_content(path, records={name for known in known_layouts() for name in known.records})


def _beside(spec: FeatureSpec, rows: Rows, folder: Path) -> Mapping[str, Callable[[], Vectors]]:
    """The arrays of another published file."""
    path = spec.resolve(folder)
    content = _content(path)
    return moved(recognise(content).read(content, Choices("train")), rows, path)


def _arranged(path: Path, published: Published) -> Rows:
    """Dialogues together, utterances in order, each with its place in the file."""
    table = published.table.reset_index(drop=True)
    count = np.arange(len(table))
    files = [path] * len(table) if published.read_in is None else [published.files[k] for k in published.read_in]
    keys = table["dialogue_id"] if published.keys is None else published.keys
    places = pd.DataFrame({"read": count, "file": files, "dialogue": keys.astype("str")})
    places["line"] = published.lines if published.lines is not None else pd.Series([None] * len(table), dtype="Int64")
    named = table["utterance_id"] if "utterance_id" in table else table.groupby("dialogue_id", sort=False).cumcount()
    places["utterance"] = named.astype("str")
    order = table.pop("order").to_numpy(dtype=np.int64) if "order" in table else count
    return arrange(table, places, order)


def _labelled(
    rows: Rows, published: Published, known: Layout, label_map: str | None, classes: Sequence[str]
) -> tuple[Rows, dict[str, Target], list[str]]:
    """The first target after the label map and ``--classes``."""
    targets, notes = dict(published.targets), []
    if label_map is not None and label_map not in known.label_maps:
        maps = ", ".join(known.label_maps) or "none"
        raise InputError(f"--label-map: expected one that {known.name} has ({maps}), found {label_map!r}")
    name, target = next(iter(targets.items()), ("", None))
    if classes and (target is None or target.kind != "classes"):
        raise InputError(f"--classes: expected a file with classes, found {target or 'no target'}")
    table = rows.table.copy()
    for each, said in targets.items():
        if said.kind == "classes":
            table[each] = class_column(rows, each, said.labels, f"a label of {known.name}")
    if known.label_maps and target is not None:
        chosen = label_map or next(iter(known.label_maps))
        mapping = known.label_maps[chosen]
        if target.kind == "classes" and set(mapping) & set(target.labels):
            table[name], targets[name], counted = map_classes(table[name], name, mapping, f"--label-map {chosen}")
            notes += counted
    if classes:
        unknown = [label for label in classes if label not in targets[name].labels]
        if unknown:
            raise InputError(f"--classes: expected labels among {', '.join(targets[name].labels)}, found {unknown[0]!r}")
        table[name], counted = keep_classes(table[name], name, classes)
        targets[name] = Target("classes", tuple(classes))
        notes += counted
    return Rows(table, rows.places), targets, notes


def _specs(published: Published, given: Sequence[FeatureSpec]) -> tuple[FeatureSpec, ...]:
    """The layout's modalities, replaced and followed by those of ``--features``."""
    wanted: Mapping[str, FeatureSpec] = {
        **{spec.modality: spec for spec in (parse_specs([f"{m}=file:{said}"])[0] for m, said in published.modalities.items())},
        **{spec.modality: spec for spec in given},
    }
    return tuple(wanted.values())
