"""Bi-Mask: a forward mask, and a backward mask inside it along permuted output channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class BiMask(Method):
    """Weights are pruned along Ci for FF; what is kept is pruned again along a permuted Co for BP.

    Zhang et al., *Bi-directional Masks for Efficient N:M Sparse Training*, ICML 2023. Both masks
    are chosen in every step. The order of the output channels is the one of `permutations` random
    ones that keeps the most weights in both masks, and is searched anew every 100 steps. Weights
    that FF drops decay as in SR-STE.

    Attributes:
        permutations: random orders that are compared.
        decay: of the weights that FF drops.
    """

    name: str = "bimask"
    title: str = "Bi-Mask"
    reference: str = "Zhang et al., ICML 2023"
    ff: Operand | None = "weight"
    bp: Operand | None = "weight"
    axes: str = "weights along Ci in FF; those that it keeps along a permuted Co in BP"
    deployed: bool = True
    refresh_steps: int = 100
    note: str = (
        "the search over 100 row permutations is done off the accelerator; fetching rows in "
        "permuted order is taken to cost nothing"
    )
    permutations: int = 100
    decay: float = 2e-4

    chooses: ClassVar[bool] = True

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        return {"order": site.channel_order(weight)}

    def choose(self, weight: Tensor, site: Site, state: Mapping[str, Tensor], step: int) -> None:
        kept = site.keep_weight(weight, "ff")
        if kept is weight:
            return
        most, order = -1, state["order"]
        for _ in range(self.permutations):
            tried = site.shuffled(order)
            both = int(site.keep_permuted(kept, tried).count_nonzero())
            if both > most:
                most, best = both, tried
        order.copy_(best)

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.keep_weight(weight, "ff")

    def backward_weight(
        self, weight: Tensor, used: Tensor, site: Site, state: Mapping[str, Tensor]
    ) -> Tensor:
        return site.keep_permuted(used, state["order"])

    def backward_order(self, state: Mapping[str, Tensor]) -> Tensor | None:
        return state["order"]

    def penalty(self, weight: Tensor, used: Tensor) -> Tensor | None:
        return self.decay * (weight - used) if self.decay else None
