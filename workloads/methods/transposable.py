"""Transposable masks: one mask that is N:M along both axes of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Transposable(Method):
    """One mask serves FF and BP.

    Hubara et al., *Accelerated Sparse Neural Training: A Provable and Efficient Method to Find N:M
    Transposable Masks*, NeurIPS 2021. The mask is chosen every 40 steps; weights that it drops go
    on learning, straight through.

    Attributes:
        solver: "exact" for the mask of largest sum of magnitudes, "greedy" for the paper's
            approximation, which has at least half of it and may keep fewer weights.
    """

    name: str = "transposable"
    title: str = "Transposable masks"
    reference: str = "Hubara et al., NeurIPS 2021"
    ff: Operand | None = "weight"
    bp: Operand | None = "weight"
    axes: str = "one mask of the weights, N:M along Ci and along Co"
    deployed: bool = True
    refresh_steps: int = 40
    stored_mask: bool = True
    note: str = "finding the mask (a flow problem) is done off the accelerator"
    solver: str = "exact"

    chooses: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"solver": ("exact", "greedy")}

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        return {"mask": site.transposable_mask(weight, exact=self.solver == "exact")}

    def choose(self, weight: Tensor, site: Site, state: Mapping[str, Tensor], step: int) -> None:
        state["mask"].copy_(site.transposable_mask(weight, exact=self.solver == "exact"))

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.masked(weight, state["mask"])
