"""The post-norm encoder and decoder of DETR (Carion et al. 2020, appendix A.3).

Letters in shapes: B images, S image tokens, Q queries, C channels, L decoder layers.
"""

import torch
from torch import Tensor, nn

from .attention import Attention


class EncoderLayer(nn.Module):
    """Self-attention over image tokens, then a feed-forward network."""

    def __init__(self, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(embed_dims, num_heads, dropout)
        self.linear1 = nn.Linear(embed_dims, ffn_dims)
        self.linear2 = nn.Linear(ffn_dims, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, pos: Tensor, valid: Tensor | None) -> Tensor:
        """Map (B, S, C) tokens with (B, S, C) positions to (B, S, C); ``valid`` is (B, S) bool."""
        query = tokens + pos
        tokens = self.norm1(tokens + self.dropout(self.self_attn(query, query, tokens, valid)))
        hidden = self.linear2(self.dropout(self.linear1(tokens).relu()))
        return self.norm2(tokens + self.dropout(hidden))


class DecoderLayer(nn.Module):
    """Self-attention over queries, cross-attention to image tokens, feed-forward network."""

    def __init__(self, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(embed_dims, num_heads, dropout)
        self.cross_attn = Attention(embed_dims, num_heads, dropout)
        self.linear1 = nn.Linear(embed_dims, ffn_dims)
        self.linear2 = nn.Linear(ffn_dims, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.norm3 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, target: Tensor, query_pos: Tensor, memory: Tensor, key: Tensor, valid: Tensor | None
    ) -> Tensor:
        """Refine the queries.

        Args:
            target: (B, Q, C) state of the queries.
            query_pos: (B, Q, C).
            memory: (B, S, C) encoded image.
            key: (B, S, C) memory with its positions added.
            valid: (B, S) bool, false in the padding; None without padding.

        Returns:
            (B, Q, C).
        """
        query = target + query_pos
        target = self.norm1(target + self.dropout(self.self_attn(query, query, target)))
        attended = self.cross_attn(target + query_pos, key, memory, valid)
        target = self.norm2(target + self.dropout(attended))
        hidden = self.linear2(self.dropout(self.linear1(target).relu()))
        return self.norm3(target + self.dropout(hidden))


class TransformerEncoder(nn.Module):
    """A stack of :class:`EncoderLayer` without a final norm."""

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int = 8,
        ffn_dims: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dims, num_heads, ffn_dims, dropout) for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor, pos: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode (B, S, C) tokens with (B, S, C) positions; ``valid`` is (B, S) bool or None."""
        for layer in self.layers:
            tokens = layer(tokens, pos, valid)
        return tokens


class TransformerDecoder(nn.Module):
    """A stack of :class:`DecoderLayer` that starts from zero and normalises every output."""

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int = 8,
        ffn_dims: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dims, num_heads, ffn_dims, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)

    def forward(
        self, query_pos: Tensor, memory: Tensor, pos: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Decode.

        Args:
            query_pos: (B, Q, C).
            memory: (B, S, C) encoded image.
            pos: (B, S, C) positions of the image tokens.
            valid: (B, S) bool, false in the padding; None without padding.

        Returns:
            (L, B, Q, C), the normalised output of every layer.
        """
        key = memory + pos
        target = torch.zeros_like(query_pos)
        outputs = []
        for layer in self.layers:
            target = layer(target, query_pos, memory, key, valid)
            outputs.append(self.norm(target))
        return torch.stack(outputs)
