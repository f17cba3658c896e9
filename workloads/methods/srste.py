"""SR-STE: the sparse-refined straight-through estimator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class SrSte(Method):
    """Weights are pruned along Ci, and the dropped ones decay.

    Zhou et al., *Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch*, ICLR
    2021, equation 8: the gradient g of the pruned weight W' becomes g + decay (W - W') for W.

    Attributes:
        decay: lambda_W of the paper.
    """

    name: str = "srste"
    title: str = "SR-STE"
    reference: str = "Zhou et al., ICLR 2021"
    ff: Operand | None = "weight"
    axes: str = "weights along Ci in FF"
    deployed: bool = True
    note: str = (
        "its backward pass uses the same masked weights, whose groups do not lie along the "
        "reduction of BP: that product stays dense"
    )
    decay: float = 2e-4

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.keep_weight(weight, "ff")

    def penalty(self, weight: Tensor, used: Tensor) -> Tensor | None:
        return self.decay * (weight - used) if self.decay else None
