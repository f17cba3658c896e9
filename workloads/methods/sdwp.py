"""SDWP: the weights are pruned in the backward pass alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Sdwp(Method):
    """Weights are pruned along Co where BP reads them; FF and WU are dense.

    Fang et al., *Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and Dataflow
    Co-Design*, IEEE TCAD 2023, which compares it with BDWP.
    """

    name: str = "sdwp"
    title: str = "SDWP"
    reference: str = "Fang et al., TCAD 2023"
    bp: Operand | None = "weight"
    axes: str = "weights along Co in BP"

    def backward_weight(
        self, weight: Tensor, used: Tensor, site: Site, state: Mapping[str, Tensor]
    ) -> Tensor:
        return site.keep_weight(weight, "bp")
