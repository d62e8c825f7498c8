"""The three annotation forms of HICO-DET, read into one.

Every reader gives one dict per image, in file order: ``file_name`` str; ``boxes`` (N, 4) float32
xyxy in pixels of the image; ``labels`` (N,) int64 zero-based COCO-80; ``hois`` (M, 3) int64
subject index, object index (into the boxes), verb 0-116.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvl.engine.annotation_files import shown, stop
from mmvl.engine.pickles import PickleError, read_pickle
from mmvl.hoi.vocabulary import COCO_IDS, OBJECTS, VERBS

from .matlab import load_matlab, parse_matlab
from .shared import (
    BAD_BOX,
    BAD_HOI,
    AnnotationError,
    Report,
    attempt,
    check_name,
    fault,
    merge_boxes,
    shown_name,
)

LAYOUT = (
    'data/hico_20160224_det/{images/train2015, images/test2015, '
    'annotations/trainval_hico.json, annotations/test_hico.json}'
)
LIST_FORM = (
    'an image as {"file_name": "a.jpg", '
    '"annotations": [{"bbox": [x1, y1, x2, y2], "category_id": 1-90}, ...], '
    '"hoi_annotation": [{"subject_id": 0, "object_id": 1, "category_id": 1-117}, ...]}'
)
PAIR_FORM = (
    'an image as {"boxes_h": [[x1, y1, x2, y2], ...], "boxes_o": [...], '
    '"object": [0-79, ...], "verb": [0-116, ...]}, one entry a pair'
)
PICKLES = ('.pkl', '.pickle', '.p')
PAIR_LISTS = {'annotation', 'filenames', 'objects', 'verbs'}
PAIR_KEYS = ('boxes_h', 'boxes_o', 'object', 'verb')
# far beyond any image, and far from what single precision or a 64-bit index overflows at
FARTHEST = 1e9


def read_annotations(
    path: str, test_mode: bool = False, report: Report = stop
) -> list[dict[str, Any]]:
    """Read an annotation file; its form is recognised from what is in it.

    The forms are the list of images of PPDM, QPIC, CDN and EoID (``trainval_hico.json``), the
    dict of the ``hicodet`` package (``instances_train2015.json``), and the original
    ``anno_bbox.mat``. The first two may also be pickled, which runs no code.

    Args:
        path: the file.
        test_mode: which half of ``anno_bbox.mat`` to read; the other files hold one half only.
        report: what to do with a fault inside the file: raise it, or take note.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: the file cannot be read, is not in one of the three forms, or has a fault
            that ``report`` raises.
    """
    return parse_annotations(load_annotations(path, test_mode), path, test_mode, report)


def load_annotations(path: str, test_mode: bool) -> Any:
    """First half of :func:`read_annotations`: what is in the file, for the second half."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f'Annotation file not found: {path}\n'
            f'HICO-DET is expected as {LAYOUT}.\n'
            'What to do: set data_root and ann_file (such as --cfg-options data_root=YOUR/PATH).'
        )
    if file.suffix == '.mat':
        return load_matlab(file, 'test' if test_mode else 'train')
    if file.suffix in PICKLES:
        try:
            return read_pickle(file)
        except PickleError as error:
            raise AnnotationError(str(error)) from None
    return _load_json(file)


def parse_annotations(
    content: Any, path: str, test_mode: bool, report: Report
) -> list[dict[str, Any]]:
    """Second half of :func:`read_annotations`: one dict per image."""
    if isinstance(content, np.ndarray):
        samples = parse_matlab(content, f'{path}, bbox_{"test" if test_mode else "train"}', report)
    elif isinstance(content, list):
        samples = [
            _read_image(entry, f'{path}, entry {i}', report) for i, entry in enumerate(content)
        ]
    elif isinstance(content, dict) and content.keys() >= PAIR_LISTS:
        samples = _read_pair_lists(content, path, report)
    else:
        raise AnnotationError(
            f'{path} holds neither a list of images nor a dict with annotation, filenames, '
            f'objects and verbs; found {_keys(content)}.\nExpected {LIST_FORM}.\n'
            'What to do: use trainval_hico.json or test_hico.json, instances_train2015.json or '
            'instances_test2015.json, or anno_bbox.mat.'
        )
    if not samples:
        raise AnnotationError(f'{path} holds no image.\nWhat to do: fetch the file again.')
    return samples


