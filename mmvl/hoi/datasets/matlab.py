"""Reader of the original ``anno_bbox.mat``."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from mmvl.hoi.vocabulary import HOI_OBJECT, HOI_VERB

from .shared import AnnotationError, merge_boxes


def read_matlab(file: Path, half: str) -> list[dict[str, Any]]:
    """Read ``bbox_train`` or ``bbox_test``; the dicts are those of ``read_annotations``.

    Interactions marked invisible have no boxes and are skipped. A box repeats in every
    interaction that it takes part in, sometimes with other coordinates; only exact repeats are
    merged. Boxes are 1-based pixel indices in the field order x1, x2, y1, y2: subtracting 1 from
    x1 and y1 makes them half-open.

    Args:
        file: the file.
        half: 'train' or 'test'.

    Raises:
        AnnotationError: not a MATLAB 5-7.2 file, or a field is missing or out of range.
    """
    name = f'bbox_{half}'
    try:
        content = loadmat(
            file, variable_names=[name], squeeze_me=True, struct_as_record=False, appendmat=False
        )
    except (ValueError, TypeError, NotImplementedError) as error:
        raise AnnotationError(
            f'{file} cannot be read as a MATLAB file: {error}.\nExpected anno_bbox.mat of HICO-DET.'
        ) from error
    if name not in content:
        raise AnnotationError(f"{file}: variable '{name}' is missing; expected anno_bbox.mat.")
    images = np.atleast_1d(content[name])
    return [_read_image(image, f'{file}, {name}({i + 1})') for i, image in enumerate(images)]


def _read_image(image: Any, where: str) -> dict[str, Any]:
    try:
        file_name = str(image.filename)
        where = f'{where} ({file_name})'
        pairs, hoi_ids = [np.zeros((0, 2, 4), np.float32)], [np.zeros(0, np.int64)]
        for i, hoi in enumerate(np.atleast_1d(image.hoi)):
            if hoi.invis:
                continue
            pairs.append(_pairs(hoi, f'{where}.hoi({i + 1})'))
            hoi_ids.append(np.full(len(pairs[-1]), int(hoi.id) - 1))
    except AttributeError as error:
        raise AnnotationError(f'{where}: {error}; expected the fields of anno_bbox.mat.') from error
    ids = np.concatenate(hoi_ids)
    if ((ids < 0) | (ids >= len(HOI_VERB))).any():
        raise AnnotationError(f'{where}: an interaction id is not in 1-{len(HOI_VERB)}.')
    return {
        'file_name': file_name,
        **merge_boxes(np.concatenate(pairs), HOI_OBJECT[ids], HOI_VERB[ids]),
    }


def _pairs(hoi: Any, where: str) -> np.ndarray:
    """(K, 2, 4) float32 xyxy boxes of the K connections of one interaction."""
    humans, things = _boxes(hoi.bboxhuman), _boxes(hoi.bboxobject)
    links = np.asarray(hoi.connection, dtype=np.int64).reshape(-1, 2) - 1
    if (links < 0).any() or (links >= (len(humans), len(things))).any():
        raise AnnotationError(
            f'{where}.connection: an index is outside the {len(humans)} human and '
            f'{len(things)} object boxes.'
        )
    return np.stack((humans[links[:, 0]], things[links[:, 1]]), axis=1)


def _boxes(boxes: Any) -> np.ndarray:
    rows = [(b.x1, b.y1, b.x2, b.y2) for b in np.atleast_1d(boxes)]
    array = np.array(rows, dtype=np.float32).reshape(-1, 4)
    array[:, :2] -= 1
    return array
