"""ViT-S: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020; the size S of DeiT, 2021."""

from __future__ import annotations

import torch
from torch import nn

from nofm.workloads.networks.transformer import PreNormBlock


def vit(num_classes: int = 100, image_size: int = 32, patch_size: int = 4) -> nn.Module:
    """ViT-S, for [batch, 3, image_size, image_size] images."""
    return ViT(num_classes, image_size, patch_size, width=384, depth=12, heads=6)


class ViT(nn.Module):
    """Patches, a class token, learned positions, transformer blocks, linear head."""

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        patch_size: int,
        *,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        length = (image_size // patch_size) ** 2 + 1
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, length, width))
        self.blocks = nn.Sequential(*(PreNormBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        token = self.token.expand(len(images), -1, -1)
        x = torch.cat((token, patches), dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])
