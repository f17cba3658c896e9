"""BDWP: bidirectional weight pruning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Bdwp(Method):
    """Weights are pruned along Ci for FF and, from the same dense master, along Co for BP.

    Fang et al., *Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and Dataflow
    Co-Design*, IEEE TCAD 2023. The gradient that WU gives goes straight to the master.

    Attributes:
        decay: of the weights that FF drops, as SR-STE's; 0 for none.
    """

    name: str = "bdwp"
    title: str = "BDWP"
    reference: str = "Fang et al., TCAD 2023"
    ff: Operand | None = "weight"
    bp: Operand | None = "weight"
    axes: str = "weights along Ci in FF and, independently, along Co in BP"
    deployed: bool = True
    decay: float = 0.0

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.keep_weight(weight, "ff")

    def backward_weight(
        self, weight: Tensor, used: Tensor, site: Site, state: Mapping[str, Tensor]
    ) -> Tensor:
        return site.keep_weight(weight, "bp")

    def penalty(self, weight: Tensor, used: Tensor) -> Tensor | None:
        return self.decay * (weight - used) if self.decay else None
