"""The grammar of ``--features``: which modality comes from which file, and how its rows find their utterances.

There are six forms:

    text={split}_sent_emo.minilm.npy    by row: row i of the array is row i of the CSV ({split}: of that split's rows)
    audio=av.mat:mfcc                   the same of one array of a MAT or HDF5 file (av.h5:group/mfcc)
    audio=av.npz:mfcc13,log(mel128)     by key: arrays of the archive, joined by its dialogue_id, utterance_id and split
    text=columns:text_*                 from columns of the table: a name, a pattern (by number, where the names are one word and a
                                        number), or a range such as f0..f9
    text=file:roberta1,roberta4         arrays of the imported file itself, as its layout names them (dglmerc import FILE)
    text=other.pkl:roberta_mean         arrays of another published file that has the same dialogues (dglmerc import FILE)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dgl_merc.corpus.reading.expressions import Expression, parse_expressions
from dgl_merc.errors import InputError, at

__all__ = ["FeatureSpec", "parse_specs"]

_FILE = re.compile(r"(?P<path>.+?\.(?P<kind>npy|npz|mat|h5|hdf5|pkl|pickle))(?::(?P<rest>.*))?", re.DOTALL)
_KINDS: dict[str, Literal["npz", "mat", "hdf5", "pickle"]] = {
    "npz": "npz",
    "mat": "mat",
    "h5": "hdf5",
    "hdf5": "hdf5",
    "pkl": "pickle",
    "pickle": "pickle",
}
_FORM = (
    "expected MODALITY=FILE.npy, MODALITY=FILE.npz:ARRAY,..., MODALITY=FILE.mat:ARRAY, MODALITY=FILE.h5:ARRAY, MODALITY=columns:NAME,..., "
    "MODALITY=file:ARRAY,... or MODALITY=OTHER.pkl:ARRAY,..."
)


@dataclass(frozen=True)
class FeatureSpec:
    """One ``--features`` option.

    Attributes:
        text: as it was given.
        modality: a plain word.
        kind: where the numbers are.
        path: of the file, perhaps with ``{split}`` in it; empty for columns and for arrays of the imported file.
        expressions: the arrays of an archive, of the imported file, or of another one; of a MAT or HDF5 file the name of one.
        columns: names, patterns and ranges of columns.
    """

    text: str
    modality: str
    kind: Literal["npy", "npz", "mat", "hdf5", "columns", "file", "pickle"]
    path: str = ""
    expressions: tuple[Expression, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The beginning of messages about the option itself."""
        return f"--features {self.text}: "

    @property
    def per_split(self) -> bool:
        """Whether there is one file per split."""
        return "{split}" in self.path

    def resolve(self, folder: Path, split: str = "") -> Path:
        """The file: relative to ``folder``, else to the working directory.

        Raises:
            InputError: in neither place; the message names both.
        """
        name = self.path.replace("{split}", split)
        places = [folder / name, Path(name)]
        for place in places:
            if place.is_file():
                return place
        tried = " and ".join(dict.fromkeys(str(place) for place in places))
        raise InputError(f"{at(places[0])}{self.modality}: expected a file, found none; tried {tried} (--features {self.text})")


def parse_specs(texts: tuple[str, ...] | list[str]) -> tuple[FeatureSpec, ...]:
    """The ``--features`` options, in order.

    Raises:
        InputError: not of the form, or two for one modality.
    """
    specs = tuple(parse_spec(text) for text in texts)
    for number, spec in enumerate(specs):
        if any(spec.modality == other.modality for other in specs[:number]):
            raise InputError(f"{spec.where}expected each modality once, found {spec.modality!r} twice")
    return specs


def parse_spec(text: str) -> FeatureSpec:
    """One ``--features`` option.

    >>> spec = parse_spec("audio=av.npz:mfcc13,log(mel128)")
    >>> spec.modality, spec.kind, spec.path, [e.text for e in spec.expressions]
    ('audio', 'npz', 'av.npz', ['mfcc13', 'log(mel128)'])

    Raises:
        InputError: not of the form.
    """
    where = f"--features {text}: "
    modality, equals, rest = text.partition("=")
    modality = modality.strip()
    if not equals or not rest:
        raise InputError(f"{where}{_FORM}, found no {'file' if equals else 'equals sign'}")
    if not modality.isidentifier() or modality == "utterance":
        raise InputError(f"{where}expected a modality named by a plain word other than 'utterance', found {modality!r}")
    if rest.startswith("columns:"):
        columns = tuple(piece.strip() for piece in rest.removeprefix("columns:").split(",") if piece.strip())
        if not columns:
            raise InputError(f"{where}expected names of columns, found none")
        return FeatureSpec(text, modality, "columns", columns=columns)
    if rest.startswith("file:"):
        return FeatureSpec(text, modality, "file", expressions=parse_expressions(rest.removeprefix("file:"), where))
    return _of_file(text, modality, rest, where)


def _of_file(text: str, modality: str, rest: str, where: str) -> FeatureSpec:
    file = _FILE.fullmatch(rest)
    if not file:
        raise InputError(f"{where}{_FORM}, found {rest!r}")
    if file["kind"] == "npy":
        if file["rest"] is not None:
            raise InputError(f"{where}expected nothing behind .npy (it holds one array), found ':{file['rest']}'")
        return FeatureSpec(text, modality, "npy", file["path"])
    if not file["rest"]:
        raise InputError(f"{where}expected the names of arrays behind the file, as {file['path']}:ARRAY,log(ARRAY), found none")
    expressions = parse_expressions(file["rest"], where)
    kind = _KINDS[file["kind"]]
    if kind in ("mat", "hdf5") and (len(expressions) > 1 or expressions[0].function):
        raise InputError(f"{where}expected the name of one array behind the file, found {file['rest']!r}")
    return FeatureSpec(text, modality, kind, file["path"], expressions)
