"""Adaptive lifting: depth becomes occupancy, and features are spread over the voxels.

Letters in shapes: B samples, N cameras, C channels, D depth bins, L bins along a ray, K planes
that are lifted (D, and 27 where neighbouring pixels are filled), h x w cells of stride 16, X Y Z
voxels.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmvl.ops import bev_pool, bev_pool_prepare, soft_splat
from mmvl.registry import MODELS

from .cameras import Cameras, frustum
from .depth_net import HIDDEN_BINS, NEIGHBOURS, STRIDE, DepthPrediction

Bounds = tuple[float, float, float]
# voxel coordinate of a point that is not to be lifted
OUTSIDE = -1e4


@MODELS.register_module()
class AdaptiveLift(BaseModule):
    """Lift-Splat with occupancy instead of depth, and trilinear shares instead of nearest voxels.

    Args:
        grid: lower bound, upper bound and step, metres, for 'x', 'y' and 'z'.
        depth: nearest depth, farthest depth (not included) and step, metres.
        image_size: height and width of the images, pixels; multiples of 16.
        soft_filling: share a point among the eight voxels around it. Otherwise its coordinates are
            cut towards zero, so that a point up to one voxel below the grid counts to its edge.
        clamp_bins_to_cameras: what the released weights were trained with: the bins around the
            surface that fill neighbouring pixels are looked up no farther than bin N - 1. False
            looks at the surface itself.
        true_depth_rate: share of the LiDAR depth in evaluation, where a sample has it.

    Raises:
        ValueError: an image size that is no multiple of 16.

    Source: arXiv 2411.07725, section 3.1; official code for the order of planes and the bin limit.
    """

    def __init__(
        self,
        grid: Mapping[str, Bounds],
        depth: Bounds = (1.0, 45.0, 0.5),
        image_size: tuple[int, int] = (256, 704),
        soft_filling: bool = True,
        clamp_bins_to_cameras: bool = True,
        true_depth_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if any(side % STRIDE for side in image_size):
            raise ValueError(f'image_size is a multiple of {STRIDE}, not {tuple(image_size)}')
        self.image_size = tuple(image_size)
        self.soft_filling = soft_filling
        self.clamp_bins_to_cameras = clamp_bins_to_cameras
        self.true_depth_rate = true_depth_rate
        # of training; a schedule lowers it
        self.denoise_rate = 1.0
        bounds = [grid[axis] for axis in 'xyz']
        self.grid = tuple(round((high - low) / step) for low, high, step in bounds)
        self.flat = self.grid[2] == 1
        for name, values in (
            ('lower', [low for low, _, _ in bounds]),
            ('step', [step for _, _, step in bounds]),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        points = frustum(depth, image_size, STRIDE)
        self.register_buffer('points', points, persistent=False)

    def forward(
        self,
        prediction: DepthPrediction,
        cameras: Cameras,
        depth_bins: Tensor | None = None,
    ) -> Tensor:
        """Lift the context of the images.

        Args:
            prediction: of the depth net.
            cameras: calibration of the images.
            depth_bins: (B, N, h, w) int64 bins of LiDAR points, -1 where there is none.

        Returns:
            (B, C, Y, X, Z) float32; (B, C, Y, X) of a grid with one cell in z.
        """
        with torch.autocast(prediction.depth.device.type, enabled=False):
            values, points = self.planes(prediction, depth_bins)
            voxels = (cameras.to_key_ego(points) - self.lower) / self.step
            moved = points[..., :1] == OUTSIDE
            volume = self._splat(values, voxels.masked_fill(moved, OUTSIDE), prediction.context)
        volume = volume.permute(0, 4, 2, 3, 1)
        return volume[..., 0] if self.flat else volume

    def planes(
        self, prediction: DepthPrediction, depth_bins: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """List what is lifted.

        Args:
            prediction: of the depth net.
            depth_bins: as for :meth:`forward`.

        Returns:
            Occupancy (B, N, K, h, w), and where it is (B, N, K, h, w, 3): column and row in pixels
            of the image, depth in metres. A point that is not lifted has -10,000 everywhere.
        """
        depth = prediction.depth.float()
        rate = self.denoise_rate if self.training else self.true_depth_rate
        if depth_bins is not None and rate > 0:
            depth = mix_true_depth(depth, depth_bins, rate)
        points = self.points.expand(*depth.shape[:2], -1, -1, -1, -1)
        if prediction.ray_weights is not None:
            depth = occupancy_along_rays(depth, prediction.ray_weights.float())
        weights, offsets = prediction.neighbour_weights, prediction.neighbour_offsets
        if weights is None or offsets is None:
            return depth, points
        values, extra = self._neighbours(depth, points, weights.float(), offsets.float())
        return torch.cat([depth, values], 2), torch.cat([points, extra], 2)

    def _neighbours(
        self, occupancy: Tensor, points: Tensor, weights: Tensor, offsets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fill the eight neighbours of a pixel around its surface: 27 planes, three of them empty.

        Returns:
            (B, N, 27, h, w) and (B, N, 27, h, w, 3) as for :meth:`planes`.
        """
        cameras, depths = occupancy.shape[1:3]
        last = (min(cameras, depths) if self.clamp_bins_to_cameras else depths) - 1
        around = torch.arange(HIDDEN_BINS, device=occupancy.device) - HIDDEN_BINS // 2
        bins = occupancy.argmax(2, keepdim=True) + around[:, None, None]
        missing = bins < 0
        if not self.clamp_bins_to_cameras:
            missing = missing | (bins > last)
        bins = bins.clamp(0, last)
        # neighbour's column, neighbour's row, bin
        values = occupancy.gather(2, bins)[:, :, None, None] * weights
        places = points.gather(2, bins[..., None].expand(-1, -1, -1, -1, -1, 3))[:, :, None, None]
        shift = F.pad(offsets.movedim(4, -1)[:, :, :, :, None], (0, 1))
        missing = missing[:, :, None, None].repeat(1, 1, NEIGHBOURS, NEIGHBOURS, 1, 1, 1)
        # the pixel itself has its own planes
        missing[:, :, NEIGHBOURS // 2, NEIGHBOURS // 2] = True
        places = (places + shift).masked_fill(missing[..., None], OUTSIDE)
        return values.flatten(2, 4), places.flatten(2, 4)

    def _splat(self, values: Tensor, voxels: Tensor, context: Tensor) -> Tensor:
        """Sum values (B, N, K, h, w) times context (B, N, C, h, w) over voxels: (B, Z, Y, X, C)."""
        features = context.float().movedim(2, -1).flatten(0, 3)
        batch, cameras, planes, height, width = values.shape
        cells = torch.arange(len(features), device=values.device)
        cells = cells.view(batch, cameras, 1, height, width).expand_as(values).flatten()
        owner = torch.arange(batch, device=values.device)
        owner = owner.repeat_interleave(cameras * planes * height * width)
        weights, coordinates = values.flatten(), voxels.flatten(0, -2)
        if self.soft_filling:
            return soft_splat(weights, coordinates, features, cells, owner, self.grid, batch)
        index = bev_pool_prepare(coordinates.detach().long(), owner, self.grid, batch)
        pooled = bev_pool(
            weights,
            features,
            index.kept,
            cells[index.kept],
            *index[1:],
            batch * self.grid[0] * self.grid[1] * self.grid[2],
        )
        return pooled.view(batch, *self.grid[::-1], -1)


def mix_true_depth(depth: Tensor, bins: Tensor, rate: float) -> Tensor:
    """Mix the one-hot depth of LiDAR points into the predicted one, where there are any.

    Args:
        depth: (B, N, D, h, w) probabilities.
        bins: (B, N, h, w) int64 bins of LiDAR points, -1 where there is none.
        rate: share of the LiDAR depth, 0 to 1.

    Returns:
        (B, N, D, h, w).
    """
    true = F.one_hot(bins.clamp(min=0), depth.shape[2]).movedim(-1, 2).to(depth.dtype)
    return torch.where(bins[:, :, None] >= 0, torch.lerp(depth, true, rate), depth)


def occupancy_along_rays(depth: Tensor, weights: Tensor) -> Tensor:
    """Let what is behind a surface be filled too.

    occupancy[d] = depth[d] + sum over k = 1 ... L of weights[k] * depth[d - k]; not renormalised.

    Args:
        depth: (B, N, D, h, w) probabilities.
        weights: (B, N, L, h, w) in 0-1, L < D.

    Returns:
        (B, N, D, h, w).

    Source: arXiv 2411.07725, equation 4.
    """
    reach = weights.shape[2]
    before = F.pad(depth, (0, 0, 0, 0, reach, 0))[:, :, :-1]
    # windows of the L bins in front of each bin, farthest first
    windows = before.unfold(2, reach, 1)
    return depth + torch.einsum('bndhwl,bnlhw->bndhw', windows, weights.flip(2))
