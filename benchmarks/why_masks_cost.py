"""Why held masks and a backward pass of its own cost accuracy, in the small CNN on MNIST-1D at 2:8.

    python benchmarks/why_masks_cost.py

Two measurements, which docs/training.md quotes: the training loss right before and right after
transposable masks are chosen anew, with the share of the weights whose place in the mask changes;
and how far BDWP's gradient points from the exact one of the same network, which differs in BP's
weights alone. A minute of one core.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

import nofm
from nofm.workloads.methods import METHODS
from nofm.workloads.training import datasets, models

EPOCHS, BATCH, RATE = 20, 128, 1e-2
BEFORE = 5
"""Steps whose mean is the loss before a choice."""


class Training:
    """Steps of AdamW with the schedule of `nofm train`."""

    def __init__(self, method: str, **settings: object) -> None:
        torch.manual_seed(0)
        self.data = datasets.load("mnist1d")
        self.model = models.build("cnn", self.data, "mnist1d")
        nofm.sparsify(self.model, replace(METHODS[method], **settings), "2:8")
        self.steps = len(self.data.x) // BATCH
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE)

    def epoch(self, epoch: int) -> list[float]:
        """Train one; gives the loss of every step."""
        order = torch.randperm(len(self.data.x))
        losses = []
        for step in range(self.steps):
            share = (epoch + step / self.steps) / EPOCHS
            self.optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * share))
            self.optimizer.zero_grad()
            loss = self.loss(self.model, order[step * BATCH : (step + 1) * BATCH])
            loss.backward()
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def loss(self, model: nn.Module, chosen: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(self.data.x[chosen]), self.data.y[chosen])


def choices(every: int) -> None:
    """Loss around the choices of the first half of a training, and what they change."""
    training = Training("transposable", refresh_steps=every)
    losses: list[float] = []
    seen, changed = nofm.inspect(training.model), []
    for epoch in range(EPOCHS // 2):
        losses += training.epoch(epoch)
        now = nofm.inspect(training.model, since=seen)
        changed.append(now.sad)
        seen = now
    at = range(max(every, BEFORE), len(losses), every)
    before = sum(sum(losses[i - BEFORE : i]) / BEFORE for i in at) / len(at)
    after = sum(losses[i] for i in at) / len(at)
    weights = sum(mask.numel() for mask in seen.masks.values())
    share = sum(changed) / weights / (len(losses) / every)
    print(
        f"chosen every {every:2} steps: loss {before:.2f} before a choice, {after:.2f} after it; "
        f"a choice changes at least {100 * share:.1f} % of the mask"
    )


def directions() -> None:
    """Cosine of BDWP's gradient with the exact one, by layer, along a training."""
    training = Training("bdwp")
    for epoch in range(EPOCHS):
        training.epoch(epoch)
        if epoch % 5 != 4:
            continue
        gradients = []
        for method in (METHODS["bdwp"], replace(METHODS["srste"], decay=0.0)):
            model = nofm.desparsify(copy.deepcopy(training.model))
            nofm.sparsify(model, method, "2:8")
            training.loss(model, torch.arange(1024)).backward()
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.ndim > 1})
        ours, exact = gradients
        cosines = {
            name.removesuffix(".weight"): F.cosine_similarity(
                ours[name].flatten(), exact[name].flatten(), dim=0
            )
            for name in ours
        }
        text = ", ".join(f"layer {name} {float(cosine):.2f}" for name, cosine in cosines.items())
        print(f"BDWP after {epoch + 1:2} epochs: {text}")


def main() -> None:
    torch.set_num_threads(1)
    for every in (40, 1):
        choices(every)
    directions()


if __name__ == "__main__":
    main()
