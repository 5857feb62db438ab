"""Multi-level alignment: the three alignment losses together, and the prototypes that one of them learns (MA-CMU-SGRNet eq. 13, 31).

    lambda L_A = lambda (gamma_1 L_IA + gamma_2 L_PA + gamma_3 L_LSA)

Each loss is in a file of its own; none is made whose factor is 0. With several processes, each is of the utterances of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.losses import processes
from dgl_merc.losses.instance_alignment import HardSame, instance_alignment
from dgl_merc.losses.latent_alignment import latent_alignment
from dgl_merc.losses.prototype_alignment import prototype_alignment
from dgl_merc.settings import check_choices, check_range

__all__ = ["Alignment", "AlignmentOptions"]


@dataclass(frozen=True)
class AlignmentOptions:
    """Sizes and readings of eq. 1-13, 31. P: the value of the paper's print; D: the default; where neither is named, both.

    Attributes:
        weight: lambda (V-C, Fig. 8: .6); 0: no alignment.
        instance: gamma_1 (IV-C).
        prototype: gamma_2.
        latent: gamma_3.
        tau_text: temperature between texts (IV-C: tau_t).
        tau_speech: between vectors of any other one modality (tau_s; the paper has no third).
        tau_cross: between modalities (tau_st).
        xi_text: offset between texts (not given); S > 1 is cos > tau xi, not cos > xi as the text says.
        xi_speech: as ``tau_speech``.
        xi_cross: between modalities.
        hard_same: what an item of the same label that fails the gate is: P ``"negative"``; D ``"ignore"``: nothing.
        prototypes: K (IV-C).
        tau_prototype: tau_2 (IV-C).
        epsilon: of Sinkhorn-Knopp (not given).
        iterations: of Sinkhorn-Knopp (not given).
    """

    weight: float = 0.6
    instance: float = 0.4
    prototype: float = 0.4
    latent: float = 0.3
    tau_text: float = 0.3
    tau_speech: float = 0.1
    tau_cross: float = 0.05
    xi_text: float = 0.0
    xi_speech: float = 0.0
    xi_cross: float = 0.0
    hard_same: HardSame = "ignore"
    prototypes: int = 500
    tau_prototype: float = 0.07
    epsilon: float = 0.05
    iterations: int = 3

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 0, "weight", "instance", "prototype", "latent", most=math.inf)
        check_range(self, 0.001, "tau_text", "tau_speech", "tau_cross", "tau_prototype", "epsilon", most=math.inf)
        for name in ("xi_text", "xi_speech", "xi_cross"):
            if not abs(getattr(self, name)) < float("inf"):
                raise ValueError(f"{name} must be finite, found {getattr(self, name)}")
        check_range(self, 1, "prototypes", "iterations")


class Alignment(nn.Module):
    """L_A, weighted.

    Args:
        modalities: names, two or more, in the spec's order.
        dim: D of the vectors.
        options: sizes and readings.
    """

    def __init__(self, modalities: Sequence[str], dim: int, options: AlignmentOptions) -> None:
        super().__init__()
        self.options = o = options
        own = [(o.tau_text, o.xi_text) if m == "text" else (o.tau_speech, o.xi_speech) for m in modalities]
        tables = [[own[i] if i == j else (o.tau_cross, o.xi_cross) for j in range(len(own))] for i in range(len(own))]
        self.pairs = torch.tensor(tables, dtype=torch.float64).unbind(-1)  # [M, M] temperatures and offsets; constants, not weights
        drawn = nn.functional.normalize(torch.randn(o.prototypes, dim), dim=-1)
        self.prototypes = nn.Parameter(drawn) if o.weight * o.prototype else None

    def forward(
        self,
        structure: Structure,
        z: Mapping[str, Tensor],
        mean: Mapping[str, Tensor],
        sigma: Mapping[str, Tensor],
        labels: Tensor | None,
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            structure: S, of U utterances.
            z: modality -> [N_m, D] unit vectors.
            mean: modality -> [N_m, D].
            sigma: modality -> [N_m, D].
            labels: [U], -1 = unlabelled; None: all are.

        Returns:
            Name -> [], times lambda and its gamma.
        """
        o, losses = self.options, {}
        if labels is None:
            labels = structure.lengths.new_full((structure.num_utterances,), -1)
        if processes.count() > 1:
            structure, z, mean, sigma, labels = _of_all_processes(structure, z, mean, sigma, labels)
        if o.weight * o.instance:
            losses["instance alignment"] = o.weight * o.instance * self._instance(structure, z, labels)
        if self.prototypes is not None:
            found = prototype_alignment(
                structure, z, self.prototypes, temperature=o.tau_prototype, epsilon=o.epsilon, iterations=o.iterations
            )
            losses["prototype alignment"] = o.weight * o.prototype * found
        if o.weight * o.latent:
            losses["latent alignment"] = o.weight * o.latent * latent_alignment(structure, mean, sigma)
        return losses

    def _instance(self, structure: Structure, z: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        of_items = torch.cat([labels.index_select(0, structure.nodes[m]) for m in z])
        sizes = torch.tensor([len(rows) for rows in z.values()], device=labels.device)
        modality = torch.repeat_interleave(torch.arange(len(z), device=labels.device), sizes)
        items = torch.cat(list(z.values()))
        temperature, offset = (table.to(labels.device) for table in self.pairs)
        return instance_alignment(items, of_items, modality, temperature, offset, hard_same=self.options.hard_same)


def _of_all_processes(
    structure: Structure, z: Mapping[str, Tensor], mean: Mapping[str, Tensor], sigma: Mapping[str, Tensor], labels: Tensor
) -> tuple[Structure, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The same of the utterances of all processes, as if of one dialogue: these losses ask who has what, not who talks to whom."""
    spec = structure.spec
    known = processes.gathered(torch.cat([labels[:, None], structure.presence.long()], 1))
    every = Structure(known.new_tensor([len(known)]), known[:, 1:].bool(), torch.zeros_like(known[:, 0]), spec)
    rows = {m: processes.gathered(torch.cat([z[m], mean[m], sigma[m]], 1)).chunk(3, 1) for m in spec.modalities}
    all_z, all_mean, all_sigma = ({m: rows[m][k] for m in spec.modalities} for k in range(3))
    return every, all_z, all_mean, all_sigma, known[:, 0]
