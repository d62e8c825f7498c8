"""Video-Swin: attention in windows of space and time (Liu et al. 2022, arXiv 2106.13230).

Letters in shapes: B clips, T frames, H rows and W columns of patches, C channels, N tokens of a
window, h heads of d = C / h channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from mmvl.registry import MODELS

Triple = tuple[int, int, int]

# added to the logits of tokens from different sides of the seam, as in the released code
SEPARATE = -100.0


class WindowAttention(nn.Module):
    """Multi-head attention in windows, with a learnt bias for each relative position.

    Args:
        embed_dims: channels C.
        num_heads: heads h.
        window: frames, rows and columns of a full window.
    """

    def __init__(self, embed_dims: int, num_heads: int, window: Triple) -> None:
        super().__init__()
        self.num_heads = num_heads
        t, h, w = window
        distances = (2 * t - 1) * (2 * h - 1) * (2 * w - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(distances, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer('index', relative_position_index(window), persistent=False)
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, windows: Tensor, seams: Sequence[Tensor | None]) -> Tensor:
        """Attend within each window.

        Args:
            windows: (B, nT, nH, nW, N, C) of a grid of windows.
            seams: for each axis the side (N,) of the seam on which a token of the last window
                lies, or None where nothing is shifted.

        Returns:
            (B, nT, nH, nW, N, C).
        """
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1))
        parts = qkv.movedim(-3, 0).transpose(-2, -3)
        count = windows.shape[-2]
        # A window that is cut down by a small map takes the corner of the full index, although
        # its tokens are numbered otherwise. Geometrically wrong, but so the weights were trained.
        index = self.index[:count, :count]  # type: ignore[index]
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)
        return self.proj(self._attend(parts, bias, seams, 2))

    def _attend(
        self, parts: Tensor, bias: Tensor, seams: Sequence[Tensor | None], axis: int
    ) -> Tensor:
        """Attend, with the windows in the last place of an axis apart: only they have seams.

        So no mask of all windows is ever made.
        """
        if not seams:
            q, k, v = parts.flatten(1, 4)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
            return out.transpose(1, 2).flatten(2).unflatten(0, parts.shape[1:5])
        seam, rest = seams[0], seams[1:]
        if seam is None:
            return self._attend(parts, bias, rest, axis + 1)
        apart = (seam[:, None] != seam[None, :]) * SEPARATE
        last = parts.shape[axis] - 1
        whole, cut = parts.split([last, 1], axis)
        return torch.cat(
            [
                self._attend(whole, bias, rest, axis + 1),
                self._attend(cut, bias + apart, rest, axis + 1),
            ],
            axis - 1,
        )


def relative_position_index(window: Triple) -> Tensor:
    """(N, N) row of the bias table for each pair of tokens of a full window."""
    axes = torch.meshgrid(*(torch.arange(n) for n in window), indexing='ij')
    places = torch.stack([axis.flatten() for axis in axes], -1)
    full = torch.tensor(window)
    distance = places[:, None] - places[None, :] + full - 1
    lengths = 2 * full - 1
    return (distance[..., 0] * lengths[1] + distance[..., 1]) * lengths[2] + distance[..., 2]


class SwinBlock(nn.Module):
    """A pre-norm block whose windows may be shifted.

    Args:
        embed_dims: channels C.
        num_heads: heads.
        window: frames, rows and columns of a window.
        shifted: shift the windows by half their size.
        mlp_ratio: hidden channels of the MLP over C.
        drop_path: probability of leaving out a branch of a clip in training.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window: Triple,
        shifted: bool,
        mlp_ratio: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = WindowAttention(embed_dims, num_heads, window)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = nn.ModuleDict(
            {
                'fc1': nn.Linear(embed_dims, mlp_ratio * embed_dims),
                'fc2': nn.Linear(mlp_ratio * embed_dims, embed_dims),
            }
        )
        self.drop_path = StochasticDepth(drop_path, 'row')

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, C) to the same shape."""
        x = x + self.drop_path(self._windowed(self.norm1(x)))
        hidden = F.gelu(self.mlp['fc1'](self.norm2(x)))
        return x + self.drop_path(self.mlp['fc2'](hidden))

    def _windowed(self, x: Tensor) -> Tensor:
        size = x.shape[1:4]
        # an axis that one window holds is neither shifted nor cut
        window = [min(n, w) for n, w in zip(size, self.window, strict=True)]
        shift = [
            w // 2 if self.shifted and n > w else 0 for n, w in zip(size, self.window, strict=True)
        ]
        short = [-n % w for n, w in zip(size, window, strict=True)]
        # zeros join the attention of the last windows, as in the released code
        x = F.pad(x, (0, 0, 0, short[2], 0, short[1], 0, short[0]))
        if any(shift):
            x = x.roll([-s for s in shift], (1, 2, 3))
        padded = x.shape[1:4]
        for axis in (3, 2, 1):
            x = x.unflatten(axis, (-1, window[axis - 1]))
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6)
        x = self.attn(x, _seams(window, shift, x.device))
        x = x.unflatten(4, window).permute(0, 1, 4, 2, 5, 3, 6, 7)
        x = x.reshape(x.shape[0], *padded, -1)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, : size[0], : size[1], : size[2]]


def _seams(
    window: Sequence[int], shift: Sequence[int], device: torch.device
) -> list[Tensor | None]:
    """For each axis, whether a token (N,) of the last window came round from the other end."""
    seams: list[Tensor | None] = []
    for axis, (length, moved) in enumerate(zip(window, shift, strict=True)):
        if not moved:
            seams.append(None)
            continue
        side = torch.arange(length, device=device) >= length - moved
        shape = [1, 1, 1]
        shape[axis] = length
        seams.append(side.view(shape).expand(*window).flatten())
    return seams


class PatchMerging(nn.Module):
    """Join 2 x 2 patches of a frame and project them to twice the channels."""

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * embed_dims, 2 * embed_dims, bias=False)
        self.norm = nn.LayerNorm(4 * embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, C) to (B, T, H / 2, W / 2, 2 C), rounded up."""
        x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        # of the four, rows run fastest
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 2, 4, 5, 3, 6)
        return self.reduction(self.norm(x.flatten(4)))


