"""The operators as torch sees them: schemas, what is known of their outputs, gradients, kernels.

Every operator has a schema here and nowhere else. Plain PyTorch serves all devices; the kernels of
the compiled library, where it is found, go before it on their own device.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import _build, reference

SCHEMAS = (
    'bev_pool(Tensor weights, Tensor features, Tensor index_weight, Tensor index_feature, '
    'Tensor index_voxel, Tensor starts, Tensor lengths, SymInt num_voxels) -> Tensor',
    'bev_pool_backward(Tensor grad, Tensor weights, Tensor features, Tensor index_weight, '
    'Tensor index_feature, Tensor index_voxel) -> (Tensor, Tensor)',
    'soft_splat(Tensor weights, Tensor coordinates, Tensor features, Tensor index_feature, '
    'Tensor batch, SymInt[] grid, SymInt batch_size) -> Tensor',
    'soft_splat_backward(Tensor grad, Tensor weights, Tensor coordinates, Tensor features, '
    'Tensor index_feature, Tensor batch) -> (Tensor, Tensor, Tensor)',
    'voxel_ray_cast(Tensor occupied, Tensor origins, Tensor ends, Tensor index_grid) '
    '-> (Tensor, Tensor, Tensor)',
)
NAMES = tuple(schema.split('(')[0] for schema in SCHEMAS)


def _bev_pool_fake(
    weights: Tensor,
    features: Tensor,
    index_weight: Tensor,
    index_feature: Tensor,
    index_voxel: Tensor,
    starts: Tensor,
    lengths: Tensor,
    num_voxels: int,
) -> Tensor:
    return features.new_empty((num_voxels, features.shape[1]))


def _bev_pool_backward_fake(
    grad: Tensor, weights: Tensor, features: Tensor, *indices: Tensor
) -> tuple[Tensor, Tensor]:
    return _dense(weights), _dense(features)


def _soft_splat_fake(
    weights: Tensor,
    coordinates: Tensor,
    features: Tensor,
    index_feature: Tensor,
    batch: Tensor,
    grid: Sequence[int],
    batch_size: int,
) -> Tensor:
    return features.new_empty((batch_size, grid[2], grid[1], grid[0], features.shape[1]))


def _soft_splat_backward_fake(
    grad: Tensor, weights: Tensor, coordinates: Tensor, features: Tensor, *indices: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _dense(weights), _dense(coordinates), _dense(features)


def _voxel_ray_cast_fake(
    occupied: Tensor, origins: Tensor, ends: Tensor, index_grid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rays = origins.shape[0]
    return (
        origins.new_empty((rays,), dtype=torch.float64),
        origins.new_empty((rays, 3), dtype=torch.int64),
        origins.new_empty((rays,), dtype=torch.bool),
    )


def _dense(tensor: Tensor) -> Tensor:
    return tensor.new_empty(tensor.shape)


def _save_pool(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])


def _pool_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.mmvl.bev_pool_backward(grad, *ctx.saved_tensors)
    return *found, None, None, None, None, None, None


def _save_splat(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])


def _splat_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.mmvl.soft_splat_backward(grad, *ctx.saved_tensors)
    return *found, None, None, None, None


FAKES: dict[str, Callable[..., Any]] = {
    'bev_pool': _bev_pool_fake,
    'bev_pool_backward': _bev_pool_backward_fake,
    'soft_splat': _soft_splat_fake,
    'soft_splat_backward': _soft_splat_backward_fake,
    'voxel_ray_cast': _voxel_ray_cast_fake,
}


def _define() -> torch.library.Library:
    """Declare the operators, with plain PyTorch for every device."""
    library = torch.library.Library('mmvl', 'DEF')
    for schema in SCHEMAS:
        library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    for name in NAMES:
        library.impl(name, getattr(reference, name), 'CompositeExplicitAutograd')
        torch.library.register_fake(f'mmvl::{name}', FAKES[name], lib=library)
    for name, gradients, save in (
        ('bev_pool', _pool_gradients, _save_pool),
        ('soft_splat', _splat_gradients, _save_splat),
    ):
        torch.library.register_autograd(f'mmvl::{name}', gradients, setup_context=save, lib=library)
    return library


def _load() -> Path | None:
    """Load the compiled library, if there is one; one that does not load is named once."""
    file = _build.find_library()
    if file is None:
        return None
    try:
        torch.ops.load_library(file)
    except OSError as error:
        reason = str(error).splitlines()[0]
        warnings.warn(
            f'{file} does not load, plain PyTorch is used: {reason}\n'
            'What to do: mmvl ops build --force',
            stacklevel=2,
        )
        return None
    return file


def _compiled_for() -> frozenset[str]:
    """Devices whose kernels are loaded."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    keys = {'cpu': 'CPU', 'cuda': 'CUDA'}
    return frozenset(
        device for device, key in keys.items() if all(has(f'mmvl::{n}', key) for n in NAMES)
    )


# Declared once in a process, and alive as long as it.
LIBRARY = _define()
LOADED = _load()
COMPILED_FOR = _compiled_for()
"""Devices that operators are compiled for: 'cpu', 'cuda', both or none."""