def _load_json(file: Path) -> Any:
    remedy = 'What to do: fetch the file again; it may be cut off, or another file than it says'
    if file.stat().st_size == 0:
        raise AnnotationError(f'{file} is empty.\n{remedy}.')
    try:
        return json.loads(file.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f'{file} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.\n'
            f'{remedy}.'
        ) from None
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f'{file} is not a text file: {error.reason} at byte {error.start}.\n'
            'What to do: use JSON, a pickle named .pkl, or the original anno_bbox.mat.'
        ) from None
    except RecursionError:
        raise AnnotationError(f'{file} is nested far too deeply.\n{remedy}.') from None
    except ValueError as error:  # numbers of thousands of digits
        raise AnnotationError(f'{file} cannot be read: {error}.\n{remedy}.') from None


def _read_image(entry: Any, where: str, report: Report) -> dict[str, Any]:
    """One image of the list form: COCO ids 1-90, verbs 1-117, boxes as they are."""
    name = attempt(report, '', _file_name, entry, where)
    if name:
        where = f'{where} ({shown_name(name)})'
    if not isinstance(entry, dict):  # said already, about its name
        entry = {'annotations': (), 'hoi_annotation': ()}
    boxes, labels, hois = [], [], []
    for i, item in enumerate(attempt(report, [], _list, entry, 'annotations', where, LIST_FORM)):
        here = f'{where}, annotations[{i}]'
        boxes.append(attempt(report, BAD_BOX, _bbox, item, here))
        labels.append(attempt(report, -1, _coco_label, item, here))
    for i, item in enumerate(attempt(report, [], _list, entry, 'hoi_annotation', where, LIST_FORM)):
        hois.append(attempt(report, BAD_HOI, _interaction, item, f'{where}, hoi_annotation[{i}]'))
    return {
        'file_name': name,
        'boxes': np.array(boxes, dtype=np.float32).reshape(-1, 4),
        'labels': np.array(labels, dtype=np.int64),
        'hois': np.array(hois, dtype=np.int64).reshape(-1, 3),
    }


def _read_pair_lists(content: dict[str, Any], path: str, report: Report) -> list[dict[str, Any]]:
    """The dict form: a list of pairs per image, objects and verbs by the file's own name lists.

    Boxes are 1-based pixel indices; subtracting 1 from x1 and y1 makes them half-open.

    Source: UPT (Zhang et al. 2022), released data loading.
    """
    object_ids = _name_table(content['objects'], OBJECTS, f'{path}, objects')
    verb_ids = _name_table(content['verbs'], VERBS, f'{path}, verbs')
    names = _list(content, 'filenames', path, PAIR_FORM)
    entries = _list(content, 'annotation', path, PAIR_FORM)
    if len(names) != len(entries):
        raise fault(
            'malformed entry',
            path,
            f'{len(names)} filenames but {len(entries)} annotations',
            'one of each for every image',
        )
    return [
        _read_pairs(entry, name, object_ids, verb_ids, f'{path}, annotation[{i}]', report)
        for i, (name, entry) in enumerate(zip(names, entries, strict=True))
    ]


def _read_pairs(
    entry: Any,
    name: Any,
    object_ids: np.ndarray,
    verb_ids: np.ndarray,
    where: str,
    report: Report,
) -> dict[str, Any]:
    name = attempt(report, '', check_name, name, where, PAIR_FORM)
    if name:
        where = f'{where} ({shown_name(name)})'
    lists = attempt(report, [[], [], [], []], _pair_lists, entry, where)
    columns = [
        [attempt(report, bad, read, v, f'{where}.{key}[{i}]') for i, v in enumerate(values)]
        for key, bad, read, values in zip(
            PAIR_KEYS, _BAD_COLUMNS, _COLUMN_READERS, lists, strict=True
        )
    ]
    pairs = np.array(columns[:2], dtype=np.float32).reshape(2, -1, 4).transpose(1, 0, 2)
    pairs[..., :2] -= 1
    objects, verbs = (np.array(column, dtype=np.int64) for column in columns[2:])
    return {'file_name': name, **merge_boxes(pairs, object_ids[objects], verb_ids[verbs])}


def _pair_lists(entry: Any, where: str) -> list[Sequence[Any]]:
    lists = [_list(entry, key, where, PAIR_FORM) for key in PAIR_KEYS]
    if len({len(values) for values in lists}) > 1:
        detail = f'{", ".join(PAIR_KEYS)} have different lengths'
        raise fault('malformed entry', where, detail, PAIR_FORM)
    return lists


