"""VGG-19 with batch normalisation: Simonyan and Zisserman, 2014, at the size of CIFAR.

The three linear layers of the ImageNet network are one here, as usual for 32x32 images.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of convolutions between two poolings."""


def vgg19(num_classes: int = 100) -> nn.Module:
    """VGG-19 with batch normalisation and one linear layer, for [batch, 3, 32, 32] images."""
    return VGG19(num_classes)


class VGG19(nn.Module):
    """Sixteen 3x3 convolutions in five stages, and a linear head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        ci = 3
        for co, depth in WIDTHS:
            for _ in range(depth):
                parts += (nn.Conv2d(ci, co, 3, padding=1), nn.BatchNorm2d(co), nn.ReLU(True))
                ci = co
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(ci, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).flatten(1))