@MODELS.register_module()
class VideoSwin(nn.Module):
    """Video-Swin with one feature map for every frame: patches have no extent in time.

    Parameters have the names of the released backbone of MTTR and ReferFormer. There are no norms
    behind the stages.

    Args:
        embed_dims: channels behind the patch embedding; each stage doubles them.
        depths: blocks of each stage; every second one is shifted.
        num_heads: of each stage.
        window: frames, rows and columns of a window.
        patch_size: side of a patch in pixels.
        mlp_ratio: hidden channels of the MLPs over those of their stage.
        drop_path_rate: of the last block; it rises linearly from 0.
        out_indices: stages whose maps are given.
        with_cp: compute the blocks again in the backward pass to save memory.
    """

    temporal = True
    """It reads clips, not images."""

    def __init__(
        self,
        embed_dims: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: Triple = (8, 7, 7),
        patch_size: int = 4,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.2,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.with_cp = patch_size, with_cp
        self.out_indices = tuple(out_indices)
        kernel = (1, patch_size, patch_size)
        self.patch_embed = nn.ModuleDict(
            {'proj': nn.Conv3d(3, embed_dims, kernel, kernel), 'norm': nn.LayerNorm(embed_dims)}
        )
        steps = max(sum(depths) - 1, 1)
        rates = iter(drop_path_rate * i / steps for i in range(sum(depths)))
        self.layers, self.downsamples = nn.ModuleList(), nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dims = embed_dims * 2**stage
            blocks = [
                SwinBlock(dims, heads, window, i % 2 == 1, mlp_ratio, next(rates))
                for i in range(depth)
            ]
            self.layers.append(nn.ModuleDict({'blocks': nn.ModuleList(blocks)}))
            if stage < len(depths) - 1:
                self.downsamples.append(PatchMerging(dims))

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Map clips to a pyramid for every frame.

        Args:
            clips: (B, T, 3, height, width) normalised RGB.

        Returns:
            One (B * T, C, H, W) for each of ``out_indices``: strides 4, 8, 16, 32 and C of
            ``embed_dims`` times 1, 2, 4, 8 for the published sizes.
        """
        batch, side = clips.shape[0], self.patch_size
        frames = clips.flatten(0, 1)
        frames = F.pad(frames, (0, -frames.shape[3] % side, 0, -frames.shape[2] % side))
        proj: nn.Conv3d = self.patch_embed['proj']  # type: ignore[assignment]
        x = F.conv2d(frames, proj.weight.squeeze(2), proj.bias, side)
        x = self.patch_embed['norm'](x.permute(0, 2, 3, 1)).unflatten(0, (batch, -1))
        maps = []
        for stage, layer in enumerate(self.layers):
            for block in layer['blocks']:  # type: ignore[index]
                if self.with_cp and torch.is_grad_enabled():
                    x = checkpoint(block, x, use_reentrant=False)
                else:
                    x = block(x)
            maps.append(x.flatten(0, 1).permute(0, 3, 1, 2))
            if stage < len(self.downsamples):
                x = self.downsamples[stage](x)
        return tuple(maps[i] for i in self.out_indices)
