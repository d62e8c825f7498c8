"""The toy world: a street of boxes, driven through, in the files of Occ3D and OpenOcc."""

from .world import GRID, LOWER, VOXEL_SIZE, write_world

__all__ = ['GRID', 'LOWER', 'VOXEL_SIZE', 'write_world']
