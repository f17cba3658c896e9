"""BERT-base with a classifier: Devlin et al., 2018, as fine-tuned on sentence tasks."""

from __future__ import annotations

import torch
from torch import nn

from nofm.workloads.networks.transformer import Perceptron, SelfAttention

VOCABULARY, POSITIONS, SEGMENTS = 30522, 512, 2
WIDTH, DEPTH, HEADS = 768, 12, 12
DROPOUT = 0.1


def bert_base(num_classes: int = 2) -> nn.Module:
    """BERT-base and a linear classifier, for [batch, length] token ids."""
    return Bert(num_classes)


class _PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + perceptron(x)), on [batch, length, width]."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = SelfAttention(WIDTH, HEADS, dropout=DROPOUT)
        self.dropout1 = nn.Dropout(DROPOUT)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.perceptron = Perceptron(WIDTH)
        self.dropout2 = nn.Dropout(DROPOUT)
        self.norm2 = nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.dropout1(self.attention(x)))
        return self.norm2(x + self.dropout2(self.perceptron(x)))


class Bert(nn.Module):
    """Three embeddings, twelve blocks, and a pooled first token that is classified.

    All tokens are of one segment and none is padding.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(SEGMENTS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(_PostNormBlock() for _ in range(DEPTH)))
        self.pooler = nn.Linear(WIDTH, WIDTH)
        self.dropout_head = nn.Dropout(DROPOUT)
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.tokens(ids) + self.positions(positions) + self.segments(torch.zeros_like(ids))
        x = self.blocks(self.dropout(self.norm(x)))
        return self.head(self.dropout_head(torch.tanh(self.pooler(x[:, 0]))))
