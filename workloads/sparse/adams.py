"""AdamS: Adam that decays what an N:M mask drops, for the method CAST."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn

from nofm.kernels.errors import InputError, positive
from nofm.workloads.methods.cast import Cast
from nofm.workloads.sparse.convert import sparse_layers
from nofm.workloads.sparse.layers import BUFFER, SparseLayer


class AdamS(torch.optim.Optimizer):
    """Adam with a decoupled sign decay of the weights that their layer's mask drops.

    Huang et al., *CAST*, 2025, Algorithm 1. In step t = 0, 1, ... of T, with alpha = t / T, the
    momentum mu of gradients, and lambda the method's `decay`, a weight w that the mask drops
    takes ::

        mu' = (1 - alpha) mu + alpha lambda sign(w)

    in place of mu, and every weight's second moment is that of mu', not of the gradient::

        v = beta2 v + (1 - beta2) mu'^2        w = w - lr (mu' / (1 - beta1^(t+1))) /
                                                       (sqrt(v / (1 - beta2^(t+1))) + eps)

    The decay never enters mu. Parameters outside the sparse layers take that step with mu' = mu.

    Args:
        model: after `sparsify(model, "cast", ...)`; its weights are float32, since lambda is less
            than half precision can tell apart.
        total_steps: T; later steps keep alpha at 1.
        lr, betas, eps: as Adam's; the defaults are the paper's.

    Raises:
        InputError: the model has no layer of that method, its weights are not float32, or
            `total_steps` is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        total_steps: int,
        lr: float | Tensor = 2e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self._layers: dict[Tensor, SparseLayer] = {}
        for name, layer in sparse_layers(model).items():
            if not isinstance(layer.nofm.method, Cast):
                continue
            if layer.weight.dtype != torch.float32:
                dtype = str(layer.weight.dtype).removeprefix("torch.")
                raise InputError(
                    f"layer {name!r}: AdamS needs float32 weights, not {dtype}: use autocast for "
                    "half precision"
                )
            self._layers[layer.weight] = layer
        if not self._layers:
            raise InputError("AdamS needs a model that nofm.sparsify made train by method 'cast'")
        self.total_steps = positive("total_steps", total_steps)
        defaults = {"lr": lr, "betas": betas, "eps": eps}
        super().__init__([p for p in model.parameters() if p.requires_grad], defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.int64)
            state["momentum"] = torch.zeros_like(weight)
            state["second_moment"] = torch.zeros_like(weight)
        step, momentum, second = int(state["step"]), state["momentum"], state["second_moment"]
        state["step"] += 1
        momentum.mul_(beta1).add_(gradient, alpha=1 - beta1)
        taken = momentum
        if weight in self._layers:
            layer = self._layers[weight]
            alpha = min(1.0, step / self.total_steps)
            method = layer.nofm.method
            assert isinstance(method, Cast)
            decayed = momentum * (1 - alpha) + weight.sign() * (alpha * method.decay)
            taken = torch.where(layer.get_buffer(BUFFER + "mask").bool(), momentum, decayed)
        second.mul_(beta2).addcmul_(taken, taken, value=1 - beta2)
        scale = (second.sqrt() / math.sqrt(1 - beta2 ** (step + 1))).add_(group["eps"])
        weight.sub_(group["lr"] / (1 - beta1 ** (step + 1)) * taken / scale)
