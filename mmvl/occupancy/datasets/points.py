"""Point clouds of nuScenes, and the classes of their points."""

import zipfile
from pathlib import Path

import numpy as np

from mmvl.engine.annotation_files import fault

COLUMNS = 5
"""x, y, z in metres, intensity, number of the ring."""


def read_points(path: str | Path) -> np.ndarray:
    """Read a point cloud, (P, 5) float32: x, y, z in the LiDAR frame, intensity, ring.

    Raises:
        AnnotationError: the file is missing, empty, or no whole number of points.
    """
    remedy = 'fetch the file again; it is needed for the depth of the images in training'
    try:
        values = np.fromfile(path, np.float32)
        size = Path(path).stat().st_size
    except FileNotFoundError:
        remedy = 'set data_root to the folder with samples/LIDAR_TOP'
        raise fault('missing point cloud', path, '', 'there is no such file', remedy) from None
    if not size:
        raise fault('empty point cloud', path, '', 'the point cloud is empty', remedy)
    if size % (4 * COLUMNS):
        detail = f'{size:,} bytes are no whole number of points of {COLUMNS} float32 values'
        raise fault('damaged point cloud', path, '', detail, remedy)
    points = values.reshape(-1, COLUMNS)
    if not np.isfinite(points[:, :3]).all():
        raise fault('damaged point cloud', path, '', 'places that are not finite', remedy)
    return points


def read_point_classes(path: str | Path, count: int) -> np.ndarray:
    """Read ``lidar_seg``, the class of each of P points, (P,) int64 in Occ3D's numbers.

    Args:
        path: ``.npz`` file.
        count: P.

    Raises:
        AnnotationError: the file is missing or damaged, or has not one class a point.
    """
    remedy = 'make the classes of LiDAR points again, or set lidar_seg_root=None'
    try:
        with np.load(path, allow_pickle=False) as content:
            classes = content['lidar_seg'].reshape(-1)
    except FileNotFoundError:
        detail = 'there is no such file'
        raise fault('missing point classes', path, '', detail, remedy) from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        detail = f'damaged: {" ".join(str(error).split())[:120]}'
        raise fault('damaged point classes', path, '', detail, remedy) from error
    if len(classes) != count or classes.dtype.kind not in 'iu':
        detail = f'{len(classes):,} values of {classes.dtype}, expected {count:,} integers'
        raise fault('damaged point classes', path, 'lidar_seg', detail, remedy)
    return classes.astype(np.int64)
