"""FST: fully sparse training, with all three products N:M."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Fst(Method):
    """Transposable masks of the weights in FF and BP; an unbiased estimate of dY in WU.

    Hu et al., *Accelerating Transformer Pre-training with 2:4 Sparsity*, ICML 2024. Masks are exact
    ones, chosen every 40 steps. In WU the output gradient is a minimum-variance unbiased N:M
    estimate along the positions (Chmiel et al., *Minimum Variance Unbiased N:M Sparsity for the
    Neural Gradients*, ICLR 2023): positions are drawn with probabilities in proportion to their
    magnitudes and divided by them. The last sixth of the training is dense: call `desparsify`.

    Attributes:
        decay: lambda_W of the paper, which tunes it for each network: the gradient g becomes
            g + decay (W - W') with the masked weights W'.
    """

    name: str = "fst"
    title: str = "FST"
    reference: str = "Hu et al., ICML 2024"
    ff: Operand | None = "weight"
    bp: Operand | None = "weight"
    wu: Operand | None = "gradient"
    axes: str = "transposable masks of the weights in FF and BP; output gradients along T in WU"
    refresh_steps: int = 40
    stored_mask: bool = True
    dense_share: float = 1 / 6
    note: str = (
        "the dense last part of the training is not in one step; drawing the minimum-variance "
        "unbiased estimate is counted like pruning"
    )
    decay: float = 0.0

    chooses: ClassVar[bool] = True

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        return {"mask": site.transposable_mask(weight)}

    def choose(self, weight: Tensor, site: Site, state: Mapping[str, Tensor], step: int) -> None:
        state["mask"].copy_(site.transposable_mask(weight))

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.masked(weight, state["mask"])

    def gradients(self, gradient: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        return gradient, site.draw_gradient(gradient)

    def penalty(self, weight: Tensor, used: Tensor) -> Tensor | None:
        return self.decay * (weight - used) if self.decay else None
