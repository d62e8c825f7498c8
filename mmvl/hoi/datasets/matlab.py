"""Reader of the original ``anno_bbox.mat``."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from mmvl.hoi.vocabulary import HOI_OBJECT, HOI_VERB

from .shared import AnnotationError, Report, attempt, check_name, fault, merge_boxes, shown_name

FORM = (
    'the fields of anno_bbox.mat: filename, and hoi with id 1-600, bboxhuman, bboxobject, '
    'connection, invis'
)


def load_matlab(file: Path, half: str) -> np.ndarray:
    """Load ``bbox_train`` or ``bbox_test``, (I,) structs of images.

    Args:
        file: the file.
        half: 'train' or 'test'.

    Raises:
        AnnotationError: not a MATLAB 5-7.2 file, or without this variable.
    """
    name = f'bbox_{half}'
    try:
        content = loadmat(
            file, variable_names=[name], squeeze_me=True, struct_as_record=False, appendmat=False
        )
    # A damaged file provokes nearly any error in SciPy; each means the same.
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise AnnotationError(
            f'{file} cannot be read as a MATLAB file: {reason}.\n'
            'What to do: use anno_bbox.mat of HICO-DET; fetch it again if it is that.'
        ) from None
    if name not in content:
        raise AnnotationError(
            f"{file}: variable '{name}' is missing.\nWhat to do: use anno_bbox.mat of HICO-DET."
        )
    return np.atleast_1d(content[name])


def parse_matlab(images: np.ndarray, where: str, report: Report) -> list[dict[str, Any]]:
    """Turn what :func:`load_matlab` gives into the dicts of ``read_annotations``.

    Interactions marked invisible have no boxes and are skipped. A box repeats in every
    interaction that it takes part in, sometimes with other coordinates; only exact repeats are
    merged. Boxes are 1-based pixel indices in the field order x1, x2, y1, y2: subtracting 1 from
    x1 and y1 makes them half-open.

    Args:
        images: (I,) structs.
        where: file and variable, for messages.
        report: what to do with a fault.

    Raises:
        AnnotationError: a field is missing or out of range, and ``report`` raises it.
    """
    return [_read_image(image, f'{where}({i + 1})', report) for i, image in enumerate(images)]


def _read_image(image: Any, where: str, report: Report) -> dict[str, Any]:
    name = attempt(report, '', _file_name, image, where)
    if name:
        where = f'{where} ({shown_name(name)})'
    pairs, hoi_ids = [np.zeros((0, 2, 4), np.float32)], [np.zeros(0, np.int64)]
    for i, hoi in enumerate(np.atleast_1d(getattr(image, 'hoi', []))):
        here = f'{where}.hoi({i + 1})'
        found, hoi_id = attempt(report, (pairs[0], 0), _interaction, hoi, here)
        pairs.append(found)
        hoi_ids.append(np.full(len(found), hoi_id))
    ids = np.concatenate(hoi_ids)
    return {
        'file_name': name,
        **merge_boxes(np.concatenate(pairs), HOI_OBJECT[ids], HOI_VERB[ids]),
    }


def _file_name(image: Any, where: str) -> str:
    for field in ('filename', 'hoi'):
        if not hasattr(image, field):
            raise fault('malformed entry', where, f"field '{field}' is missing", FORM)
    return check_name(image.filename, f'{where}.filename', FORM)


def _interaction(hoi: Any, where: str) -> tuple[np.ndarray, int]:
    """(K, 2, 4) float32 xyxy boxes of the K connections of one interaction, and its id."""
    try:
        if hoi.invis:
            return np.zeros((0, 2, 4), np.float32), 0
        hoi_id = int(hoi.id) - 1
        humans, things = _boxes(hoi.bboxhuman), _boxes(hoi.bboxobject)
        links = np.asarray(hoi.connection, dtype=np.int64).reshape(-1, 2) - 1
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise fault('malformed entry', where, ' '.join(str(error).split()), FORM) from None
    if not 0 <= hoi_id < len(HOI_VERB):
        detail = f'an interaction id is not in 1-{len(HOI_VERB)}'
        raise fault('unknown verb', f'{where}.id', detail, FORM)
    if (links < 0).any() or (links >= (len(humans), len(things))).any():
        detail = f'an index is outside the {len(humans)} human and {len(things)} object boxes'
        raise fault('bad index', f'{where}.connection', detail, FORM)
    pairs = np.stack((humans[links[:, 0]], things[links[:, 1]]), axis=1)
    if not np.isfinite(pairs).all():
        raise fault('bad box', where, 'a box is not 4 finite numbers', FORM)
    return pairs, hoi_id


def _boxes(boxes: Any) -> np.ndarray:
    rows = [(b.x1, b.y1, b.x2, b.y2) for b in np.atleast_1d(boxes)]
    array = np.array(rows, dtype=np.float32).reshape(-1, 4)
    array[:, :2] -= 1
    return array
