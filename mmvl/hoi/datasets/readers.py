"""The three annotation forms of HICO-DET, read into one.

Every reader gives one dict per image, in file order: ``file_name`` str; ``boxes`` (N, 4) float32
xyxy in pixels of the image; ``labels`` (N,) int64 zero-based COCO-80; ``hois`` (M, 3) int64
subject index, object index (into the boxes), verb 0-116.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mmvl.hoi.vocabulary import COCO_IDS, OBJECTS, VERBS

from .matlab import read_matlab
from .shared import AnnotationError, merge_boxes

LAYOUT = (
    'data/hico_20160224_det/{images/train2015, images/test2015, '
    'annotations/trainval_hico.json, annotations/test_hico.json}'
)


def read_annotations(path: str, test_mode: bool = False) -> list[dict[str, Any]]:
    """Read an annotation file; its form is recognised from what is in it.

    The forms are the list of images of PPDM, QPIC, CDN and EoID (``trainval_hico.json``), the
    dict of the ``hicodet`` package (``instances_train2015.json``), and the original
    ``anno_bbox.mat``.

    Args:
        path: the file.
        test_mode: which half of ``anno_bbox.mat`` to read; the JSON files hold one half only.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: the file is not valid JSON, or not in one of the three forms.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f'Annotation file not found: {path}\n'
            f'HICO-DET is expected as {LAYOUT};\n'
            'set data_root and ann_file (for example --cfg-options data_root=YOUR/PATH).'
        )
    if file.suffix == '.mat':
        return read_matlab(file, 'test' if test_mode else 'train')
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f'{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.\n'
            'The file may be cut off; fetch it again.'
        ) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f'{path} is not a text file: {error.reason} at byte {error.start}.\n'
            'Expected JSON, or the original anno_bbox.mat with its suffix .mat.'
        ) from error
    if isinstance(content, list):
        return [_read_image(entry, f'{path}, entry {i}') for i, entry in enumerate(content)]
    keys = sorted(content) if isinstance(content, dict) else []
    if {'annotation', 'filenames', 'objects', 'verbs'}.issubset(keys):
        return _read_pair_lists(content, path)
    found = keys[:6] or type(content).__name__
    raise AnnotationError(
        f'{path} holds neither a list of images nor a dict with annotation, filenames, objects '
        f'and verbs; found {found}.\nUse trainval_hico.json or test_hico.json, '
        'instances_train2015.json or instances_test2015.json, or anno_bbox.mat.'
    )


def _read_image(entry: Any, where: str) -> dict[str, Any]:
    """One image of the list form: COCO ids 1-90, verbs 1-117, boxes as they are."""
    name = _get(entry, 'file_name', str, where)
    where = f'{where} ({name})'
    boxes, labels, hois = [], [], []
    for i, item in enumerate(_get(entry, 'annotations', list, where)):
        here = f'{where}, annotations[{i}]'
        boxes.append(_box(_get(item, 'bbox', list, here), f'{here}.bbox'))
        labels.append(_coco_label(_get(item, 'category_id', (int, str), here), here))
    for i, item in enumerate(_get(entry, 'hoi_annotation', list, where)):
        here = f'{where}, hoi_annotation[{i}]'
        verb = _integer(_get(item, 'category_id', (int, str), here), f'{here}.category_id')
        if not 1 <= verb <= len(VERBS):
            raise AnnotationError(f'{here}.category_id: verb {verb} is not in 1-{len(VERBS)}.')
        subject, object_ = (_get(item, key, int, here) for key in ('subject_id', 'object_id'))
        hois.append((subject, object_, verb - 1))
    return {
        'file_name': name,
        'boxes': np.array(boxes, dtype=np.float32).reshape(-1, 4),
        'labels': np.array(labels, dtype=np.int64),
        'hois': np.array(hois, dtype=np.int64).reshape(-1, 3),
    }


