"""3-D semantic occupancy from surround cameras: Occ3D, OpenOcc and the methods measured on them.

Importing this registers everything of the wing.
"""

from . import alocc, datasets, metrics, preprocessing, samplers, transforms, visualization
from .structures import IGNORED_VOXEL, OccupancySample

__all__ = [
    'IGNORED_VOXEL',
    'OccupancySample',
    'alocc',
    'datasets',
    'metrics',
    'preprocessing',
    'samplers',
    'transforms',
    'visualization',
]
