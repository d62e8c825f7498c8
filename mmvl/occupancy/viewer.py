"""A page that shows voxels in a browser: one file, which needs no network and no server."""

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from mmvl.engine import write_atomically

PLACE = '/*DATA*/null'
LARGEST = 256
"""Voxels along an axis: a place is written as one byte."""


def write_viewer(
    path: str | Path,
    layers: Mapping[str, np.ndarray],
    classes: Sequence[str],
    colors: np.ndarray,
    lower: Sequence[float],
    voxel_size: float,
) -> None:
    """Write the page. Only voxels with a free neighbour are in it; others cannot be seen.

    Args:
        path: the file, which appears only when it is complete; its folder is made.
        layers: title -> (X, Y, Z) class of each voxel; what is not below K is free.
        classes: K names.
        colors: (K, 3) uint8 RGB.
        lower: corner of the grid in the ego frame, metres.
        voxel_size: metres.

    Raises:
        ValueError: a grid has more than 256 voxels along an axis.
    """
    data = {
        'layers': [
            {'name': title, 'voxels': _encoded(grid, len(classes))}
            for title, grid in layers.items()
        ],
        'classes': list(classes),
        'colors': colors.tolist(),
        'size': list(next(iter(layers.values())).shape),
        'lower': list(lower),
        'voxelSize': voxel_size,
    }
    page = files('mmvl.occupancy').joinpath('viewer.html').read_text('utf-8')
    # no name of a class can end the script
    text = page.replace(PLACE, json.dumps(data).replace('<', '\\u003c'))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), lambda temporary: temporary.write_text(text, 'utf-8'))


def visible_voxels(semantics: np.ndarray, num_classes: int) -> np.ndarray:
    """Voxels (V, 4) int64 that are occupied and touch a free one or the border: x, y, z, class."""
    full = semantics < num_classes
    padded = np.pad(full, 1)
    hidden = np.ones_like(full)
    for axis in range(3):
        for shift in (-1, 1):
            hidden &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    place = np.argwhere(full & ~hidden)
    return np.concatenate((place, semantics[tuple(place.T)][:, None].astype(np.int64)), 1)


def _encoded(semantics: np.ndarray, num_classes: int) -> str:
    if max(semantics.shape) > LARGEST:
        raise ValueError(
            f'the grid is {semantics.shape}.\n'
            f'What to do: show a part of it; {LARGEST} voxels along an axis are possible.'
        )
    voxels = visible_voxels(semantics, num_classes)
    return base64.b64encode(voxels.astype(np.uint8).tobytes()).decode()
