"""Classes of the label sets, in the order of their numbers; the last one is free space.

Source: Occ3D (Tian et al. 2023) and OpenOcc v2 (OpenDriveLab), released labels.
"""

from typing import Final

OCC3D: Final = (
    *('others', 'barrier', 'bicycle', 'bus', 'car', 'construction_vehicle', 'motorcycle'),
    *('pedestrian', 'traffic_cone', 'trailer', 'truck', 'driveable_surface', 'other_flat'),
    *('sidewalk', 'terrain', 'manmade', 'vegetation', 'free'),
)
OPENOCC: Final = (
    *('car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'bicycle', 'motorcycle'),
    *('pedestrian', 'traffic_cone', 'barrier', 'driveable_surface', 'other_flat', 'sidewalk'),
    *('terrain', 'manmade', 'vegetation', 'free'),
)
MOVABLE: Final = (
    *('car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'bicycle', 'motorcycle'),
    'pedestrian',
)
"""Classes that have a velocity, and those of mIoU_D."""

OPENOCC_TO_OCC3D: Final = tuple(OCC3D.index(name) for name in OPENOCC)
"""OpenOcc number -> Occ3D number."""

OCC3D_TO_OPENOCC: Final = tuple(OPENOCC.index(name) if name in OPENOCC else 255 for name in OCC3D)
"""Occ3D number -> OpenOcc number; 255, not supervised, for 'others'."""
