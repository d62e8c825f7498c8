"""The deformable transformer of ReferFormer, which sees every frame on its own.

Letters in shapes: N frames of all clips, S cells of all levels of a frame, Q queries, C channels,
L levels, D decoder layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvl.layers import Attention, DeformableAttention

from .geometry import Geometry

Sizes = Sequence[tuple[int, int]]

FRAMES_AT_ONCE = 4
"""Frames that are worked on together where no gradient is wanted: it bounds the memory."""


class EncoderLayer(nn.Module):
    """Deformable self-attention over the cells of a frame, then a feed-forward network."""

    def __init__(self, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(embed_dims, num_heads)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, ffn_dims)
        self.linear2 = nn.Linear(ffn_dims, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, cells: Tensor, pos: Tensor, reference: Tensor, sizes: Sizes, valid: Tensor | None
    ) -> Tensor:
        """Map (N, S, C) cells with their positions to (N, S, C)."""
        attended = self.self_attn(cells + pos, reference, cells, sizes, valid)
        cells = self.norm1(cells + self.dropout(attended))
        hidden = self.linear2(self.dropout(self.linear1(cells).relu_()))
        return self.norm2(cells + self.dropout(hidden))


class CellEncoder(nn.Module):
    """A stack of :class:`EncoderLayer`."""

    def __init__(
        self, num_layers: int, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dims, num_heads, ffn_dims, dropout) for _ in range(num_layers)
        )

    def forward(self, cells: Tensor, pos: Tensor, geometry: Geometry) -> Tensor:
        """Encode (N, S, C) cells with (N, S, C) positions."""
        reference, valid = geometry.centres(), geometry.flat_valid
        # no frame sees another: without gradients a few at a time, to bound the memory
        step = len(cells) if torch.is_grad_enabled() else FRAMES_AT_ONCE
        encoded = []
        for start in range(0, len(cells), step):
            part = slice(start, start + step)
            inside = None if valid is None else valid[part]
            out = cells[part]
            for layer in self.layers:
                out = layer(out, pos[part], reference[part], geometry.sizes, inside)
            encoded.append(out)
        return torch.cat(encoded)


class DecoderLayer(nn.Module):
    """Self-attention of queries, deformable attention to the cells, feed-forward network."""

    def __init__(self, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(embed_dims, num_heads)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.self_attn = Attention(embed_dims, num_heads, dropout)
        # behind the self-attention, which comes first; named as released
        self.norm2 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, ffn_dims)
        self.linear2 = nn.Linear(ffn_dims, embed_dims)
        self.norm3 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        target: Tensor,
        query_pos: Tensor,
        reference: Tensor,
        memory: Tensor,
        sizes: Sizes,
        valid: Tensor | None,
    ) -> Tensor:
        """Map (N, Q, C) queries to (N, Q, C); ``memory`` is (N, S, C)."""
        query = target + query_pos
        target = self.norm2(target + self.dropout(self.self_attn(query, query, target)))
        attended = self.cross_attn(target + query_pos, reference, memory, sizes, valid)
        target = self.norm1(target + self.dropout(attended))
        hidden = self.linear2(self.dropout(self.linear1(target).relu()))
        return self.norm3(target + self.dropout(hidden))


class QueryDecoder(nn.Module):
    """Decoder layers that refine a box from one to the next."""

    def __init__(
        self, num_layers: int, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dims, num_heads, ffn_dims, dropout) for _ in range(num_layers)
        )

    def forward(
        self,
        target: Tensor,
        query_pos: Tensor,
        reference: Tensor,
        memory: Tensor,
        geometry: Geometry,
        box_heads: nn.ModuleList,
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            target: (N, Q, C) state of the queries.
            query_pos: (N, Q, C).
            reference: (N, Q, 2) where they look first, xy in 0-1 of the un-padded frame.
            memory: (N, S, C).
            geometry: of the L levels.
            box_heads: one for each layer.

        Returns:
            States (D, N, Q, C) and boxes (D, N, Q, 4), cxcywh in 0-1 of the un-padded frame.
        """
        states, boxes = [], []
        ratios, valid, sizes = geometry.ratios, geometry.flat_valid, geometry.sizes
        for layer, head in zip(self.layers, box_heads, strict=True):
            repeated = torch.cat([ratios] * (reference.shape[-1] // 2), -1)
            place = reference[:, :, None] * repeated[:, None]
            target = layer(target, query_pos, place, memory, sizes, valid)
            delta = head(target)
            known = inverse_sigmoid(reference)
            moved = delta[..., : known.shape[-1]] + known
            box = torch.cat([moved, delta[..., known.shape[-1] :]], -1).sigmoid()
            states.append(target)
            boxes.append(box)
            reference = box.detach()
        return torch.stack(states), torch.stack(boxes)


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Logit of values in 0-1, which are kept 1e-5 away from the ends."""
    return torch.log(x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5))


class DeformableTransformer(nn.Module):
    """Encoder and decoder of Deformable DETR, with the sentence as content of every query.

    Args:
        embed_dims: channels C.
        num_heads: attention heads.
        ffn_dims: hidden channels of the feed-forward networks.
        encoder_layers: layers of the encoder.
        decoder_layers: layers D of the decoder.
        dropout: behind attention and in the feed-forward networks.
        num_levels: levels L.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        ffn_dims: int,
        encoder_layers: int,
        decoder_layers: int,
        dropout: float,
        num_levels: int = 4,
    ) -> None:
        super().__init__()
        shape = (embed_dims, num_heads, ffn_dims, dropout)
        self.encoder = CellEncoder(encoder_layers, *shape)
        self.decoder = QueryDecoder(decoder_layers, *shape)
        self.level_embed = nn.Parameter(torch.randn(num_levels, embed_dims))
        self.reference_points = nn.Linear(embed_dims, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1 and parameter is not self.level_embed:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        nn.init.zeros_(self.reference_points.bias)

    def encode(self, cells: Tensor, geometry: Geometry) -> Tensor:
        """Let the cells of each frame look at each other.

        Args:
            cells: (N, S, C), level after level.
            geometry: of the L levels.

        Returns:
            (N, S, C).
        """
        numbers = torch.tensor([h * w for h, w in geometry.sizes], device=cells.device)
        pos = geometry.flat_pos + self.level_embed.repeat_interleave(numbers, 0)
        return self.encoder(cells, pos, geometry)

    def decode(
        self,
        memory: Tensor,
        geometry: Geometry,
        target: Tensor,
        query_pos: Tensor,
        box_heads: nn.ModuleList,
    ) -> tuple[Tensor, Tensor]:
        """Let the queries of each frame find their object.

        Args:
            memory: (N, S, C) of :meth:`encode`.
            geometry: as there.
            target: (N, Q, C) content of the queries.
            query_pos: (Q, C).
            box_heads: one for each layer.

        Returns:
            States (D, N, Q, C) and boxes (D, N, Q, 4), cxcywh in 0-1 of the un-padded frame.
        """
        query_pos = query_pos.expand(len(memory), -1, -1)
        reference = self.reference_points(query_pos).sigmoid()
        return self.decoder(target, query_pos, reference, memory, geometry, box_heads)
