"""Operators of our own, each in C++ for the CPU, in CUDA, and in plain PyTorch.

Nothing is compiled when this is imported, and everything works where nothing was compiled:
``mmvl ops info`` says what is used, ``mmvl ops build`` compiles.
"""

from ._backend import OpsBackendError, backend, info
from ._build import OpsBuildError, build
from ._library import COMPILED_FOR
from .functions import bev_pool, bev_pool_prepare, routing_gather, soft_splat, voxel_ray_cast
from .reference import BevPoolIndex

__all__ = [
    'COMPILED_FOR',
    'BevPoolIndex',
    'OpsBackendError',
    'OpsBuildError',
    'backend',
    'bev_pool',
    'bev_pool_prepare',
    'build',
    'info',
    'routing_gather',
    'soft_splat',
    'voxel_ray_cast',
]
