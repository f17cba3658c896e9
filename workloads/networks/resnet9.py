"""ResNet-9 for CIFAR-10: the residual network of D. Page's entry to DAWNBench, 2018."""

from __future__ import annotations

import torch
from torch import nn


def resnet9(num_classes: int = 10) -> nn.Module:
    """ResNet-9, for [batch, 3, 32, 32] images."""
    return ResNet9(num_classes)


def _block(ci: int, co: int) -> nn.Sequential:
    convolution = nn.Conv2d(ci, co, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(co), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_block(width, width), _block(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


class ResNet9(nn.Module):
    """Eight 3x3 convolutions and a linear head without bias, its output scaled by 1/8."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.prepare = _block(3, 64)
        self.layer1 = nn.Sequential(_block(64, 128), nn.MaxPool2d(2), _Residual(128))
        self.layer2 = nn.Sequential(_block(128, 256), nn.MaxPool2d(2))
        self.layer3 = nn.Sequential(_block(256, 512), nn.MaxPool2d(2), _Residual(512))
        self.pool = nn.MaxPool2d(4)
        self.head = nn.Linear(512, num_classes, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.layer3(self.layer2(self.layer1(self.prepare(images))))
        return self.head(self.pool(features).flatten(1)) * 0.125
