"""Tiny transformers to check methods in that look at attention: each computes it another way."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, CLASSES = 8, 2, 4
PATCH = 2


class _Attention(nn.Module):
    """Self-attention by torch's fused kernel, or written out."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        parts = self.qkv(x).view(n, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
            mixed = scores.softmax(-1) @ value
        found: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, WIDTH))
        return found


class _MultiHead(nn.MultiheadAttention):
    """torch's own module."""

    def __init__(self) -> None:
        super().__init__(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


class _Block(nn.Module):
    """h + attention(norm(h)), then h + mlp(norm(h))."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 12), nn.GELU(), nn.Linear(12, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        found: Tensor = x + self.mlp(self.between(x))
        return found


class _Transformer(nn.Module):
    """Patches of 2 x 2, prefix tokens, positions, blocks, a norm, and a head."""

    prefix = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
        # As many patches as our images of 10 x 8 pixels have, either way up.
        self.tokens = nn.Parameter(torch.randn(1, self.prefix, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, self.prefix + 20, WIDTH) / 2)
        self.blocks = nn.Sequential(*(_Block(self.attention()) for _ in range(2)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        for name, parameter in self.named_parameters():
            if "qkv" in name or "in_proj" in name:
                parameter.data *= 2  # attention that is far from even

    def attention(self) -> nn.Module:
        return _MultiHead()

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.tokens.expand(len(x), -1, -1), patches], 1) + self.positions
        logits: Tensor = self.head(self.pooled(self.norm(self.blocks(tokens))))
        return logits

    def pooled(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class ClassToken(_Transformer):
    """torch.nn.MultiheadAttention; the class token is read."""


class Averaged(_Transformer):
    """The fused kernel; no class token, the patches are averaged."""

    prefix = 0

    def attention(self) -> nn.Module:
        return _Attention(fused=True)

    def pooled(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


class Distilled(_Transformer):
    """Attention written out; class and distillation token are read, a register is not."""

    prefix = 3

    def attention(self) -> nn.Module:
        return _Attention(fused=False)

    def pooled(self, tokens: Tensor) -> Tensor:
        return tokens[:, :2].mean(1)
