"""From paths and calibration of a key frame to what a model takes."""

from .depth import LoadLiDARDepth
from .images import LoadSurroundImages
from .labels import LoadOccupancy, RandomFlipBEV
from .pack import PackOccupancy

__all__ = [
    'LoadLiDARDepth',
    'LoadOccupancy',
    'LoadSurroundImages',
    'PackOccupancy',
    'RandomFlipBEV',
]
