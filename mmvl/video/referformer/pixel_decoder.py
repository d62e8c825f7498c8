"""What joins frames and words: the early fusion and the cross-modal feature pyramid.

Letters in shapes: B clips, T frames, N = B * T frames of all clips, h and w rows and columns of a
level, K words, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvl.layers import Attention, sine_sequence_encoding

from .geometry import Geometry


@dataclass
class Words:
    """The sentences of a batch.

    Attributes:
        features: (B, K, C) of the words.
        valid: (B, K) bool, false for padding.
        sentence: (B, C) feature of the whole sentence.
    """

    features: Tensor
    valid: Tensor
    sentence: Tensor

    @property
    def key(self) -> Tensor:
        """(B, K, C) features with the places of the words."""
        pos = sine_sequence_encoding(self.valid, self.features.shape[-1])
        return self.features + pos.to(self.features.dtype)


class TextResizer(nn.Module):
    """Bring text features to the channels of the transformer."""

    def __init__(self, in_dims: int, embed_dims: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc = nn.Linear(in_dims, embed_dims)
        self.layer_norm = nn.LayerNorm(embed_dims, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dims) to (..., C)."""
        return self.dropout(self.layer_norm(self.fc(x)))


class EarlyFusion(nn.Module):
    """Multiply every cell with what it finds among the words."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = Attention(embed_dims, num_heads)

    def forward(self, cells: Tensor, words: Words) -> Tensor:
        """Map (B, cells, C), cells of all frames and levels, to (B, cells, C)."""
        return cells * self.multihead_attn(cells, words.key, words.features, words.valid)


class CrossModalBlock(nn.Module):
    """Attention among all cells of a clip on a coarser grid, attention to words, feed-forward.

    Args:
        embed_dims: channels C.
        num_heads: attention heads.
        ffn_dims: hidden channels of the feed-forward network.
        dropout: behind attention and in the feed-forward network.
        reduction: the self-attention runs on floor(h / reduction) rows, columns likewise.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, ffn_dims: int, dropout: float, reduction: int
    ) -> None:
        super().__init__()
        self.self_attn = Attention(embed_dims, num_heads, dropout)
        self.cross_attn = Attention(embed_dims, num_heads, dropout)
        self.linear1 = nn.Linear(embed_dims, ffn_dims)
        self.linear2 = nn.Linear(ffn_dims, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.norm3 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.reduction = reduction
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, pos: Tensor, valid: Tensor | None, words: Words) -> Tensor:
        """Fuse a level.

        Args:
            x: (N, h, w, C).
            pos: (N, h, w, C).
            valid: (N, h, w) bool, false in the padding; None without padding.
            words: sentences of the B clips.

        Returns:
            (N, h, w, C).
        """
        clips = len(words.valid)
        frames = len(x) // clips
        attended = self._across_frames(x, pos, valid, clips)
        # what follows knows no other cell: without gradients frame by frame, to bound the memory
        step = frames if torch.is_grad_enabled() else 1
        x, pos, attended = (each.unflatten(0, (clips, frames)) for each in (x, pos, attended))
        parts = zip(x.split(step, 1), pos.split(step, 1), attended.split(step, 1), strict=True)
        fused = [self._with_words(*part, words=words) for part in parts]
        return torch.cat(fused, 1).flatten(0, 1)

    def _across_frames(self, x: Tensor, pos: Tensor, valid: Tensor | None, clips: int) -> Tensor:
        """(N, h, w, C) answer of the self-attention over all frames of a clip."""
        size = x.shape[1:3]
        small = [side // self.reduction for side in size]
        if self.reduction > 1:
            # repeated positions are thinned once
            x, pos = _resize(x, small, 'nearest'), _resize(pos, small, 'nearest')
            if valid is not None:
                valid = F.interpolate(valid[None].float(), small)[0].bool()
        query, value = (each.reshape(clips, -1, x.shape[-1]) for each in (x + pos, x))
        key_mask = None if valid is None else valid.reshape(clips, -1)
        found = self.self_attn(query, query, value, key_mask).view(x.shape)
        return found if self.reduction == 1 else _resize(found, list(size), 'bilinear')

    def _with_words(self, x: Tensor, pos: Tensor, attended: Tensor, words: Words) -> Tensor:
        """Everything behind the self-attention, for (B, T, h, w, C)."""
        x = self.norm1(x + self.dropout(attended))
        query = (x + pos).flatten(1, 3)
        found = self.cross_attn(query, words.key, words.features, words.valid)
        x = self.norm2(x + self.dropout(found.view(x.shape)))
        hidden = self.linear2(self.dropout(self.linear1(x).relu_()))
        return self.norm3(x + self.dropout(hidden))


def _resize(x: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Resize (N, h, w, C) to (N, *size, C)."""
    return F.interpolate(x.permute(0, 3, 1, 2), list(size), mode=mode).permute(0, 2, 3, 1)


class CrossModalFPN(nn.Module):
    """A feature pyramid from stride 32 down to stride 4 whose levels read the sentence.

    Args:
        in_channels: of the maps, finest first.
        embed_dims: channels C.
        num_heads: attention heads.
        ffn_dims: hidden channels of the feed-forward networks.
        dropout: of the blocks.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        embed_dims: int,
        num_heads: int,
        ffn_dims: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(dims, embed_dims, 1) for dims in in_channels)
        self.output = nn.ModuleList(_conv(embed_dims, embed_dims, 3) for _ in in_channels)
        coarsest = len(in_channels) - 1
        self.blocks = nn.ModuleList(
            CrossModalBlock(embed_dims, num_heads, ffn_dims, dropout, 2 ** (coarsest - i))
            for i in range(len(in_channels))
        )
        self.mask_features = nn.Conv2d(embed_dims, embed_dims, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor], geometry: Geometry, words: Words) -> Tensor:
        """Make the map of which masks are made.

        Args:
            maps: (N, channels, h, w) of each level, finest first.
            geometry: of the same levels.
            words: sentences of the clips.

        Returns:
            (N, C, h, w), stride 4.
        """
        y: Tensor | None = None
        for level in reversed(range(len(maps))):
            x = self.lateral[level](maps[level]).permute(0, 2, 3, 1)
            valid = None if geometry.valids is None else geometry.valids[level]
            x = self.blocks[level](x, geometry.pos[level], valid, words).permute(0, 3, 1, 2)
            if y is not None:
                x = x + F.interpolate(y, x.shape[-2:])
            y = self.output[level](x).relu()
        return self.mask_features(y)


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(8, out_channels))
