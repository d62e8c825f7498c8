"""The operators in plain PyTorch: always there, differentiable, and what the others are tested by.

Letters in shapes: P points, R rows of features of C channels, W weights, V voxels, X Y Z the size
of the grid, B samples, T grids, M rays, I runs of points.

Sums are made in float32 for half and bfloat16, and piece by piece, so that no buffer of all points
by all channels is made (autograd through these functions does keep one).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PIECE = 1 << 22
"""Numbers (points by channels) that are in work at a time."""
MAX_STEPS = 1001
FARTHEST = 2.0**30
"""A ray that begins farther away, in voxels, cannot reach the grid in so many steps."""
CORNERS = tuple(itertools.product((0, 1), repeat=3))


class BevPoolIndex(NamedTuple):
    """Which points are pooled, in the order of their voxels.

    Attributes:
        kept: (K,) int64, the points inside the grid, sorted by voxel; equal voxels keep the order
            of their points.
        index_voxel: (K,) int64, flat voxel ((b * Z + z) * Y + y) * X + x of each.
        starts: (I,) int64, where each run of equal voxels begins.
        lengths: (I,) int64, its number of points.
    """

    kept: Tensor
    index_voxel: Tensor
    starts: Tensor
    lengths: Tensor


def bev_pool_prepare(
    voxels: Tensor, batch: Tensor, grid: Sequence[int], batch_size: int
) -> BevPoolIndex:
    """Drop points outside the grid and sort the others by voxel; see :func:`mmvl.ops.bev_pool`."""
    size = voxels.new_tensor(list(grid))
    inside = ((voxels >= 0) & (voxels < size)).all(1) & (batch >= 0) & (batch < batch_size)
    kept = inside.nonzero()[:, 0]
    x, y, z = voxels[kept].unbind(1)
    flat = ((batch[kept] * grid[2] + z) * grid[1] + y) * grid[0] + x
    flat, order = flat.sort(stable=True)
    _, lengths = flat.unique_consecutive(return_counts=True)
    return BevPoolIndex(kept[order], flat, lengths.cumsum(0) - lengths, lengths)


def bev_pool(
    weights: Tensor,
    features: Tensor,
    index_weight: Tensor,
    index_feature: Tensor,
    index_voxel: Tensor,
    starts: Tensor,
    lengths: Tensor,
    num_voxels: int,
) -> Tensor:
    """See :func:`mmvl.ops.bev_pool`; the runs are not needed here."""
    kind = accumulator(features.dtype)
    pooled = features.new_zeros((num_voxels, features.shape[1]), dtype=kind)
    for part in _pieces(len(index_voxel), features.shape[1]):
        share = weights[index_weight[part]].to(kind)
        products = share[:, None] * features[index_feature[part]]
        pooled = pooled.index_add(0, index_voxel[part], products)
    return pooled.to(features.dtype)


def bev_pool_backward(
    grad: Tensor,
    weights: Tensor,
    features: Tensor,
    index_weight: Tensor,
    index_feature: Tensor,
    index_voxel: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`bev_pool` for weights (W,) and features (R, C), given its own (V, C)."""
    kind = accumulator(features.dtype)
    for_weights = torch.zeros_like(weights, dtype=kind)
    for_features = torch.zeros_like(features, dtype=kind)
    for part in _pieces(len(index_voxel), features.shape[1]):
        rows = grad[index_voxel[part]].to(kind)
        dots = (rows * features[index_feature[part]]).sum(1)
        for_weights.index_add_(0, index_weight[part], dots)
        share = weights[index_weight[part]].to(kind)
        for_features.index_add_(0, index_feature[part], rows * share[:, None])
    return for_weights.to(weights.dtype), for_features.to(features.dtype)


