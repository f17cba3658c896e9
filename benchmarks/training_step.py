"""What an N:M method costs a training step on this CPU, as a ratio to dense training.

    python benchmarks/training_step.py [METHOD ...]

Prints, for a 4096 x 4096 linear layer at batch 256 and for ResNet-18 at batch 32, how much longer a
forward and backward pass with each method at 2:8 takes than a dense one. Dense and sparse steps
take turns, so that what else the machine does hits both. A CPU gains nothing from N:M here: the
ratio is the cost of choosing.
"""

from __future__ import annotations

import os
import sys
import time

import torch
from torch import nn

import nofm
from nofm.workloads import networks

PATTERN = "2:8"
ROUNDS = 5


def linear() -> tuple[nn.Module, torch.Tensor]:
    """A 4096 x 4096 linear layer, and a batch of 256."""
    return nn.Sequential(nn.Linear(4096, 4096)), torch.randn(256, 4096, requires_grad=True)


def resnet18() -> tuple[nn.Module, torch.Tensor]:
    """ResNet-18 as it comes with NofM, and 32 images of 64 x 64."""
    model = networks.build("resnet18").to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    return model, torch.randn(32, 3, 64, 64)


def seconds(model: nn.Module, x: torch.Tensor) -> float:
    """One forward and backward pass."""
    start = time.perf_counter()
    model(x).sum().backward()
    took = time.perf_counter() - start
    model.zero_grad()
    return took


def main() -> None:
    """Measure and print."""
    methods = sys.argv[1:] or ["bdwp"]
    threads = torch.get_num_threads()
    print(f"Load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; {threads} threads.")
    for make in (linear, resnet18):
        torch.manual_seed(0)
        dense, x = make()
        models = {"dense": dense}
        for method in methods:
            torch.manual_seed(0)
            sparse, _ = make()
            models[method] = nofm.sparsify(sparse, method, PATTERN, inner=True)
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS + 1):
            for name, model in models.items():
                times[name].append(seconds(model, x))
        best = {name: min(taken[1:]) for name, taken in times.items()}
        print(f"{make.__name__}: a dense step takes {1e3 * best['dense']:.0f} ms.")
        for method in methods:
            print(f"  {method} {PATTERN}: {best[method] / best['dense']:.2f} times that.")


if __name__ == "__main__":
    main()
