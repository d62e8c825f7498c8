"""Occupancy labels on nuScenes, in the files of their releases."""

from mmvl.engine.annotation_files import AnnotationError

from .classes import MOVABLE, OCC3D, OCC3D_TO_OPENOCC, OPENOCC, OPENOCC_TO_OCC3D
from .infos import CAMERAS, read_infos
from .labels import FORMS, read_labels
from .nuscenes import NuScenesOccupancyDataset, sequence_starts
from .origins import ray_origins

__all__ = [
    'CAMERAS',
    'FORMS',
    'MOVABLE',
    'OCC3D',
    'OCC3D_TO_OPENOCC',
    'OPENOCC',
    'OPENOCC_TO_OCC3D',
    'NuScenesOccupancyDataset',
    'AnnotationError',
    'ray_origins',
    'read_infos',
    'read_labels',
    'sequence_starts',
]
