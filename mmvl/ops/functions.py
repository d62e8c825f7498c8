"""The operators as they are called.

Letters in shapes: P points, R rows of features of C channels, W weights, V voxels, X Y Z the size
of the grid, B samples, T grids, M rays, I runs of points.

Indices are int64. Sums are made in float32 for half and bfloat16 input, whose coordinates should be
float32: a half has no place for a tenth of a voxel beyond voxel 64. Weights and features of two
types meet in the wider one. No result depends on the number of threads, and none changes from run
to run.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import reference
from ._backend import use_reference
from .reference import BevPoolIndex, accumulator

MOST_POINTS = 2**31 - 1


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
    """Sum weighted features in every voxel; no buffer of all points by all channels is made.

    Args:
        weights: (W,) floating, such as the depth distribution of all pixels.
        features: (R, C) floating.
        index_weight: (P,) which weight each point has; may repeat.
        index_feature: (P,) which row of features it has.
        index_voxel: (P,) its voxel, sorted.
        starts: (I,) where each run of equal voxels begins.
        lengths: (I,) its number of points; :func:`bev_pool_prepare` gives all of the last three.
        num_voxels: V.

    Returns:
        (V, C) in the wider type of weights and features; voxels without points are zero.
        Gradients reach weights and features.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes or types are wrong, or the runs do not fit ``index_voxel``.

    Source: BEVPoolv2 (Huang and Huang 2022). Its released backward pass assigns where a weight
        serves several points; here they are added.
    """
    index = {'index_weight': index_weight, 'index_feature': index_feature}
    _check_indices({**index, 'index_voxel': index_voxel})
    _check_indices({'starts': starts, 'lengths': lengths})
    _check_table(features)
    kind, inner = _types(weights, features)
    if use_reference(features.device.type):
        call = reference.bev_pool
    else:
        call = torch.ops.mmvl.bev_pool
    pooled = call(
        weights.to(inner),
        features.to(inner),
        index_weight,
        index_feature,
        index_voxel,
        starts,
        lengths,
        num_voxels,
    )
    return pooled.to(kind)


def bev_pool_prepare(
    voxels: Tensor, batch: Tensor, grid: Sequence[int], batch_size: int
) -> BevPoolIndex:
    """Drop points outside the grid and sort the others by voxel.

    The sizes of the results depend on the data: call it outside what is compiled.

    Args:
        voxels: (P, 3) int64 xyz.
        batch: (P,) int64 sample of each point.
        grid: X, Y, Z.
        batch_size: B.

    Returns:
        What :func:`bev_pool` needs; the number of a voxel is ((b * Z + z) * Y + y) * X + x.

    Raises:
        ValueError: shapes or types are wrong, or there are 2**31 - 1 points or more.
    """
    _check_indices({'batch': batch})
    _check_grid(grid)
    if voxels.dtype != torch.int64 or voxels.shape != (len(batch), 3):
        raise ValueError(_unlike('voxels', f'({len(batch)}, 3) int64', voxels))
    return reference.bev_pool_prepare(voxels, batch, grid, batch_size)


def soft_splat(
    weights: Tensor,
    coordinates: Tensor,
    features: Tensor,
    index_feature: Tensor,
    batch: Tensor,
    grid: Sequence[int],
    batch_size: int,
) -> Tensor:
    """Give weighted features to the eight voxels around every point, in trilinear shares.

    Corners outside the grid are dropped, others of the same point stay; a point that is no number
    is dropped. No buffer of all points by all channels or by eight corners is made.

    Args:
        weights: (P,) floating.
        coordinates: (P, 3) floating xyz in voxels: at 2.0 all goes to voxel 2.
        features: (R, C) floating.
        index_feature: (P,) which row of features each point has.
        batch: (P,) its sample.
        grid: X, Y, Z.
        batch_size: B.

    Returns:
        (B, Z, Y, X, C) in the wider type of weights and features. Gradients reach weights,
        coordinates and features.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes or types are wrong.

    Source: ALOcc (Chen et al. 2025), soft filling.
    """
    _check_indices({'index_feature': index_feature, 'batch': batch})
    _check_grid(grid)
    _check_table(features)
    number = len(batch)
    wanted = {'weights': (weights, (number,)), 'coordinates': (coordinates, (number, 3))}
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ValueError(_unlike(name, f'{shape} floating', tensor))
    kind, inner = _types(weights, features)
    if use_reference(features.device.type):
        call = reference.soft_splat
    else:
        call = torch.ops.mmvl.soft_splat
    volume = call(
        weights.to(inner),
        coordinates.to(inner),
        features.to(inner),
        index_feature,
        batch,
        list(grid),
        batch_size,
    )
    return volume.to(kind)


def voxel_ray_cast(
    occupied: Tensor, origins: Tensor, ends: Tensor, index_grid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the first occupied voxel on every ray.

    A ray goes from its origin through its end and on, and is given up after 1001 steps. What
    follows is that of the released caster, down to the last bit: an origin with a coordinate in
    (-1, 0) counts as being in voxel 0, and its distance may be negative.

    Args:
        occupied: (T, Z, Y, X) bool, or numbers, of which those above 0.5 count.
        origins: (M, 3) floating xyz in voxels.
        ends: (M, 3) floating xyz in voxels; only the direction counts.
        index_grid: (M,) which grid each ray goes through.

    Returns:
        Distance (M,) float64 in voxels **to where the ray leaves** the voxel; voxel (M, 3) int64
        xyz; hit (M,) bool. A ray that meets nothing has its last voxel inside the grid; one that
        never gets inside has distance -1 and voxel 0, 0, 0. Arithmetic is float64, on what the
        types given have kept.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes or types are wrong.

    Source: Amanatides and Woo (1987); ties, limits and distance as in the renderer of 4D
        occupancy forecasting (Khurana et al. 2023), which RayIoU uses.
    """
    _check_indices({'index_grid': index_grid})
    if occupied.ndim != 4:
        raise ValueError(_unlike('occupied', '(T, Z, Y, X)', occupied))
    for name, tensor in (('origins', origins), ('ends', ends)):
        if tensor.shape != (len(index_grid), 3) or not tensor.is_floating_point():
            raise ValueError(_unlike(name, f'({len(index_grid)}, 3) floating', tensor))
    cells = occupied if occupied.dtype == torch.bool else occupied > 0.5
    if use_reference(cells.device.type):
        call = reference.voxel_ray_cast
    else:
        call = torch.ops.mmvl.voxel_ray_cast
    return call(cells, origins.detach().double(), ends.detach().double(), index_grid)


