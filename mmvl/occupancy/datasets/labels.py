"""Label files of the four trees, read into dense arrays in the order X, Y, Z.

Source: Occ3D, OpenOcc v2, SurroundOcc and OpenOccupancy on nuScenes, in their released forms.
"""

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mmvl.engine.annotation_files import AnnotationError, fault

from .classes import OCC3D, OPENOCC
from .infos import Frame

Grid = tuple[int, int, int]
Arrays = dict[str, tuple[str, str, tuple[int, ...]]]

MASKS: Final = ('mask_camera', 'mask_lidar')


@dataclass(frozen=True)
class Form:
    """One kind of label files.

    Attributes:
        classes: names in the order of their numbers.
        folder: of the tree below the root of the data.
        arrays: name in the file -> (field of the sample, kinds of dtype, further sizes).
        order: of the columns (x, y, z, label) of a list of voxels; None for dense arrays.
    """

    classes: tuple[str, ...]
    folder: str
    arrays: Arrays = field(default_factory=dict)
    order: tuple[int, ...] | None = None


FORMS: Final = {
    'occ3d': Form(
        OCC3D,
        'gts',
        {
            'semantics': ('gt_semantics', 'iu', ()),
            **{name: (f'gt_{name}', 'biuf', ()) for name in MASKS},
        },
    ),
    'openocc': Form(
        OPENOCC,
        'openocc_v2',
        {'semantics': ('gt_semantics', 'iu', ()), 'flow': ('gt_flow', 'f', (2,))},
    ),
    'surroundocc': Form(OCC3D, 'gts_surroundocc/samples', order=(0, 1, 2, 3)),
    'openoccupancy': Form(OCC3D, 'nuScenes-Occupancy-v0.1', order=(2, 1, 0, 3)),
}
RAY_MASK: Final[Arrays] = {'ray_mask2': ('ray_mask', 'biuf', ())}


def label_path(frame: Frame, form: str, root: Path) -> Path:
    """Where the labels of a frame are.

    Args:
        frame: with scene and tokens.
        form: a key of :data:`FORMS`.
        root: folder of the tree.
    """
    if form == 'surroundocc':
        return root / f'{Path(frame.lidar_path).name}.npy'
    if form == 'openoccupancy':
        return root / f'scene_{frame.scene_token}' / 'occupancy' / f'{frame.lidar_token}.npy'
    return root / frame.scene_name / frame.token / 'labels.npz'


def read_labels(
    path: str | Path, form: str, grid: Grid, extra_masks: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read the labels of a frame.

    Args:
        path: the file.
        form: a key of :data:`FORMS`.
        grid: (X, Y, Z) voxels that it must have. Flattened arrays are taken too.
        extra_masks: further boolean arrays of the file.

    Returns:
        ``gt_semantics`` (X, Y, Z) int64; of dense forms also what else they hold: masks (X, Y, Z)
        bool and ``gt_flow`` (X, Y, Z, 2) float32. A list of voxels has masks that are all True.

    Raises:
        AnnotationError: the file is missing or damaged, lacks an array, or has another grid.
    """
    known = FORMS[form]
    if known.order is not None:
        return _from_list(path, known, grid)
    arrays = known.arrays | {name: (f'gt_{name}', 'biuf', ()) for name in extra_masks}
    found = read_arrays(path, arrays, grid)
    _check_classes(found['gt_semantics'], known, path)
    return found


def read_ray_mask(path: str | Path, grid: Grid) -> np.ndarray:
    """Voxels that the rays of the evaluation hit, (X, Y, Z) bool; see :func:`read_labels`."""
    return read_arrays(path, RAY_MASK, grid)['ray_mask']


def read_arrays(path: str | Path, arrays: Arrays, grid: Grid) -> dict[str, np.ndarray]:
    """Read arrays of an ``.npz`` file; integers become int64, masks bool, real numbers float32.

    Raises:
        AnnotationError: the file is missing or damaged, lacks an array, or has another grid.
    """
    content = _load(path, arrays)
    found = {}
    for name, (target, kinds, more) in arrays.items():
        array = content[name]
        shape = (*grid, *more)
        if array.dtype.kind not in kinds:
            detail = f'unexpected numbers, {array.dtype}'
            raise fault('malformed labels', path, name, detail, _REMEDY)
        if array.shape != shape and (array.ndim > 2 or array.size != np.prod(shape)):
            raise _other_grid(path, name, array.shape, shape)
        array = array.reshape(shape)
        kind = np.int64 if kinds == 'iu' else np.float32 if kinds == 'f' else np.bool_
        found[target] = array.astype(kind)
    return found


_REMEDY = "fetch it again, or set 'labels' of the dataset to the kind of these files"


def _load(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as content:
            for name in names:
                if name not in content:
                    detail = f"no array '{name}'; found {', '.join(content) or 'none'}"
                    raise fault('malformed labels', path, name, detail, _REMEDY)
            return {name: content[name] for name in names}
    except AnnotationError:
        raise
    except FileNotFoundError:
        detail, remedy = 'there is no such file', "set 'label_root' to the folder with the scenes"
        raise fault('missing labels', path, '', detail, remedy) from None
    # a damaged archive provokes nearly any error in the reader; each means the same
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        detail = f'damaged: {" ".join(str(error).split())[:120]}'
        raise fault('malformed labels', path, '', detail, _REMEDY) from error


def _other_grid(path: str | Path, name: str, found: Any, wanted: Any) -> Exception:
    sizes = [' x '.join(map(str, shape)) for shape in (found, wanted)]
    detail = f'labels of another grid: {sizes[0]} voxels, the dataset expects {sizes[1]}'
    remedy = "set 'grid' of the dataset and that of the model to these labels, or use the others"
    return fault('other grid', path, name, detail, remedy)


def _check_classes(semantics: np.ndarray, form: Form, path: str | Path) -> None:
    known = (semantics >= 0) & (semantics < len(form.classes)) | (semantics == 255)
    if not known.all():
        value = int(semantics[~known][0])
        detail = f'class {value}, expected 0 to {len(form.classes) - 1} or 255'
        raise fault('unknown class', path, 'semantics', detail, _REMEDY)


def _from_list(path: str | Path, form: Form, grid: Grid) -> dict[str, np.ndarray]:
    assert form.order is not None
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        detail, remedy = 'there is no such file', "set 'label_root' to the folder with the labels"
        raise fault('missing labels', path, '', detail, remedy) from None
    except (OSError, ValueError, EOFError) as error:
        raise fault('malformed labels', path, '', f'damaged: {error}', _REMEDY) from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 4:
        raise fault(
            'malformed labels', path, '', 'expected rows of three places and a class', _REMEDY
        )
    rows = rows[:, form.order].astype(np.int64)
    place, label = rows[:, :3], rows[:, 3]
    outside = (place < 0) | (place >= grid)
    if outside.any():
        raise _other_grid(path, 'voxels', tuple(place.max(0) + 1), grid)
    free = len(form.classes) - 1
    semantics = np.full(grid, free, np.int64)
    # 0 is noise in these lists, which the released code takes for free space
    semantics[tuple(place.T)] = np.where(label == 0, free, label)
    _check_classes(semantics, form, path)
    seen = np.ones(grid, np.bool_)
    return {'gt_semantics': semantics, 'gt_mask_camera': seen, 'gt_mask_lidar': seen.copy()}
