"""Structure: everything that decides the edges of a batch of dialogues, and nothing of their size.

Lengths, presence, speakers and a :class:`GraphSpec` are a few bytes an utterance; edges follow from them by arithmetic. Kernels
take a Structure; :meth:`Structure.graph` makes the DGL heterograph of it for those who want to look, or to compute with DGL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from dgl_merc.graphs.edges import expand, intervals
from dgl_merc.graphs.past import Past
from dgl_merc.graphs.schema import RELATIONS, UTTERANCE, EdgeType, GraphSpec

if TYPE_CHECKING:
    from dgl_merc.graphs.blocks import Blocks

__all__ = ["Structure"]

_T = TypeVar("_T")


def _lasting(make: Callable[[Structure], _T]) -> cached_property[_T]:
    """A cached property that outlasts the call that first asked: made in inference mode, it may serve training afterwards."""

    @wraps(make)
    def made(self: Structure) -> _T:
        with torch.inference_mode(False):
            return make(self)

    return cached_property(made)


_REMEMBERED = 1 << 22  # edges of a type that are kept once made; larger ones are made anew when asked for


@dataclass(frozen=True, eq=False)
class Structure:
    """The structure of a batch of B dialogues with U utterances in all.

    Attributes:
        lengths: [B] int64, utterances per dialogue, each at least 1.
        presence: [U, M] bool, whether an utterance has a modality, columns as ``spec.modalities``. An utterance may have none.
        speakers: [U] int64, dialogue-local speaker numbers.
        spec: who is connected.
        keys: [B] int64, what a dialogue is called in masks: its number in its corpus, so that a mask does not depend on the batch.
            Default: 0, 1, 2, ...
        characters: [U] int64, the speaker's number among those whom a model knows by name (the training split's); -1: not among them.
            Default: all -1.
        past: of the dialogue, whose newest utterance this is: kernels and recurrent networks that look back find there what came before,
            and leave there what they make. ``position`` starts anew at 0. None: these are whole dialogues.

    Raises:
        ValueError: shapes or types that do not fit together, or a past of more than one utterance or beside a spec that is not causal.

    Example: two dialogues of two and one utterances; the second utterance has no audio.

    >>> s = Structure.of([2, 1], GraphSpec(("text", "audio")), presence=[[1, 1], [1, 0], [1, 1]], speakers=[0, 1, 0])
    >>> s.num_nodes("audio"), [t.tolist() for t in s.edges(("audio", "cross", "text"))]
    (2, [[0, 1], [0, 2]])
    >>> s.with_spec(GraphSpec(("text", "audio"), causal=True))
    Structure(2 dialogues, 3 utterances; nodes: text 3, audio 2; window=None, cross='utterance', past=10, future=10, causal=True)
    """

    lengths: Tensor
    presence: Tensor
    speakers: Tensor
    spec: GraphSpec
    keys: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    characters: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    past: Past | None = None

    def __post_init__(self) -> None:
        if not len(self.keys):
            object.__setattr__(self, "keys", torch.arange(len(self.lengths), device=self.lengths.device))
        if not len(self.characters):
            object.__setattr__(self, "characters", torch.full_like(self.speakers, -1))
        if self.lengths.ndim != 1 or self.lengths.dtype != torch.int64 or (self.lengths < 1).any():
            raise ValueError(f"lengths must be [B] int64, each at least 1, got {self.lengths.dtype} {list(self.lengths.shape)}")
        total = int(self.lengths.sum())
        expected = {
            "presence": ((total, len(self.spec.modalities)), torch.bool),
            "speakers": ((total,), torch.int64),
            "keys": ((len(self.lengths),), torch.int64),
            "characters": ((total,), torch.int64),
        }
        for name, (shape, dtype) in expected.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise ValueError(f"{name} must be {list(shape)} {dtype}, got {list(tensor.shape)} {tensor.dtype}")
        if self.past is not None and (total != 1 or not self.spec.causal):
            raise ValueError(f"past is for one utterance and a causal spec, got {total} utterances and causal={self.spec.causal}")

    def __repr__(self) -> str:
        nodes = ", ".join(f"{m} {self.num_nodes(m)}" for m in self.spec.modalities)
        spec = ", ".join(f"{name}={value!r}" for name, value in asdict(self.spec).items() if name != "modalities")
        return f"Structure({self.num_dialogues} dialogues, {self.num_utterances} utterances; nodes: {nodes}; {spec})"

    @classmethod
    def of(
        cls,
        lengths: Sequence[int],
        spec: GraphSpec,
        *,
        presence: Sequence[Sequence[int]] | None = None,
        speakers: Sequence[int] | None = None,
    ) -> Structure:
        """From plain lists; every modality present and two speakers taking turns where nothing else is said."""
        size = torch.as_tensor(lengths, dtype=torch.int64)
        total = int(size.sum())
        there = torch.ones(total, len(spec.modalities), dtype=torch.bool)
        if presence is not None:
            there = torch.as_tensor(presence).to(torch.bool).reshape(total, len(spec.modalities))
        who = torch.arange(total) % 2 if speakers is None else torch.as_tensor(speakers, dtype=torch.int64)
        return cls(size, there, who, spec)

    def to(self, device: torch.device | str) -> Structure:
        """The same structure on another device."""
        if torch.device(device) == self.lengths.device:
            return self
        moved = {name: getattr(self, name).to(device) for name in ("lengths", "presence", "speakers", "keys", "characters")}
        return replace(self, **moved)

    def with_spec(self, spec: GraphSpec) -> Structure:
        """The same dialogues, connected otherwise.

        Raises:
            ValueError: ``spec`` has other modalities, or the same in another order.
        """
        if spec.modalities != self.spec.modalities:
            raise ValueError(f"spec must have the modalities {list(self.spec.modalities)}, got {list(spec.modalities)}")
        return replace(self, spec=spec)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.lengths.device

    @property
    def num_dialogues(self) -> int:
        """B."""
        return len(self.lengths)

    @property
    def num_utterances(self) -> int:
        """U."""
        return len(self.speakers)

    @_lasting
    def offsets(self) -> Tensor:
        """[B + 1] the utterance where each dialogue begins."""
        return torch.nn.functional.pad(torch.cumsum(self.lengths, 0), (1, 0))

    @_lasting
    def dialogue(self) -> Tensor:
        """[U] the dialogue of each utterance."""
        return torch.repeat_interleave(torch.arange(self.num_dialogues, device=self.device), self.lengths)

    @_lasting
    def position(self) -> Tensor:
        """[U] the place of each utterance in its dialogue, from 0."""
        return torch.arange(self.num_utterances, device=self.device) - self.offsets[self.dialogue]

    @_lasting
    def counts(self) -> dict[str, Tensor]:
        """Node type -> [U + 1]: how many nodes of the type stand before each utterance."""
        seen = torch.nn.functional.pad(torch.cumsum(self.presence.long(), 0), (0, 0, 1, 0))
        counts = {m: seen[:, k].contiguous() for k, m in enumerate(self.spec.modalities)}
        counts[UTTERANCE] = torch.arange(self.num_utterances + 1, device=self.device)
        return counts

    @_lasting
    def nodes(self) -> dict[str, Tensor]:
        """Node type -> [N]: the utterance of each node."""
        nodes = {m: self.presence[:, k].nonzero()[:, 0] for k, m in enumerate(self.spec.modalities)}
        nodes[UTTERANCE] = torch.arange(self.num_utterances, device=self.device)
        return nodes

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Modality -> how many nodes, in the order in which kernels stack them."""
        return {m: len(self.nodes[m]) for m in self.spec.modalities}

    def has(self, node_type: str) -> Tensor:
        """[U] bool: whether an utterance has a node of the type."""
        if node_type == UTTERANCE:
            return torch.ones(self.num_utterances, dtype=torch.bool, device=self.device)
        return self.presence[:, self.spec.modalities.index(node_type)]

    def blocks(self, node_types: Sequence[str], before: int | None = None, after: int | None = None) -> Blocks:
        """The nodes of some types as rectangles of pairs within reach: :class:`~dgl_merc.graphs.Blocks`, made once."""
        from dgl_merc.graphs.blocks import Blocks

        key = (tuple(node_types), before, after)
        if key not in self._blocks:
            self._blocks[key] = Blocks(self, *key)
        return self._blocks[key]

    @cached_property
    def _blocks(self) -> dict[tuple[tuple[str, ...], int | None, int | None], Blocks]:
        return {}

    def num_nodes(self, node_type: str) -> int:
        """How many nodes of a type there are."""
        return len(self.nodes[node_type])

    def edges(self, edge_type: EdgeType) -> tuple[Tensor, Tensor]:
        """The edges of a type: src [E], dst [E], node ids within their types, ordered by (dialogue, dst, src).

        Raises:
            ValueError: no such edge type in ``spec``.
        """
        if edge_type not in self.spec.edge_types:
            raise ValueError(f"edge_type must be one of {list(self.spec.edge_types)}, got {edge_type}")
        if edge_type not in self._edges:
            made = self._make_edges(edge_type)
            if len(made[0]) > _REMEMBERED:
                return made
            self._edges[edge_type] = made
        return self._edges[edge_type]

    @cached_property
    def _edges(self) -> dict[EdgeType, tuple[Tensor, Tensor]]:
        return {}

    def _make_edges(self, edge_type: EdgeType) -> tuple[Tensor, Tensor]:
        source, relation, target = edge_type
        at = self.nodes[target]
        owner = self.dialogue[at]
        start, end = self.offsets[owner], self.offsets[owner + 1]
        lo, hi = intervals(at, start, end, self.counts[source], *self.spec.reach(edge_type))
        src, dst = expand(lo, hi, without_self=relation == "same")
        if relation not in RELATIONS:
            return src, dst
        own = self.speakers.index_select(0, src) == self.speakers.index_select(0, dst)
        rows = (own if relation.startswith("intra") else ~own).nonzero()[:, 0]
        return src.index_select(0, rows), dst.index_select(0, rows)

    def pairs(self, node_type: str = UTTERANCE) -> tuple[Tensor, Tensor]:
        """Every node of a type with every one of its dialogue that it may hear: src [P], dst [P], ids within the type.

        By (dialogue, dst, src). Itself is among them; in a causal structure none hears a later one.

        Raises:
            ValueError: no such node type in ``spec``.
        """
        if node_type not in self.spec.node_types:
            raise ValueError(f"node_type must be one of {list(self.spec.node_types)}, got {node_type!r}")
        at = self.nodes[node_type]
        owner = self.dialogue[at]
        start, end = self.offsets[owner], self.offsets[owner + 1]
        return expand(*intervals(at, start, end, self.counts[node_type], None, 0 if self.spec.causal else None))

    def edge_offsets(self, edge_type: EdgeType) -> Tensor:
        """[B + 1] the edge of a type where each dialogue begins."""
        first = self.counts[edge_type[2]].index_select(0, self.offsets)  # edges run by destination, destinations by dialogue
        return torch.searchsorted(self.edges(edge_type)[1], first)

    def edges_per_dialogue(self, edge_type: EdgeType) -> Tensor:
        """[B] how many edges of a type each dialogue has."""
        return self.edge_offsets(edge_type).diff()

    def graph(self, *, idtype: torch.dtype = torch.int64) -> Any:
        """The DGL heterograph of the batch, with ``position``, ``dialogue`` and (utterance nodes) ``speaker`` as node data.

        Args:
            idtype: ``torch.int64`` or ``torch.int32``; DGL can't batch the two together.

        Returns:
            A ``dgl.DGLGraph`` on this structure's device, whose batch sizes are those of the dialogues.
        """
        from dgl_merc._dgl import dgl

        edges = {t: self.edges(t) for t in self.spec.edge_types}
        sizes = {n: self.num_nodes(n) for n in self.spec.node_types}
        graph = dgl.heterograph(
            {t: (src.to(idtype), dst.to(idtype)) for t, (src, dst) in edges.items()},
            num_nodes_dict=sizes,
            idtype=idtype,
            device=self.device,
        )
        owner = {n: self.dialogue[self.nodes[n]] for n in self.spec.node_types}
        batch = self.num_dialogues
        graph.set_batch_num_nodes({n: torch.bincount(owner[n], minlength=batch).to(idtype) for n in self.spec.node_types})
        graph.set_batch_num_edges({t: self.edges_per_dialogue(t).to(idtype) for t in edges})
        for n in self.spec.node_types:
            graph.nodes[n].data["position"] = self.position[self.nodes[n]]
            graph.nodes[n].data["dialogue"] = self.keys[owner[n]]
        graph.nodes[UTTERANCE].data["speaker"] = self.speakers.clone()
        return graph

    def select(self, dialogues: Sequence[int]) -> Structure:
        """The structure of some of the dialogues, in the order given."""
        chosen = torch.as_tensor(dialogues, dtype=torch.int64, device=self.device)
        rows, _ = expand(self.offsets[:-1][chosen], self.offsets[1:][chosen])
        return Structure(
            self.lengths[chosen], self.presence[rows], self.speakers[rows], self.spec, self.keys[chosen], self.characters[rows]
        )
