"""S-STE: a continuous pruning function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class SSte(Method):
    """Weights along Ci are soft-thresholded by the largest that is dropped, then scaled.

    Hu, Zhu and Chen, *S-STE: Continuous Pruning Function for Efficient 2:4 Sparse Pre-training*,
    NeurIPS 2024. The scale is the one that brings the result nearest to the dense weights when
    training begins, and stays. BP uses the same weights, whose groups do not lie along its
    reduction; in WU the output gradient is a minimum-variance unbiased estimate, as in FST.
    """

    name: str = "sste"
    title: str = "S-STE"
    reference: str = "Hu et al., NeurIPS 2024"
    ff: Operand | None = "weight"
    wu: Operand | None = "gradient"
    axes: str = "soft-thresholded weights along Ci in FF; output gradients along T in WU"
    deployed: bool = True
    note: str = (
        "thresholding and drawing the minimum-variance unbiased estimate are counted like pruning; "
        "its backward pass uses the same weights, whose groups do not lie along the reduction of "
        "BP: that product stays dense"
    )

    chooses: ClassVar[bool] = True

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        soft = site.soft_threshold(weight)
        norm = (soft * soft).sum()
        scale = (weight * soft).sum() / norm if float(norm) else norm + 1
        return {"scale": scale.float()}

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        soft = site.soft_threshold(weight)
        return soft if soft is weight else soft * state["scale"].to(weight.dtype)

    def gradients(self, gradient: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        return gradient, site.draw_gradient(gradient)