def soft_splat(
    weights: Tensor,
    coordinates: Tensor,
    features: Tensor,
    index_feature: Tensor,
    batch: Tensor,
    grid: Sequence[int],
    batch_size: int,
) -> Tensor:
    """See :func:`mmvl.ops.soft_splat`."""
    width, height, depth = grid
    kind = accumulator(features.dtype)
    total = batch_size * depth * height * width
    volume = features.new_zeros((total, features.shape[1]), dtype=kind)
    for part in _pieces(len(batch), features.shape[1]):
        point = _Corners(weights[part], coordinates[part], batch[part], grid, kind)
        rows = features[index_feature[part]]
        for corner in CORNERS:
            share, voxel = point.share(corner)
            volume = volume.index_add(0, voxel, (point.weights * share)[:, None] * rows)
    return volume.view(batch_size, depth, height, width, -1).to(features.dtype)


def soft_splat_backward(
    grad: Tensor,
    weights: Tensor,
    coordinates: Tensor,
    features: Tensor,
    index_feature: Tensor,
    batch: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`soft_splat` for weights, coordinates and features.

    Args:
        grad: (B, Z, Y, X, C).
        weights: (P,).
        coordinates: (P, 3).
        features: (R, C).
        index_feature: (P,).
        batch: (P,).

    Returns:
        (P,), (P, 3) and (R, C).
    """
    grid = grad.shape[3], grad.shape[2], grad.shape[1]
    kind = accumulator(features.dtype)
    flat = grad.reshape(-1, features.shape[1])
    for_weights = torch.zeros_like(weights)
    for_coordinates = torch.zeros_like(coordinates)
    for_features = torch.zeros_like(features, dtype=kind)
    for part in _pieces(len(batch), features.shape[1]):
        point = _Corners(weights[part], coordinates[part], batch[part], grid, kind)
        rows = features[index_feature[part]].to(kind)
        sums = torch.zeros_like(rows)
        weight = torch.zeros_like(point.weights)
        slopes = torch.zeros_like(point.parts)
        for corner in CORNERS:
            share, voxel = point.share(corner)
            found = flat[voxel].to(kind)
            sums += share[:, None] * found
            dots = (found * rows).sum(1)
            weight += share * dots
            slopes += (point.weights * dots)[:, None] * point.slope(corner)
        for_features.index_add_(0, index_feature[part], point.weights[:, None] * sums)
        for_weights[part] = torch.where(point.inside, weight, 0).to(weights.dtype)
        for_coordinates[part] = slopes.to(coordinates.dtype)
    return for_weights, for_coordinates, for_features.to(features.dtype)


class _Corners:
    """Points between eight voxels.

    Points that touch no voxel of the grid, NaN among them, get weight zero and a place inside.
    """

    def __init__(
        self,
        weights: Tensor,
        coordinates: Tensor,
        batch: Tensor,
        grid: Sequence[int],
        kind: torch.dtype,
    ) -> None:
        place = coordinates.to(kind)
        low = place.detach().floor()
        self.size = low.new_tensor(list(grid))
        self.inside = ((low >= -1) & (low < self.size)).all(1)
        place = torch.where(self.inside[:, None], place, 0)
        self.low = torch.where(self.inside[:, None], low, 0)
        self.parts = place - self.low
        self.weights = torch.where(self.inside, weights.to(kind), 0)
        self.batch = batch
        self.strides = torch.tensor([1, grid[0], grid[0] * grid[1]], device=batch.device)
        self.volume = grid[0] * grid[1] * grid[2]

    def _factors(self, corner: tuple[int, ...]) -> Tensor:
        high = torch.tensor(corner, dtype=torch.bool, device=self.parts.device)
        return torch.where(high, self.parts, 1 - self.parts)

    def _within(self, corner: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        place = self.low + self.low.new_tensor(corner)
        within = ((place >= 0) & (place < self.size)).all(1)
        voxel = torch.where(within[:, None], place, 0).long()
        return within, (voxel * self.strides).sum(1) + self.batch * self.volume

    def share(self, corner: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Trilinear shares (P,) of one corner, zero outside the grid, and flat voxels (P,)."""
        within, voxel = self._within(corner)
        return torch.where(within, self._factors(corner).prod(1), 0), voxel

    def slope(self, corner: tuple[int, ...]) -> Tensor:
        """What the share of one corner changes by with each coordinate, (P, 3)."""
        x, y, z = self._factors(corner).unbind(1)
        signs = self.parts.new_tensor([1.0 if high else -1.0 for high in corner])
        within = self._within(corner)[0] & self.inside
        return torch.where(within[:, None], torch.stack((y * z, x * z, x * y), 1) * signs, 0)


def voxel_ray_cast(
    occupied: Tensor, origins: Tensor, ends: Tensor, index_grid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`mmvl.ops.voxel_ray_cast`; all rays go one step at a time."""
    grids, *shape = occupied.shape
    size = torch.tensor(shape[::-1], device=occupied.device)
    flat = occupied.reshape(-1)
    number = len(origins)
    distance = torch.full((number,), -1.0, dtype=torch.float64, device=occupied.device)
    voxel = torch.zeros((number, 3), dtype=torch.int64, device=occupied.device)
    hit = torch.zeros(number, dtype=torch.bool, device=occupied.device)
    start = origins.detach().double()
    # what is too far away, or no number, never gets inside; one that is cannot be made an integer
    ray = (start.abs() < FARTHEST).all(1).nonzero()[:, 0]
    start = start[ray]
    place, step, border, delta = _first_borders(start, ends.detach()[ray].double())
    was_inside = torch.zeros_like(ray, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        inside = ((place >= 0) & (place < size)).all(1)
        # a ray that has left does not come back
        going = inside | ~was_inside
        if not going.all():
            ray, place, step, border, delta, inside = (
                each[going] for each in (ray, place, step, border, delta, inside)
            )
            was_inside = was_inside[going]
        if not len(ray):
            break
        axis = _next_axis(border)[:, None]
        passed = border.gather(1, axis)[:, 0]
        rows = ray[inside]
        distance[rows] = passed[inside]
        voxel[rows] = place[inside]
        x, y, z = place[inside].unbind(1)
        found = flat[((index_grid[rows] * shape[0] + z) * shape[1] + y) * shape[2] + x]
        hit[rows] = found
        place = place.scatter_add(1, axis, step.gather(1, axis))
        border = border.scatter_add(1, axis, delta.gather(1, axis))
        was_inside = was_inside | inside
        if found.any():
            going = ~hit[ray]
            ray, place, step, border, delta, was_inside = (
                each[going] for each in (ray, place, step, border, delta, was_inside)
            )
    return distance, voxel, hit


def _first_borders(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First voxel (M, 3), step of each axis, path to its first border, path between borders."""
    way = end - start
    square = way * way
    # three sums in this order, which a norm of the library does not promise
    length = _root(square[:, 0] + square[:, 1] + square[:, 2])
    direction = way / length[:, None]
    place = start.trunc()
    forward = direction >= 0
    step = torch.where(forward, 1, -1)
    never = torch.finfo(torch.float64).max
    border = torch.where(direction != 0, (place + forward - start) / direction, never)
    delta = torch.where(direction != 0, step / direction, never)
    return place.long(), step, border, delta


def _root(square: Tensor) -> Tensor:
    """Square root, rounded as IEEE 754 asks, which that of torch (by MKL) on the CPU is not."""
    return square.sqrt() if square.is_cuda else torch.from_numpy(np.sqrt(square.numpy()))


def _next_axis(border: Tensor) -> Tensor:
    """Axis (M,) whose border comes first; equal ones, and NaN, go to the later axis."""
    x, y, z = border.unbind(1)
    x_or_y = torch.where(x < y, 0, 1)
    return torch.where(torch.where(x < y, x, y) < z, x_or_y, 2)


def routing_gather(kv: Tensor, index: Tensor, weight: Tensor | None = None) -> Tensor:
    """See :func:`mmvl.ops.routing_gather`."""
    batch = torch.arange(len(kv), device=kv.device)[:, None, None]
    gathered = kv[batch, index]
    return gathered if weight is None else gathered * weight[..., None, None]


def accumulator(kind: torch.dtype) -> torch.dtype:
    """The type that sums over numbers of a type are made in."""
    return torch.float64 if kind == torch.float64 else torch.float32


def _pieces(number: int, channels: int) -> Iterator[slice]:
    # one piece at least, for without points too the result has gradients
    step = max(1, PIECE // max(1, channels))
    return (slice(start, start + step) for start in range(0, max(1, number), step))