def _name_table(names: Any, ours: tuple[str, ...], where: str) -> np.ndarray:
    """For each of the file's names, its index in our list; and -1 for index -1, a fault."""
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or sorted(names) != sorted(ours):
        unknown = sorted(set(names) - set(ours))[:3] if is_list else names
        raise fault(
            'malformed entry',
            where,
            f'expected the {len(ours)} HICO-DET names in any order; unknown: {shown(unknown)}',
            'the name lists of instances_train2015.json',
        )
    return np.array([*(ours.index(name) for name in names), -1], dtype=np.int64)


def _get(item: Any, key: str, where: str, expected: str) -> Any:
    """``item[key]``, which must exist."""
    if not isinstance(item, dict) or key not in item:
        detail = f"key '{key}' is missing; found {_keys(item)}"
        raise fault('malformed entry', where, detail, expected)
    return item[key]


def _list(item: Any, key: str, where: str, expected: str) -> Sequence[Any]:
    value = _get(item, key, where, expected)
    if not isinstance(value, (list, tuple)):
        detail = f'expected a list, got {shown(value)}'
        raise fault('malformed entry', f'{where}.{key}', detail, expected)
    return value


def _keys(item: Any) -> str:
    return shown(sorted(map(str, item))) if isinstance(item, dict) else type(item).__name__


def _file_name(entry: Any, where: str) -> str:
    name = _get(entry, 'file_name', where, LIST_FORM)
    return check_name(name, f'{where}.file_name', LIST_FORM)


def _bbox(item: Any, where: str) -> Sequence[float]:
    return _box(_get(item, 'bbox', where, LIST_FORM), f'{where}.bbox')


def _box(value: Any, where: str) -> Sequence[float]:
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 4
        or not all(type(v) in (float, int) and -FARTHEST < v < FARTHEST for v in value)
    ):
        detail = f'expected 4 finite numbers x1, y1, x2, y2, got {shown(value)}'
        raise fault('bad box', where, detail, 'pixels, x2 > x1 and y2 > y1')
    return value


_LABEL_OF_COCO_ID = {int(coco_id): label for label, coco_id in enumerate(COCO_IDS)}


def _coco_label(item: Any, where: str) -> int:
    coco_id = _id(item, where)
    if coco_id not in _LABEL_OF_COCO_ID:
        detail = f'{shown(coco_id)} is none of the 80 COCO category ids (1-90 with gaps)'
        raise fault('unknown object', f'{where}.category_id', detail, LIST_FORM)
    return _LABEL_OF_COCO_ID[coco_id]


def _interaction(item: Any, where: str) -> tuple[int, int, int]:
    verb = _id(item, where)
    if not 1 <= verb <= len(VERBS):
        detail = f'verb {shown(verb)} is not in 1-{len(VERBS)}'
        raise fault('unknown verb', f'{where}.category_id', detail, LIST_FORM)
    return _position(item, 'subject_id', where), _position(item, 'object_id', where), verb - 1


def _id(item: Any, where: str) -> int:
    """An id that may be written as text with a line break, as in the related HOI-A files."""
    value = _get(item, 'category_id', where, LIST_FORM)
    if type(value) in (int, str):
        try:
            return int(value)
        except ValueError:
            pass
    detail = f'expected an integer, got {shown(value)}'
    raise fault('malformed entry', f'{where}.category_id', detail, LIST_FORM)


def _position(item: Any, key: str, where: str) -> int:
    value = _get(item, key, where, LIST_FORM)
    if type(value) is not int or not -FARTHEST < value < FARTHEST:
        detail = f'expected an integer, the place of a box, got {shown(value)}'
        raise fault('bad index', f'{where}.{key}', detail, LIST_FORM)
    return value


def _index_below(count: int, kind: str) -> Callable[[Any, str], int]:
    def read(value: Any, where: str) -> int:
        if type(value) is not int or not 0 <= value < count:
            detail = f'{shown(value)} is not an index below {count}'
            raise fault(kind, where, detail, PAIR_FORM)
        return value

    return read


_COLUMN_READERS: tuple[Callable[[Any, str], Any], ...] = (
    _box,
    _box,
    _index_below(len(OBJECTS), 'unknown object'),
    _index_below(len(VERBS), 'unknown verb'),
)
_BAD_COLUMNS: tuple[Any, ...] = (BAD_BOX, BAD_BOX, -1, -1)
