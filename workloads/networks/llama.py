"""One block of Llama-2-7B: Touvron et al., "Llama 2", 2023."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

WIDTH, HEADS, INNER = 4096, 32, 11008


def llama_block(length: int = 2048) -> nn.Module:
    """One block, for [batch, length, 4096] activations."""
    return LlamaBlock(length)


class LlamaBlock(nn.Module):
    """Attention with rotary positions, then a gated perceptron, each behind an RMS norm."""

    rotary: torch.Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(WIDTH, eps=1e-5)
        self.q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v = nn.Linear(WIDTH, WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm2 = nn.RMSNorm(WIDTH, eps=1e-5)
        self.gate = nn.Linear(WIDTH, INNER, bias=False)
        self.up = nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)
        size = WIDTH // HEADS
        speeds = 10000.0 ** (-torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(length), speeds).repeat(1, 2)
        self.register_buffer("rotary", torch.stack((angles.cos(), angles.sin())), persistent=False)

    def _rotated(self, x: torch.Tensor) -> torch.Tensor:
        cos, sin = self.rotary
        low, high = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-high, low), dim=-1) * sin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape

        def split(y: torch.Tensor) -> torch.Tensor:
            return y.view(batch, length, HEADS, width // HEADS).transpose(1, 2)

        normed = self.norm1(x)
        q, k = self._rotated(split(self.q(normed))), self._rotated(split(self.k(normed)))
        mixed = scaled_dot_product_attention(q, k, split(self.v(normed)), is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        normed = self.norm2(x)
        return x + self.down(silu(self.gate(normed)) * self.up(normed))