def _read_pair_lists(content: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The dict form: a list of pairs per image, objects and verbs by the file's own name lists.

    Boxes are 1-based pixel indices; subtracting 1 from x1 and y1 makes them half-open.

    Source: UPT (Zhang et al. 2022), released data loading.
    """
    object_ids = _name_table(content['objects'], OBJECTS, f'{path}, objects')
    verb_ids = _name_table(content['verbs'], VERBS, f'{path}, verbs')
    names = _get(content, 'filenames', list, path)
    entries = _get(content, 'annotation', list, path)
    if len(names) != len(entries):
        raise AnnotationError(f'{path}: {len(names)} filenames but {len(entries)} annotations.')
    return [
        _read_pairs(entry, name, object_ids, verb_ids, f'{path}, annotation[{i}] ({name})')
        for i, (name, entry) in enumerate(zip(names, entries, strict=True))
    ]


def _read_pairs(
    entry: Any, name: str, object_ids: np.ndarray, verb_ids: np.ndarray, where: str
) -> dict[str, Any]:
    keys = ('boxes_h', 'boxes_o', 'object', 'verb')
    humans, things, objects, verbs = (_get(entry, key, list, where) for key in keys)
    if not len(humans) == len(things) == len(objects) == len(verbs):
        raise AnnotationError(f'{where}: {", ".join(keys)} have different lengths.')
    for key, values, table in (('object', objects, object_ids), ('verb', verbs, verb_ids)):
        for i, value in enumerate(values):
            if not isinstance(value, int) or not 0 <= value < len(table):
                raise AnnotationError(
                    f'{where}.{key}[{i}]: {value!r} is not an index below {len(table)}.'
                )
    pairs = np.array(
        [
            (_box(h, f'{where}.boxes_h[{i}]'), _box(o, f'{where}.boxes_o[{i}]'))
            for i, (h, o) in enumerate(zip(humans, things, strict=True))
        ],
        dtype=np.float32,
    ).reshape(-1, 2, 4)
    pairs[..., :2] -= 1
    labels = object_ids[np.array(objects, dtype=np.int64)]
    return {'file_name': name, **merge_boxes(pairs, labels, verb_ids[np.array(verbs, np.int64)])}


def _name_table(names: Any, ours: tuple[str, ...], where: str) -> np.ndarray:
    """For each of the file's names, its index in our list."""
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(ours):
        unknown = sorted(set(map(str, names)) - set(ours))[:3] if isinstance(names, list) else names
        raise AnnotationError(
            f'{where}: expected the {len(ours)} HICO-DET names in any order; unknown: {unknown}.'
        )
    return np.array([ours.index(name) for name in names], dtype=np.int64)


def _get(item: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """``item[key]``, which must exist and be of a kind."""
    if not isinstance(item, dict) or key not in item:
        found = sorted(item) if isinstance(item, dict) else type(item).__name__
        raise AnnotationError(f"{where}: key '{key}' is missing; found {found}.")
    if not isinstance(item[key], kind) or isinstance(item[key], bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = ' or '.join(k.__name__ for k in kinds)
        raise AnnotationError(f'{where}.{key}: expected {wanted}, got {item[key]!r:.60}.')
    return item[key]


def _integer(value: int | str, where: str) -> int:
    """An id that may be written as text with a line break, as in the related HOI-A files."""
    try:
        return int(value)
    except ValueError as error:
        raise AnnotationError(f'{where}: {value!r} is not an integer.') from error


_LABEL_OF_COCO_ID = {int(coco_id): label for label, coco_id in enumerate(COCO_IDS)}


def _coco_label(value: int | str, where: str) -> int:
    coco_id = _integer(value, f'{where}.category_id')
    if coco_id not in _LABEL_OF_COCO_ID:
        raise AnnotationError(
            f'{where}.category_id: {coco_id} is none of the 80 COCO category ids (1-90 with gaps).'
        )
    return _LABEL_OF_COCO_ID[coco_id]


def _box(value: Any, where: str) -> list[float]:
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in value)
    ):
        raise AnnotationError(
            f'{where}: expected 4 finite numbers x1, y1, x2, y2, got {value!r:.60}.'
        )
    return value
