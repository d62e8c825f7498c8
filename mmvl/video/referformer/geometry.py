"""Where the cells of a feature pyramid lie, and which of them are padding.

Letters in shapes: B clips, T frames, N = B * T frames of all clips, H and W of the padded frames, S
cells of all L levels of a frame, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvl.layers import sine_position_encoding


@dataclass
class Geometry:
    """The levels of a pyramid.

    Attributes:
        sizes: rows and columns of each level.
        pos: (N, rows, columns, C) position encoding of each level.
        valids: (N, rows, columns) bool of each level, false in the padding; None where nothing is
            padded.
    """

    sizes: list[tuple[int, int]]
    pos: list[Tensor]
    valids: list[Tensor] | None

    @property
    def flat_pos(self) -> Tensor:
        """(N, S, C) positions of all levels."""
        return torch.cat([pos.flatten(1, 2) for pos in self.pos], 1)

    @property
    def flat_valid(self) -> Tensor | None:
        """(N, S) bool of all levels, or None."""
        if self.valids is None:
            return None
        return torch.cat([valid.flatten(1) for valid in self.valids], 1)

    @property
    def ratios(self) -> Tensor:
        """(N, L, 2) un-padded part of the width and the height of each level."""
        if self.valids is None:
            return self.pos[0].new_ones(len(self.pos[0]), len(self.sizes), 2)
        sides = [(v[:, 0].float().mean(1), v[:, :, 0].float().mean(1)) for v in self.valids]
        return torch.stack([torch.stack(side, -1) for side in sides], 1)

    def centres(self) -> Tensor:
        """(N, S, L, 2) xy of every cell, on every level in 0-1 of that level with its padding."""
        ratios, places = self.ratios, []
        for level, (rows, columns) in enumerate(self.sizes):
            y = (torch.arange(rows, device=ratios.device) + 0.5) / rows
            x = (torch.arange(columns, device=ratios.device) + 0.5) / columns
            grid = torch.stack((x.repeat(rows), y.repeat_interleave(columns)), -1)
            places.append(grid / ratios[:, None, level])
        return torch.cat(places, 1)[:, :, None] * ratios[:, None]

    def of(self, levels: slice) -> 'Geometry':
        """Some of the levels."""
        valids = None if self.valids is None else self.valids[levels]
        return Geometry(self.sizes[levels], self.pos[levels], valids)


def lay_out(
    sizes: Sequence[tuple[int, int]], valid: Tensor | None, like: Tensor, frames: int, dims: int
) -> Geometry:
    """Describe a pyramid.

    Args:
        sizes: rows and columns of each level.
        valid: (B, H, W) bool, true inside the frames of a clip; None where nothing is padded.
        like: (N, ...) whose device and number of frames are taken.
        frames: T.
        dims: C.
    """
    pos, valids = [], []
    for size in sizes:
        if valid is None:
            inside = torch.ones(1, *size, dtype=torch.bool, device=like.device)
        else:
            inside = F.interpolate(valid[None].float(), size)[0].bool()
        wave = sine_position_encoding(inside, dims // 2, offset=-0.5).permute(0, 2, 3, 1)
        if valid is None:
            pos.append(wave.expand(len(like), -1, -1, -1))
        else:
            pos.append(wave.repeat_interleave(frames, 0))
            valids.append(inside.repeat_interleave(frames, 0))
    return Geometry(list(sizes), pos, valids or None)


def valid_area(shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor | None:
    """(B, H, W) bool, true in the first rows and columns of each clip; None if all are full.

    Args:
        shapes: rows and columns of the frames of each clip.
        like: (..., H, W), whose size and device are taken.
    """
    height, width = like.shape[-2:]
    if all(tuple(shape) == (height, width) for shape in shapes):
        return None
    valid = torch.zeros(len(shapes), height, width, dtype=torch.bool, device=like.device)
    for mask, (rows, columns) in zip(valid, shapes, strict=True):
        mask[:rows, :columns] = True
    return valid
