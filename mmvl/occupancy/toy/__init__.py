"""The toy world: a street of boxes, driven through, in the files of Occ3D and OpenOcc."""

from .start import train_start
from .world import GRID, LOWER, VOXEL_SIZE, write_world

__all__ = ['GRID', 'LOWER', 'VOXEL_SIZE', 'train_start', 'write_world']
