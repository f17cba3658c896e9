"""What a sparse model's masks keep, and how they move: `inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nofm.kernels.errors import InputError
from nofm.workloads.sparse import hooks
from nofm.workloads.sparse.convert import sparse_layers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Inspection:
    """A sparse model at one moment.

    Attributes:
        rows: a dict for each sparse layer: `layer`, `method`, `pattern`, `weights` (elements),
            `density` (the share of the weights that FF computes with and that is not zero),
            `retained_energy` (the share of the sum of squares of the dense weights at those
            places), `sad` and `churn`: weights whose place in FF's mask differs from `since`, as a
            count and as a share, or None without `since`. SAD is the sparse architecture
            divergence of Zhou et al., ICLR 2021.
        masks: where FF's weights are not zero, bool, by layer.
    """

    rows: tuple[dict[str, Any], ...]
    masks: dict[str, Tensor]

    @property
    def layers(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    @property
    def sad(self) -> int | None:
        """The sparse architecture divergence of the whole model."""
        found = [row["sad"] for row in self.rows]
        return None if None in found else sum(found)


def inspect(model: nn.Module, since: Inspection | None = None) -> Inspection:
    """Each sparse layer's pattern, retained energy, and mask changes.

    Args:
        model: after `sparsify`.
        since: an earlier inspection of the same model, to count changes from.

    Raises:
        InputError: the model has no sparse layer, or `since` is of another model.
    """
    layers = sparse_layers(model)
    if not layers:
        raise InputError("the model has no sparse layer: call nofm.sparsify first")
    if since is not None and list(since.masks) != list(layers):
        raise InputError("the earlier inspection has other layers than the model")
    rows, masks = [], {}
    for name, layer in layers.items():
        site, weight = layer.nofm, layer.weight.detach()
        with torch.no_grad():
            used, _, _ = hooks.weights(weight, layer.nofm_site, layer.nofm_state(), layer.training)
        mask = used != 0
        energy = weight.double().square()
        total = float(energy.sum())
        sad = None if since is None else int((mask != since.masks[name]).sum())
        rows.append(
            {
                "layer": name,
                "method": site.method.name,
                "pattern": str(site.pattern),
                "weights": weight.numel(),
                "density": float(mask.double().mean()),
                "retained_energy": float(energy[mask].sum()) / total if total else 1.0,
                "sad": sad,
                "churn": None if sad is None else sad / weight.numel(),
            }
        )
        masks[name] = mask
    return Inspection(tuple(rows), masks)
