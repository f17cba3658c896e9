"""ResNet-18 and ResNet-50: He et al., "Deep Residual Learning for Image Recognition", 2015.

The stride of a bottleneck is in its 3x3 convolution, as in torchvision's models, whose parameter
counts these have.
"""

from __future__ import annotations

import torch
from torch import nn


def resnet18(num_classes: int = 200) -> nn.Module:
    """ResNet-18 with the 7x7 stem, for [batch, 3, height, width] images."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes)


def resnet50(num_classes: int = 1000) -> nn.Module:
    """ResNet-50, for [batch, 3, height, width] images."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes)


def _normalised(ci: int, co: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(ci, co, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(co))


class _Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); the shortcut projects where sizes change."""

    expansion: int

    def __init__(self, branch: nn.Module, ci: int, co: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        keeps = ci == co and stride == 1
        self.shortcut = nn.Identity() if keeps else _normalised(ci, co, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


class BasicBlock(_Residual):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, ci: int, width: int, stride: int) -> None:
        first, second = _normalised(ci, width, 3, stride), _normalised(width, width, 3)
        super().__init__(nn.Sequential(*first, nn.ReLU(inplace=True), *second), ci, width, stride)


class Bottleneck(_Residual):
    """1x1, 3x3 and 1x1 convolutions; the last widens fourfold."""

    expansion = 4

    def __init__(self, ci: int, width: int, stride: int) -> None:
        parts = (
            *_normalised(ci, width, 1),
            nn.ReLU(inplace=True),
            *_normalised(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_normalised(width, 4 * width, 1),
        )
        super().__init__(nn.Sequential(*parts), ci, 4 * width, stride)


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, mean over positions, linear head."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_normalised(3, 64, 7, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        ci = 64
        stages = []
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            blocks = []
            for index in range(depth):
                blocks.append(block(ci, width, stride=2 if stage and not index else 1))
                ci = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(ci, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.stages(self.stem(images)))
        return self.head(features.flatten(1))
