"""Node types, edge types and GraphSpec: who is connected to whom, and which way messages may flow.

Node types are the modalities (a node exists only where the modality is present) and ``utterance``. Edge types:

    (m, "same", m)                 utterances of a dialogue within one modality, no self-loops
    (m, "cross", n)                across modalities, m != n
    (m, "part_of", "utterance")    a modality node and its utterance: the leaf and the centre of the filter's star
    ("utterance", r, "utterance")  r = intra_past, intra_future, inter_past, inter_future: the speaker's own or another's turn,
                                   position(src) before or after position(dst); messages go src -> dst
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dgl_merc.errors import InputError

__all__ = ["RELATIONS", "UTTERANCE", "Cross", "EdgeType", "GraphSpec"]

UTTERANCE = "utterance"
"""The node type of utterances."""
RELATIONS = ("intra_past", "intra_future", "inter_past", "inter_future")
"""The edge types among utterances: the speaker's own or another's turn, before or after."""
EdgeType = tuple[str, str, str]
"""Source node type, name, destination node type."""
Cross = Literal["dialogue", "utterance", "none"]
"""Whom a modality meets of the others."""


@dataclass(frozen=True)
class GraphSpec:
    """Who is connected. Every kernel, layer and encoder honours it.

    Attributes:
        modalities: in the order of every tensor with a modality axis.
        window: ``same`` and ``cross`` edges join utterances at most this many positions apart; None: the whole dialogue. Windows
            count positions, not present nodes.
        cross: ``"utterance"``: a modality meets the others of its own utterance (the field's practice); ``"dialogue"``: of every
            utterance within the window (the MGLRA paper's print); ``"none"``.
        past: how many utterances before itself an utterance hears through ``intra_past`` and ``inter_past``.
        future: how many after itself, through ``intra_future`` and ``inter_future``.
        causal: nothing flows from later to earlier.
    """

    modalities: tuple[str, ...]
    window: int | None = None
    cross: Cross = "utterance"
    past: int = 10
    future: int = 10
    causal: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        if not self.modalities:
            raise InputError("expected at least one modality, found none: without features there is no graph; import with --features")
        if not all(isinstance(m, str) for m in self.modalities):
            raise InputError(f"modalities must be names, found {list(self.modalities)}")
        if len(set(self.modalities)) != len(self.modalities) or UTTERANCE in self.modalities:
            raise InputError(f"modalities must be different names other than {UTTERANCE!r}, found {list(self.modalities)}")
        if self.cross not in get_args(Cross):
            raise InputError(f"cross must be one of {', '.join(get_args(Cross))}, found {self.cross!r}")
        for name in ("window", "past", "future"):
            value = getattr(self, name)
            if not (value is None and name == "window") and (not isinstance(value, int) or value < 0):
                raise InputError(f"{name} must be a whole number from 0 on, found {value!r}")

    @property
    def node_types(self) -> tuple[str, ...]:
        """The modalities, then ``utterance``."""
        return (*self.modalities, UTTERANCE)

    @property
    def message_types(self) -> tuple[EdgeType, ...]:
        """The edge types among modality nodes, which the masked GCN works on: every ``same``, then every ``cross``."""
        same: list[EdgeType] = [(m, "same", m) for m in self.modalities]
        pairs: list[EdgeType] = [(m, "cross", n) for m in self.modalities for n in self.modalities if m != n]
        return (*same, *(pairs if self.cross != "none" else ()))

    @property
    def edge_types(self) -> tuple[EdgeType, ...]:
        """All of them, in the order graphs and tables use. A type that ``causal`` forbids is kept, without edges."""
        part_of: list[EdgeType] = [(m, "part_of", UTTERANCE) for m in self.modalities]
        relations: list[EdgeType] = [(UTTERANCE, r, UTTERANCE) for r in RELATIONS]
        return (*self.message_types, *part_of, *relations)

    def reach(self, edge_type: EdgeType) -> tuple[int | None, int | None]:
        """How many positions before and after the destination a source may stand; None: any.

        >>> GraphSpec(("text", "audio"), causal=True).reach(("text", "same", "text"))
        (None, 0)
        """
        relation = edge_type[1]
        if relation == "part_of" or (relation == "cross" and self.cross == "utterance"):
            return 0, 0
        before: int | None = self.window
        after: int | None = self.window
        if relation in RELATIONS:
            before, after = (self.past, -1) if relation.endswith("past") else (-1, self.future)
        return before, (min(after, 0) if after is not None else 0) if self.causal else after

    def to_json(self) -> dict[str, Any]:
        """As written in a store's manifest."""
        return {**asdict(self), "modalities": list(self.modalities)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GraphSpec:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "modalities": tuple(value["modalities"])})
