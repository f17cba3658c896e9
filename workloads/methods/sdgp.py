"""SDGP: structured dynamic pruning of the output gradients in the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Sdgp(Method):
    """Output gradients are pruned along Co where BP reads them, and rescaled; WU reads them whole.

    McDanel, Dinh and Magallanes, *Accelerating DNN Training with Structured Data Gradient Pruning*,
    ICPR 2022. What is kept is scaled by sum |dY| / (sum |kept| + epsilon), sums over the positions
    of each sample and channel. Where a sample has a single position that is 1 but for epsilon, and
    nothing is rescaled.

    Attributes:
        rescale: whether what is kept is rescaled.
        epsilon: keeps the scale finite where nothing is kept.
    """

    name: str = "sdgp"
    title: str = "SDGP"
    reference: str = "McDanel et al., 2022"
    bp: Operand | None = "gradient"
    axes: str = "output gradients along Co in BP"
    note: str = (
        "gradients are pruned in every step, so nothing can be generated ahead; the rescaling of "
        "the kept values is not counted"
    )
    rescale: bool = True
    epsilon: float = 1e-4

    def gradients(self, gradient: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        kept = site.keep_gradient(gradient, "bp")
        positions = site.positions(gradient)
        if self.rescale and positions and kept is not gradient:
            whole = gradient.abs().sum(positions, keepdim=True)
            rest = kept.abs().sum(positions, keepdim=True)
            kept = kept * (whole / (rest + self.epsilon))
        return kept, gradient