def routing_gather(kv: Tensor, index: Tensor, weight: Tensor | None = None) -> Tensor:
    """Gather, for every window, the windows that it attends to.

    Args:
        kv: (B, N, S, C) floating: N windows of S cells.
        index: (B, N, K) int64, which K windows each one reads.
        weight: (B, N, K) factors of what is gathered, or None.

    Returns:
        (B, N, K, S, C), K times as large as ``kv``. Gradients reach ``kv`` and ``weight``.

    Source: BiFormer (Zhu et al. 2023).
    """
    return reference.routing_gather(kv, index, weight)


def _types(weights: Tensor, features: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """The type of the result, and the one that is calculated in."""
    kind = torch.promote_types(weights.dtype, features.dtype)
    if not kind.is_floating_point:
        raise ValueError(_unlike('features', 'floating', features))
    return kind, accumulator(kind)


def _check_table(features: Tensor) -> None:
    if features.ndim != 2:
        raise ValueError(_unlike('features', '(R, C)', features))


def _check_grid(grid: Sequence[int]) -> None:
    if len(grid) != 3 or min(grid) < 1:
        raise ValueError(f'grid is {tuple(grid)}.\nWhat to do: pass X, Y, Z, each 1 or more.')


def _check_indices(indices: dict[str, Tensor]) -> None:
    """All (P,) int64 of one length, and few enough for kernels that count them in 32 bits."""
    number = next(iter(indices.values())).shape[0]
    for name, index in indices.items():
        if index.dtype != torch.int64 or index.shape != (number,):
            raise ValueError(_unlike(name, f'({number},) int64', index))
    if number >= MOST_POINTS:
        raise ValueError(
            f'{next(iter(indices))} has {number:,} values.\n'
            f'What to do: pass fewer than {MOST_POINTS:,} at a time.'
        )


def _unlike(name: str, wanted: str, tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix('torch.')
    return f'{name} is {tuple(tensor.shape)} {kind}.\nWhat to do: pass {wanted}.'
