"""GPT-2 small: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019."""

from __future__ import annotations

import torch
from torch import nn

from nofm.workloads.networks.transformer import PreNormBlock

VOCABULARY, POSITIONS = 50257, 1024
WIDTH, DEPTH, HEADS = 768, 12, 12
DROPOUT = 0.1


def gpt2() -> nn.Module:
    """GPT-2 small, for [batch, length] token ids; gives the scores of every next token."""
    return GPT2()


class GPT2(nn.Module):
    """Two embeddings, twelve causal blocks; the head shares the weight of the token embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(
            *(PreNormBlock(WIDTH, HEADS, causal=True, dropout=DROPOUT) for _ in range(DEPTH))
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.dropout(self.tokens(ids) + self.positions(positions))
        return self.head(self.norm(self.blocks(x)))
