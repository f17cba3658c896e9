"""CAST: dense products, and an optimizer that decays what N:M would drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nofm.workloads.methods.record import Method

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.kernels.pattern import Pattern
    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Cast(Method):
    """Training is dense; `AdamS` decays the weights outside an N:M mask until they can be dropped.

    Huang et al., *CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware Training for
    Large Language Models*, 2025, from a model that was trained dense. The mask, along Ci, is chosen
    every 10 steps. Use `nofm.AdamS`, which reads it. The paper's distillation is left out.

    Attributes:
        decay: lambda of the paper, which `AdamS` reads; to be of the gradients' order of magnitude.
        scaling_groups: n of the paper's weight scaling, 2 there: every row of the weight falls into
            so many blocks of input channels, and each block is multiplied by a learned scale that
            begins as 1 (`nofm_scale` of the layer). That blocks are consecutive channels is one
            reading of equation 12; here they are whole groups of M. None for none.
    """

    name: str = "cast"
    title: str = "CAST"
    reference: str = "Huang et al., 2025"
    axes: str = "none in training; weights along Ci once trained"
    deployed: bool = True
    refresh_steps: int = 10
    pretrained: bool = True
    note: str = "the optimizer's decay, and its reading of the mask, are not counted"
    decay: float = 4e-7
    scaling_groups: int | None = None

    chooses: ClassVar[bool] = True

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        return {"mask": site.mask_weight(weight, "ff")}

    def scale_block(self, ci: int, pattern: Pattern) -> int | None:
        if self.scaling_groups is None:
            return None
        return -(-pattern.groups(ci) // self.scaling_groups) * pattern.m

    def choose(self, weight: Tensor, site: Site, state: Mapping[str, Tensor], step: int) -> None:
        state["mask"].copy_(site.mask_weight(weight, "ff"))

    def deployed_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.keep_weight(weight, "ff")
