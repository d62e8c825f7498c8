"""ViTDet's plain vision transformer, whose projections can be adapted to a sentence.

Letters in shapes: B images, H and W rows and columns of patches, N = H * W tokens, C channels,
h heads of d = C / h channels.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmvl.registry import MODELS

# Replaces the projection of a layer: (B, N, C) tokens and the layer -> (B, N, 3 C).
Adapted = Callable[[Tensor, nn.Linear], Tensor]


class RelativeAttention(nn.Module):
    """Multi-head attention over a grid with decomposed relative positions.

    Args:
        embed_dims: channels C.
        num_heads: heads h.
        size: side of the (square) grid that the attention sees: a window, or the whole image.

    Source: Li et al. 2022 (ViTDet) and MViTv2, equation 4.
    """

    def __init__(self, embed_dims: int, num_heads: int, size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head = embed_dims // num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, head))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, head))

    def forward(self, x: Tensor, window: int, adapted: Adapted | None = None) -> Tensor:
        """Attend within windows, or everywhere.

        Args:
            x: (B, H, W, C).
            window: side of the windows; 0 for one that holds everything.
            adapted: computes the projection of queries, keys and values instead of ``qkv``.

        Returns:
            (B, H, W, C).
        """
        batch, height, width, _ = x.shape
        if window:
            # zeros join the attention of the last windows, as in ViTDet
            x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = x.shape[1:3]
        tokens = x.flatten(1, 2)
        qkv = self.qkv(tokens) if adapted is None else adapted(tokens, self.qkv)
        # a projection knows no neighbours: windows are cut after it, when it is one per image
        qkv = _windows(qkv.unflatten(1, (rows, columns)), window or rows, window or columns)
        grid = qkv.shape[1:3]
        q, k, v = qkv.flatten(1, 2).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q, *grid))
        out = out.transpose(1, 2).flatten(2).unflatten(1, grid)
        return self.proj(_join(out, batch, rows, columns)[:, :height, :width])

    def _bias(self, q: Tensor, rows: int, columns: int) -> Tensor:
        """(B, h, N, N) what the relative positions add to the logits."""
        grid = q.unflatten(2, (rows, columns))
        down = torch.einsum('bnrcd,rkd->bnrck', grid, relative_positions(self.rel_pos_h, rows))
        along = torch.einsum('bnrcd,ckd->bnrck', grid, relative_positions(self.rel_pos_w, columns))
        # a sum has the layout of its terms, and another one would be copied to be flattened
        bias = down.contiguous()[..., :, None] + along.contiguous()[..., None, :]
        return bias.flatten(4).flatten(2, 3)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """(size, size, d) embedding of each query's distance to each key, along one axis.

    Args:
        table: (2 S - 1, d), from the key furthest ahead to the one furthest behind. For another
            size than S it is interpolated, as ViTDet does.
        size: of the axis.
    """
    if len(table) != 2 * size - 1:
        table = F.interpolate(table.T[None], size=2 * size - 1, mode='linear')[0].T
    at = torch.arange(size, device=table.device)
    return table[at[:, None] - at[None, :] + size - 1]


def _windows(x: Tensor, height: int, width: int) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, height, width, C)."""
    x = x.unflatten(2, (-1, width)).unflatten(1, (-1, height))
    return x.transpose(2, 3).flatten(0, 2)


def _join(x: Tensor, batch: int, rows: int, columns: int) -> Tensor:
    """Put windows back together to (B, rows, columns, C)."""
    height, width = x.shape[1:3]
    x = x.unflatten(0, (batch, rows // height, columns // width))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        embed_dims: channels C.
        num_heads: heads.
        mlp_ratio: hidden channels of the MLP over C.
        size: side of the grid of the whole image.
        window: side of the attention windows; 0 for global attention.
        drop_path: probability of leaving out a branch of a sample in training.
        eps: of the norms.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: int,
        size: int,
        window: int,
        drop_path: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(embed_dims, eps)
        self.attn = RelativeAttention(embed_dims, num_heads, window or size)
        self.norm2 = nn.LayerNorm(embed_dims, eps)
        self.mlp = nn.ModuleDict(
            {
                'fc1': nn.Linear(embed_dims, mlp_ratio * embed_dims),
                'fc2': nn.Linear(mlp_ratio * embed_dims, embed_dims),
            }
        )
        self.drop_path = StochasticDepth(drop_path, 'row')

    def forward(self, x: Tensor, adapted: Adapted | None = None) -> Tensor:
        """Map (B, H, W, C) to the same shape; ``adapted`` as in :class:`RelativeAttention`."""
        x = x + self.drop_path(self.attn(self.norm1(x), self.window, adapted))
        hidden = F.gelu(self.mlp['fc1'](self.norm2(x)))
        return x + self.drop_path(self.mlp['fc2'](hidden))


@MODELS.register_module()
class AdaptiveViTDet(nn.Module):
    """ViTDet's backbone (Li et al. 2022) with a hook for sentence-specific projections.

    Names and shapes of the parameters are those of detectron2 and mmdet. There is no final norm and
    no convolution block.

    Args:
        image_size: side S of the square input, pixels.
        patch_size: side of a patch, pixels.
        embed_dims: channels C.
        depth: blocks.
        num_heads: heads.
        mlp_ratio: hidden channels of the MLPs over C.
        window: side of the attention windows in patches.
        global_blocks: numbers of the blocks that attend globally.
        drop_path_rate: of the last block; rises linearly from 0.
        pretrain_grid: side of the grid that the position embedding was trained on.
        eps: of the norms. 1e-6 is what ViTDet's weights were trained with; VG-LAW's released code
            passes that value and then builds its blocks with 1e-5.
    """

    def __init__(
        self,
        image_size: int = 448,
        patch_size: int = 16,
        embed_dims: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: int = 4,
        window: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        drop_path_rate: float = 0.1,
        pretrain_grid: int = 14,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.patch_embed = nn.ModuleDict({'proj': nn.Conv2d(3, embed_dims, patch_size, patch_size)})
        self.pos_embed = nn.Parameter(torch.zeros(1, pretrain_grid**2 + 1, embed_dims))
        rates = [drop_path_rate * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            Block(
                embed_dims,
                num_heads,
                mlp_ratio,
                image_size // patch_size,
                0 if i in global_blocks else window,
                rates[i],
                eps,
            )
            for i in range(depth)
        )
        self.apply(_initialise)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor, adapted: Sequence[Adapted | None] | None = None) -> Tensor:
        """Compute the feature map.

        Args:
            images: (B, 3, S, S) float32, normalised.
            adapted: for each block what replaces its projection, or None.

        Returns:
            (B, C, H, W) output of the last block.
        """
        x = self.patch_embed['proj'](images).permute(0, 2, 3, 1)
        x = x + position_map(self.pos_embed, (x.shape[1], x.shape[2]))
        for block, each in zip(self.blocks, adapted or [None] * len(self.blocks), strict=True):
            x = block(x, each)
        return x.permute(0, 3, 1, 2)


def position_map(embedding: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, H, W, C) position embedding, bicubic where the grid has another size.

    Args:
        embedding: (1, 1 + P, C) of a square grid of P patches, behind that of the class token.
        size: (H, W).
    """
    grid = embedding[:, 1:]
    side = int(len(grid[0]) ** 0.5)
    grid = grid.unflatten(1, (side, side))
    if size == (side, side):
        return grid
    grid = F.interpolate(grid.permute(0, 3, 1, 2), size, mode='bicubic', align_corners=False)
    return grid.permute(0, 2, 3, 1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
