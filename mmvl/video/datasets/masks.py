"""Masks in the files of the four datasets, and boxes round masks.

Letters in shapes: M masks, H and W height and width in pixels.
"""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from PIL import Image

from mmvl.engine.images import MAX_PIXELS
from mmvl.structures.masks import MaskError, decode_segmentation


def read_ids(path: str | os.PathLike) -> np.ndarray:
    """Read a PNG whose pixels are the ids of objects: 0 for none, 255 often for void.

    Returns:
        (H, W) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        MaskError: it is damaged or too large, or its pixels are colours and not ids.
    """
    try:
        with Image.open(path, formats=('PNG',)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _refusal(path, f'more than {MAX_PIXELS:,} pixels')
            if image.mode not in ('P', 'L'):
                detail = f'its pixels are colours (mode {image.mode}), not ids of objects'
                raise _refusal(path, detail)
            # Pillow decodes past a wrong checksum, and leaves black what it cannot decode
            with Image.open(path, formats=('PNG',)) as again:
                again.verify()
            return np.array(image)
    except (FileNotFoundError, MaskError):
        raise
    # a damaged file provokes nearly any error in a decoder; each means the same
    except Exception as error:
        raise _refusal(path, f'damaged, or not PNG: {error}') from error


def load_mask(source: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Load the mask of one object in one frame.

    Args:
        source: where it is. ``form``: 'png' with ``path`` and ``obj_id``; 'a2d' with ``path`` of an
            HDF5 file and ``instance``; 'jhmdb' with ``path`` of a MATLAB file and ``frame`` from 1;
            'coco' with ``segmentation``.
        height: H of the frame.
        width: W of the frame.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        FileNotFoundError: there is no such file.
        MaskError: the file is damaged, lacks the object, or is of another size than the frame.
    """
    form = source['form']
    if form == 'coco':
        return decode_segmentation(source['segmentation'], height, width).astype(np.uint8)
    if form == 'png':
        mask = read_ids(source['path']) == source['obj_id']
    elif form == 'a2d':
        mask = read_a2d(source['path'], source['instance'])[0]
    else:
        mask = read_jhmdb(source['path'], source['frame'])
    if mask.shape != (height, width):
        sizes = f'{mask.shape[1]} x {mask.shape[0]}, the frame {width} x {height}'
        raise _refusal(source['path'], f'the mask is {sizes}')
    return mask.astype(np.uint8)


def read_a2d(path: str | os.PathLike, instance: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read one object of an annotated frame of A2D-Sentences.

    Returns:
        (H, W) bool, and (4,) float64 xyxy in pixels as annotated (None if the file has no boxes).

    Raises:
        FileNotFoundError: there is no such file.
        MaskError: the file is damaged, or the object is not in it.
    """
    ids = a2d_instances(path)
    if instance not in ids:
        raise _refusal(path, f'object {instance} is not in it; it has {", ".join(map(str, ids))}')
    index = ids.index(instance)
    with _hdf5(path) as file:
        stored = _part(file, 'reMask', path)
        single = len(ids) == 1
        if stored.ndim != 3 - single or stored.size > len(ids) * MAX_PIXELS:
            raise _refusal(path, f'{len(ids)} objects, but masks of shape {stored.shape}')
        # stored with x before y
        mask = np.asarray(stored if single else stored[index]).T > 0
        box = None
        if 'reBBox' in file:
            boxes = np.asarray(_part(file, 'reBBox', path), np.float64).reshape(4, -1)
            box = boxes[:, index]
        return mask, box


def a2d_instances(path: str | os.PathLike) -> list[int]:
    """Read the ids of the objects in an annotated frame of A2D-Sentences.

    Raises:
        FileNotFoundError: there is no such file.
        MaskError: the file is damaged.
    """
    with _hdf5(path) as file:
        return np.asarray(_part(file, 'instance', path)).reshape(-1).astype(int).tolist()


def _hdf5(path: str | os.PathLike) -> h5py.File:
    if not Path(path).is_file():
        raise _missing(path)
    try:
        return h5py.File(path, 'r')
    except OSError as error:
        raise _refusal(path, f'damaged, or not HDF5: {error}') from error


def _part(file: h5py.File, name: str, path: str | os.PathLike) -> h5py.Dataset:
    # a link could lead to any other file
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _refusal(path, f"there is no '{name}' in it; found {', '.join(file) or 'nothing'}")
    return file[name]


def read_jhmdb(path: str | os.PathLike, frame: int) -> np.ndarray:
    """Read the person in a frame, counted from 1, of a video of JHMDB.

    Returns:
        (H, W) bool.

    Raises:
        FileNotFoundError: there is no such file.
        MaskError: the file is damaged, or has no such frame.
    """
    if not Path(path).is_file():
        raise _missing(path)
    try:
        masks = scipy.io.loadmat(path, variable_names=['part_mask'])['part_mask']
    # a damaged file provokes nearly any error in the reader; each means the same
    except Exception as error:
        raise _refusal(path, f"damaged, or without 'part_mask': {error!r}"[:300]) from error
    if masks.ndim == 2:  # MATLAB drops the last axis of a single frame
        masks = masks[:, :, None]
    if not 1 <= frame <= masks.shape[2]:
        raise _refusal(path, f'there is no frame {frame}: it has {masks.shape[2]}, from 1')
    return masks[:, :, frame - 1] > 0


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Give the boxes round masks, from the first to the last pixel, as released: without + 1.

    Args:
        masks: (M, H, W).

    Returns:
        (M, 4) float32 xyxy in pixels; zeros where a mask is empty. A mask one pixel wide has a box
        without area.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def _missing(path: str | os.PathLike) -> FileNotFoundError:
    return FileNotFoundError(f'Mask not found: {path}\nWhat to do: check data_root.')


def _refusal(path: str | os.PathLike, reason: str) -> MaskError:
    reason = ' '.join(reason.split())
    return MaskError(
        f'Cannot use the mask {path}: {reason}.\n'
        'What to do: fetch it again, or use the annotation of this video.'
    )
