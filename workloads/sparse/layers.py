"""Torch's layers, trained by a method: the same parameters, other products.

`convert` changes a layer's class to one of these and back; the module, its parameters, its hooks
and what holds references to them stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.methods.record import Method
from nofm.workloads.sparse import hooks, products
from nofm.workloads.sparse.selection import BITS
from nofm.workloads.sparse.site import Site, decode

BUFFER = "nofm_"
"""What the names of a method's buffers in a layer begin with."""

SCALE = "nofm_scale"
"""The name of the learned scales in a layer."""


class SparseLayer(nn.Module):
    """What the sparse layers share.

    Attributes:
        nofm_site: the layer as its method sees it, as text.
        nofm_scale: a learned parameter [Co, blocks] where the method scales weights: what each
            block of `nofm_block` input channels of a row is multiplied by.
    """

    nofm_site: str
    nofm_block: int
    weight: Tensor
    bias: Any

    @property
    def nofm(self) -> Site:
        """The layer as its method sees it."""
        return decode(self.nofm_site)

    def nofm_state(self) -> dict[str, Tensor]:
        """The method's buffers."""
        return {
            name.removeprefix(BUFFER): buffer
            for name, buffer in self._buffers.items()
            if buffer is not None and name.startswith(BUFFER)
        }

    def nofm_scaled(self) -> Tensor:
        """The weight, scaled where the method does that."""
        scale = self._parameters.get(SCALE)
        if scale is None:
            return self.weight
        by_channel = scale.repeat_interleave(self.nofm_block, dim=1)[:, : self.weight.shape[1]]
        return self.weight * by_channel.reshape(*by_channel.shape, *(1,) * (self.weight.ndim - 2))

    def _shape(self) -> products.Shape | None:
        """Of a convolution."""
        return None

    def _trained(self, x: Tensor) -> Tensor:
        weight, bias = self.nofm_scaled(), self.bias
        state = self.nofm_state()
        if state and self.training and torch.is_grad_enabled():
            hooks.refresh(self.weight.detach(), self.nofm_site, state)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        return products.apply(x, weight, bias, self.nofm_site, state, self._shape(), self.training)


class SparseLinear(SparseLayer, nn.Linear):
    """`torch.nn.Linear` trained by a method."""

    def forward(self, x: Tensor) -> Tensor:
        """[*, Ci] to [*, Co]."""
        return self._trained(x)


class _SparseConvolution(SparseLayer):
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: Any
    _reversed_padding_repeated_twice: Any

    def forward(self, x: Tensor) -> Tensor:
        """[batch, Ci, *positions] to [batch, Co, *positions]; the batch may be missing."""
        if x.ndim == len(self.stride) + 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        if _own_padding(self) is None:
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = F.pad(x, self._reversed_padding_repeated_twice, mode=mode)
        return self._trained(x)

    def _shape(self) -> products.Shape:
        padding = _own_padding(self) or (0,) * len(self.stride)
        return self.stride, padding, self.dilation, self.groups


class SparseConv1d(_SparseConvolution, nn.Conv1d):
    """`torch.nn.Conv1d` trained by a method."""


class SparseConv2d(_SparseConvolution, nn.Conv2d):
    """`torch.nn.Conv2d` trained by a method."""


CLASSES: dict[type[nn.Module], type[SparseLayer]] = {
    nn.Linear: SparseLinear,
    nn.Conv1d: SparseConv1d,
    nn.Conv2d: SparseConv2d,
}
"""Layers that can be sparse, and what they become."""


def _own_padding(layer: Any) -> tuple[int, ...] | None:
    """The padding that the product itself does, by dimension; None where it is done before it:
    with other values than zero, or not the same on both sides."""
    if layer.padding_mode != "zeros":
        return None
    if not isinstance(layer.padding, str):
        return tuple(layer.padding)
    by_side = layer._reversed_padding_repeated_twice
    before, after = by_side[0::2], by_side[1::2]
    return tuple(reversed(before)) if before == after else None


def check(name: str, layer: Any) -> None:
    """Refuse a layer that cannot be sparse.

    Raises:
        InputError: layers of its kind or element type cannot be sparse.
    """
    kind = type(layer)
    if kind not in CLASSES:
        known = ", ".join(each.__name__ for each in CLASSES)
        raise InputError(f"layer {name!r} must be one of {known} to be sparse, not {kind.__name__}")
    if layer.weight.dtype not in BITS:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in BITS)
        raise InputError(
            f"layer {name!r}: weights must be one of {known} to be sparse, not "
            f"{str(layer.weight.dtype).removeprefix('torch.')}"
        )


def convert(name: str, layer: Any, method: Method, pattern: Pattern) -> None:
    """Make a layer, which has passed `check`, train by `method`."""
    linear = isinstance(layer, nn.Linear)
    groups = 1 if linear else layer.groups
    site = Site(name, method, pattern, groups, linear)
    layer.__class__ = CLASSES[type(layer)]
    layer.nofm_site = site.encode()
    if method.chooses:
        with torch.no_grad():
            state = method.initial(layer.weight, site)
        layer.register_buffer(BUFFER + "step", torch.zeros((), dtype=torch.int64))
        for key, value in state.items():
            layer.register_buffer(BUFFER + key, value)
    co, ci = layer.weight.shape[:2]
    block = method.scale_block(ci, pattern)
    if block is not None:
        layer.nofm_block = block
        ones = torch.ones(co, -(-ci // block), dtype=layer.weight.dtype, device=layer.weight.device)
        layer.register_parameter(SCALE, nn.Parameter(ones))


def restore(layer: SparseLayer) -> None:
    """Make a sparse layer the plain one that it was, with its dense weight; scales go into it."""
    if SCALE in layer._parameters:
        with torch.no_grad():
            layer.weight.copy_(layer.nofm_scaled())
        delattr(layer, SCALE)
        del layer.nofm_block
    for name in [name for name in layer._buffers if name.startswith(BUFFER)]:
        delattr(layer, name)
    del layer.nofm_site
    (kind,) = (kind for kind, sparse in CLASSES.items() if sparse is type(layer))
    layer.__class__ = kind  # type: ignore[assignment]
