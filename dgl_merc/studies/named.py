"""The tables and figures of the papers, by name: rows that can be asked for as ``--table VI`` instead of spelling them out.

MGLRA (Meng et al., IEEE/ACM TASLP 2024), section V. What the paper compares, and how it is read here:

- Table IV (V-B), with the mask and without. Without is a rate of 0; the matrices stay, and with nodes masked so does their token.
- Table V (V-C), each non-empty subset of the modalities.
- Table VI (V-D), components. GAF off: no attention filter, X^h = X^c. MRFA off: one round and no memory, X^R = X^h. MHA off: no
  attention, X^head = X^R, which the GRU takes and to which the speaker is added. MG off: a rate of 0, for its row equals "no mask" of
  Table IV. The paper adds them one after the other; taking each alone from the whole, and leaving out the graph, are rows of ours.
- Fig. 8 (V-E), heads. K, the width of a head, stays: not given there.
- Fig. 9 (V-E), masking rates.

MA-CMU-SGRNet (Zhang et al., IEEE TAFFC 2024), section V:

- Table IV (V-A), components, each alone taken from the whole. UW: without, modalities weigh the same. CMI: without, a weighted sum.
  SyE: without, no edge weight in the RGCN; SeE: without, no bias in the semantic encoder (the text says so). Rows of ours: without the
  syntactic encoder as such, and without the semantic one.
- Table V (V-B), each non-empty subset of the modalities; one alone has no alignment, no distribution and no fusion.
- Fig. 5 (V-A), alignment losses, each alone taken from the whole.
- Fig. 8 (V-C), lambda.

To add a model's tables, add an entry to :data:`NAMED`; the command's help says what there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dgl_merc.errors import InputError
from dgl_merc.studies.grid import Variant

__all__ = ["NAMED", "NETWORK_ALONE", "NamedStudy", "named_study"]

NETWORK_ALONE = ("model.dynamics.share=0",)
"""What all rows of a paper's table have unless ``--set`` says otherwise: no second opinion, which no paper has, and which would blur
what is compared."""


@dataclass(frozen=True)
class NamedStudy:
    """A table or figure of a model's paper.

    Attributes:
        kind: what the paper has.
        number: as printed there.
        paper: whose it is.
        note: what is compared and how it is to be read, in sentences.
        rows: changes of the preset; None: a row per subset of the modalities.
    """

    kind: Literal["table", "figure"]
    number: str
    paper: str
    note: str
    rows: tuple[Variant, ...] | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.kind.capitalize()} {self.number} of the {self.paper} paper"

    @property
    def slug(self) -> str:
        """What folders are called by."""
        return f"{self.kind}-{self.number}"

    def variants(self, modalities: Sequence[str]) -> tuple[Variant, ...]:
        """The rows, on a corpus.

        Args:
            modalities: that the preset would use, in the corpus's order.

        Raises:
            InputError: modalities are compared, and there is one.
        """
        if self.rows is not None:
            return self.rows
        if len(modalities) < 2:
            raise InputError(f"--{self.kind} {self.number} compares modalities, and here is one: {', '.join(modalities)}")
        return modality_rows(modalities)


def modality_rows(modalities: Sequence[str]) -> tuple[Variant, ...]:
    """Every non-empty subset, the smallest first; all of them is the preset as it is.

    >>> [(v.labels["modalities"], v.words) for v in modality_rows(["text", "audio"])]
    [('text', ('data.modalities=text',)), ('audio', ('data.modalities=audio',)), ('text+audio', ())]
    """
    sizes = range(1, len(modalities) + 1)
    subsets = ["+".join(subset) for size in sizes for subset in itertools.combinations(modalities, size)]
    return tuple(Variant({"modalities": s}, (f"data.modalities={s}",) if s != subsets[-1] else ()) for s in subsets)


def _along(label: str, key: str, values: Sequence[str]) -> tuple[Variant, ...]:
    """A row for each value of a setting."""
    return tuple(Variant({label: v}, (f"{key}={v}",)) for v in values)


_OFF = {
    "GAF": ("model.filter.output=none",),
    "MRFA": ("model.rounds=1", "model.memory=none"),
    "MHA": ("model.attention.heads=0", "model.speaker_base=head"),
    "MG": ("model.gcn.rate=0", "model.reconstruction=0"),  # without a mask, nothing is hidden that could be guessed
    "graph": ("model.fusion=none", "model.reconstruction=0"),  # without nodes, none is guessed
}


def _with(*on: str) -> Variant:
    """MGLRA with some of its parts, the others off; no graph, no mask either."""
    off = [part for part in _OFF if part not in on]
    labels = {part: "yes" if part in on else "-" for part in _OFF}
    return Variant(labels, _OFF["graph"] if "graph" in off else tuple(word for part in off for word in _OFF[part]))


_MGLRA = (
    NamedStudy(
        "table",
        "IV",
        "MGLRA",
        "With the mask and without. No reading of eq. 19 to 21 changes the number of parameters; "
        "the paper prints 17.45 MB without the mask and 13.21 MB with it.",
        (Variant({"mask": "no"}, _OFF["MG"]), Variant({"mask": "yes"})),
    ),
    NamedStudy("table", "V", "MGLRA", "Every subset of the modalities."),
    NamedStudy(
        "table",
        "VI",
        "MGLRA",
        "Components: graph attention filter (GAF), memory-based recursive alignment (MRFA), multi-head attention (MHA), masking in the "
        "GCN (MG). Rows 1 to 5 are the paper's; rows of ours: the whole without GAF, without MRFA, without MHA, without a graph.",
        (
            _with("graph"),
            _with("GAF", "graph"),
            _with("GAF", "MRFA", "graph"),
            _with("GAF", "MRFA", "MHA", "graph"),
            _with("GAF", "MRFA", "MHA", "MG", "graph"),
            _with("MRFA", "MHA", "MG", "graph"),
            _with("GAF", "MHA", "MG", "graph"),
            _with("GAF", "MRFA", "MG", "graph"),
            _with("GAF", "MRFA", "MHA"),
        ),
    ),
    NamedStudy(
        "figure",
        "8",
        "MGLRA",
        "Heads of the cross-modal attention; the width of a head stays, so parameters grow with them.",
        _along("heads", "model.attention.heads", ("2", "4", "6", "8", "10", "12", "14", "16", "20")),
    ),
    NamedStudy(
        "figure",
        "9",
        "MGLRA",
        "The share that is masked in training.",
        _along("mask rate", "model.gcn.rate", [f"0.{k}" for k in range(1, 10)]),
    ),
)

_LESS = {
    "UW": ("model.fusion.uncertainty=equal",),
    "CMI": ("model.fusion.interaction=sum",),
    "SyE": ("model.graph.edge_weight=false",),
    "SeE": ("model.graph.bias=false",),
    "syntactic-encoder": ("model.graph.layers=0",),
    "semantic-encoder": ("model.graph.heads=0",),
    "IA": ("model.alignment.instance=0",),
    "PA": ("model.alignment.prototype=0",),
    "LSA": ("model.alignment.latent=0",),
}


def _without(*parts: str) -> tuple[Variant, ...]:
    """SGRNet without each of some of its parts, then whole."""
    return (*(Variant({"without": part}, _LESS[part]) for part in parts), Variant({"without": "nothing"}))


_SGRNET = (
    NamedStudy(
        "table",
        "IV",
        "MA-CMU-SGRNet",
        "Components: uncertainty weights (UW), cross-modal interaction (CMI), edge weights of the syntactic encoder (SyE), bias of the "
        "semantic encoder (SeE). Rows of ours: without either encoder as such.",
        _without("UW", "CMI", "SyE", "SeE", "syntactic-encoder", "semantic-encoder"),
    ),
    NamedStudy("table", "V", "MA-CMU-SGRNet", "Every subset of the modalities; one alone is neither aligned nor fused."),
    NamedStudy(
        "figure",
        "5",
        "MA-CMU-SGRNet",
        "Alignment losses: instances (IA), prototypes (PA), latent space (LSA).",
        _without("IA", "PA", "LSA"),
    ),
    NamedStudy(
        "figure",
        "8",
        "MA-CMU-SGRNet",
        "Lambda, what the alignment weighs against the classification.",
        _along("lambda", "model.alignment.weight", [f"0.{k}" for k in range(1, 10)]),
    ),
)

NAMED: dict[str, tuple[NamedStudy, ...]] = {"mglra": _MGLRA, "sgrnet": _SGRNET}
"""Model -> what its paper has."""


def named_study(model: str, kind: str, number: str) -> NamedStudy:
    """What a model's paper has under a number, in capitals or not.

    Raises:
        InputError: nothing; it says what there is.
    """
    mine = NAMED.get(model, ())
    for study in mine:
        if (study.kind, study.number) == (kind, number.strip().upper()):
            return study
    if mine:
        raise InputError(f"--{kind} {number}: {model} has {_offer(mine)}")
    there = "; ".join(f"{name} has {_offer(studies)}" for name, studies in NAMED.items())
    raise InputError(f"--{kind} {number}: no table or figure of {model} is known by name ({there}); pass --over KEY=V1,V2,...")


def _offer(studies: Sequence[NamedStudy]) -> str:
    numbers = {kind: [s.number for s in studies if s.kind == kind] for kind in ("table", "figure")}
    return " and ".join(f"--{kind} {', '.join(found)}" for kind, found in numbers.items() if found)
