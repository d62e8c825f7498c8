"""Fields of the annotation files: each is what it should be, or an error says which one is not."""

from pathlib import Path
from typing import Any

import numpy as np

from mmvl.engine.annotation_files import fault, shown

UNIT = 1e-3
"""How far the length of a quaternion may be from 1."""


def get(entry: dict[str, Any], key: str, file: str | Path, where: str) -> Any:
    """``entry[key]``.

    Raises:
        AnnotationError: there is no such key.
    """
    if not isinstance(entry, dict) or key not in entry:
        found = sorted(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        detail = f"key '{key}' is missing; found {shown(found)}"
        raise fault('malformed entry', file, where, detail)
    return entry[key]


def text(entry: dict[str, Any], key: str, file: str | Path, where: str) -> str:
    """``entry[key]``, which is text and not empty."""
    value = get(entry, key, file, where)
    if not isinstance(value, str) or not value or '\0' in value:
        detail = f'expected text, got {shown(value)}'
        raise fault('malformed entry', file, f'{where}.{key}', detail)
    return value


def numbers(
    entry: dict[str, Any], key: str, shape: tuple[int, ...], file: str | Path, where: str
) -> np.ndarray:
    """``entry[key]`` as finite float64 of a shape.

    Raises:
        AnnotationError: it is missing, of another shape, or not finite.
    """
    value = get(entry, key, file, where)
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != shape or not np.isfinite(found).all():
        sizes = ' x '.join(map(str, shape))
        detail = f'expected {sizes} finite numbers, got {shown(value)}'
        raise fault('malformed entry', file, f'{where}.{key}', detail)
    return found


def pose(entry: dict[str, Any], name: str, file: str | Path, where: str) -> np.ndarray:
    """Pose from ``<name>_rotation``, a quaternion (w, x, y, z), and ``<name>_translation``.

    Returns:
        (4, 4) float64, homogeneous.

    Raises:
        AnnotationError: one of them is missing, or the quaternion is none of a rotation.
    """
    key = f'{name}_rotation'
    value = get(entry, key, file, where)
    try:
        quaternion = np.array(value, np.float64)
        length = float(np.linalg.norm(quaternion)) if quaternion.shape == (4,) else float('nan')
    except (TypeError, ValueError):
        length = float('nan')
    if not abs(length - 1) <= UNIT:
        detail = f'expected a quaternion (w, x, y, z) of length 1, got {shown(value)}'
        raise fault('broken quaternion', file, f'{where}.{key}', detail)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(quaternion / length)
    matrix[:3, 3] = numbers(entry, f'{name}_translation', (3,), file, where)
    return matrix


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a quaternion (w, x, y, z) of length 1."""
    w, x, y, z = quaternion
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )
