"""The three products of a sparse layer's training, each with its own operands.

    FF  Y  = A Wff        BP  dA = dYbp Wbp        WU  dW = A' dYwu

Autograd would take one weight and one gradient for all three; here the method gives each product
its own. The gradient of the weight is that of the dense master: straight through the selection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nofm.workloads.sparse import hooks
from nofm.workloads.sparse.site import rows
from nofm.workloads.sparse.watch import seen

Shape = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""Of a convolution: stride, padding and dilation by spatial dimension, and channel groups."""


def apply(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    text: str,
    state: Mapping[str, Tensor],
    shape: Shape | None,
    training: bool,
) -> Tensor:
    """The output of a layer, with its gradients where they are wanted.

    Args:
        x: [batch, *positions, Ci] of a linear layer, [batch, Ci, *positions] of a convolution.
        weight, bias: of the layer, in the type that the products compute in.
        text: the layer's `Site`, encoded.
        state: the method's buffers.
        shape: of a convolution; None for a linear layer.
        training: whether the model trains.
    """
    if not torch.is_grad_enabled() and not training:
        return forward(x, hooks.deployed(weight, text, state), bias, text, shape)
    with torch.no_grad():
        ff, bp, penalty = hooks.weights(weight, text, state, training)
        # Compilation refuses one tensor in two places: an alias stands for it.
        bp = bp.detach() if bp is ff or bp is weight else bp
        ff = ff.detach() if ff is weight else ff
    run: Any = _Products.apply
    return cast(Tensor, run(x, weight, bias, ff, bp, penalty, text, shape))


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, text: str, shape: Shape | None
) -> Tensor:
    """The product of FF, with a bias; arguments as those of `apply`."""
    seen(text, "ff", x, weight)
    if shape is None:
        return F.linear(x, weight, bias)
    stride, padding, dilation, groups = shape
    none = (0,) * len(stride)
    return torch.convolution(x, weight, bias, stride, padding, dilation, False, none, groups)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ff: Tensor,
        bp: Tensor,
        penalty: Tensor | None,
        text: str,
        shape: Shape | None,
    ) -> Tensor:
        ctx.text, ctx.shape, ctx.biased = text, shape, bias is not None
        ctx.save_for_backward(x, bp, penalty)
        return forward(x, ff, bias, text, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, bp, penalty = ctx.saved_tensors
        shape: Shape | None = ctx.shape
        for_bp, for_wu = hooks.gradients(gradient, ctx.text)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            seen(ctx.text, "bp", for_bp, bp)
            of_x = _input_gradient(for_bp, bp, x, shape)
        if ctx.needs_input_grad[1]:
            seen(ctx.text, "wu", for_wu, x)
            of_weight, of_bias = _weight_gradient(for_wu, x, bp, shape)
            if penalty is not None:
                of_weight = of_weight + penalty
        if not ctx.biased or not ctx.needs_input_grad[2]:
            of_bias = None
        elif of_bias is None or for_wu is not gradient:
            of_bias = rows(gradient, shape is None).sum(0)
        return of_x, of_weight, of_bias, None, None, None, None, None


def _input_gradient(gradient: Tensor, weight: Tensor, x: Tensor, shape: Shape | None) -> Tensor:
    if shape is None:
        return rows(gradient, True).mm(weight).view(x.shape)
    return _convolution_backward(gradient, x, weight, shape, (True, False, False))[0]


def _weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, shape: Shape | None
) -> tuple[Tensor, Tensor | None]:
    if shape is None:
        return rows(gradient, True).t().mm(rows(x, True)), None
    # A convolution sums the bias's gradient in the same pass, in its own order.
    return _convolution_backward(gradient, x, weight, shape, (False, True, True))[1:]


def _convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, shape: Shape, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    stride, padding, dilation, groups = shape
    found = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        [gradient.shape[1]],
        stride,
        padding,
        dilation,
        False,
        (0,) * len(stride),
        groups,
        wanted,
    )
    return cast(tuple[Tensor, Tensor, Tensor], found)
