"""ASP: a trained model is pruned once, and trained on with that mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Asp(Method):
    """The mask, along Ci, is that of the weights when `sparsify` is called, and stays.

    Mishra et al., *Accelerating Sparse Deep Neural Networks*, 2021: train dense, prune, and repeat
    the training. What is dropped never comes back, whatever its gradient.
    """

    name: str = "asp"
    title: str = "ASP"
    reference: str = "Mishra et al., 2021"
    ff: Operand | None = "weight"
    axes: str = "weights along Ci in FF, with a fixed mask"
    deployed: bool = True
    stored_mask: bool = True
    pretrained: bool = True
    note: str = (
        "the dense training before is not in one step; its backward pass uses the same masked "
        "weights, whose groups do not lie along the reduction of BP: that product stays dense"
    )

    chooses: ClassVar[bool] = True

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        return {"mask": site.mask_weight(weight, "ff")}

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.masked(weight, state["mask"])
