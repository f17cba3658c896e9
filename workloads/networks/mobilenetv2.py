"""MobileNetV2: Sandler et al., "Inverted Residuals and Linear Bottlenecks", 2018."""

from __future__ import annotations

import torch
from torch import nn

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and first stride: table 2 of the paper."""


def mobilenetv2(num_classes: int = 1000) -> nn.Module:
    """MobileNetV2 of width 1, for [batch, 3, height, width] images."""
    return MobileNetV2(num_classes)


def _block(ci: int, co: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(ci, co, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(co), nn.ReLU6(inplace=True)]


class InvertedResidual(nn.Module):
    """Widen by a 1x1, filter by a depthwise 3x3, narrow by a 1x1 without activation."""

    def __init__(self, ci: int, co: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = ci * expansion
        parts = _block(ci, width, 1) if expansion > 1 else []
        parts += _block(width, width, 3, stride, groups=width)
        parts += _block(width, co, 1)[:-1]
        self.branch = nn.Sequential(*parts)
        self.adds = ci == co and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x) if self.adds else self.branch(x)


class MobileNetV2(nn.Module):
    """Stem, seventeen inverted residuals, a 1x1 convolution, linear head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_block(3, 32, 3, stride=2))
        ci = 32
        blocks = []
        for expansion, co, depth, stride in STAGES:
            for index in range(depth):
                blocks.append(InvertedResidual(ci, co, 1 if index else stride, expansion))
                ci = co
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*_block(ci, 1280, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(1280, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.last(self.blocks(self.stem(images))))
        return self.head(self.dropout(features.flatten(1)))
