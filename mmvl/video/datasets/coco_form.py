"""Lists and truths of A2D- and JHMDB-Sentences in the forms that their evaluation reads.

Users who lack the released files make them here, equal to those that MTTR (Botach et al., CVPR
2022) makes.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from mmvl.engine.annotation_files import existing, fault, stop

from .a2d import SPLITS, A2DSentences
from .jhmdb import JHMDBSentences
from .masks import a2d_instances, read_a2d, read_jhmdb

RAW_LAYOUT = (
    'Release/videoset.csv and text_annotations/{a2d_annotation.txt, a2d_missed_videos.txt, '
    'a2d_annotation_with_instances/VIDEO/FRAME.h5}'
)
# in one row of the release, of video T6bNPuKV-wY
COPIED = '1 (copy)'


def a2d_single_frames(root: str | os.PathLike, split: str) -> list[list[Any]]:
    """Make the list of sentences and annotated frames of A2D-Sentences out of the release.

    A sentence has one row for each annotated frame in which its object is.

    Args:
        root: folder of the release.
        split: 'train' or 'test'.

    Returns:
        Rows of sentence (lower case), video, frame from 1, and object: what
        ``a2d_sentences_single_frame_{split}_annotations.json`` holds.

    Raises:
        FileNotFoundError: a file is missing.
        AnnotationError: a file is malformed.
        MaskError: a file of masks is damaged.
    """
    wanted = str(SPLITS.index(split))
    folder = Path(root)
    missed = existing(folder / 'text_annotations/a2d_missed_videos.txt', RAW_LAYOUT)
    left_out = set(missed.read_text().splitlines())
    videos = {
        row[0]
        for row in _rows(folder / 'Release/videoset.csv')
        if row[-1] == wanted and row[0] not in left_out
    }
    file = folder / 'text_annotations/a2d_annotation.txt'
    found: list[list[Any]] = []
    for i, row in enumerate(_rows(file)):
        if i == 0 or row[0] not in videos or row[1:2] == [COPIED]:  # the first is the heading
            continue
        if len(row) != 3 or not row[1].strip().isdecimal():
            raise fault(
                'malformed entry', file, f'row {i}', f'expected video, object, query: {row}'
            )
        masks = folder / 'text_annotations/a2d_annotation_with_instances' / row[0]
        for path in sorted(masks.glob('*.h5')):
            if int(row[1]) in a2d_instances(path):
                found.append([row[2].lower(), row[0], int(path.stem), int(row[1])])
    return found


def _rows(path: Path) -> Iterator[list[str]]:
    with existing(path, RAW_LAYOUT).open(newline='', encoding='utf-8') as stream:
        yield from (row for row in csv.reader(stream) if row)


def a2d_truth(**dataset: Any) -> dict[str, Any]:
    """Make the COCO form of the truth of A2D-Sentences.

    Args:
        **dataset: as of :class:`.A2DSentences`; by default the split is 'test'.

    Returns:
        ``categories``, ``images`` and ``annotations``. Ids of images are text, those of annotations
        count from 1. Boxes are the annotated ones, where there are any.

    Raises:
        FileNotFoundError: a file is missing.
        AnnotationError: the list is malformed, or names a frame and object twice.
        MaskError: a file of masks is damaged, or lacks the object.
    """
    data = A2DSentences(**{'split': 'test', **dataset, 'test_mode': True, 'lazy_init': True})
    truth, seen = _empty(), set[str]()
    for entry in data.entries(stop):
        mask, box = read_a2d(data.mask_path(entry), entry['obj_id'])
        _add(truth, seen, data.ann_file, entry, mask)
        if box is not None:
            x1, y1, x2, y2 = box.tolist()
            truth['annotations'][-1]['bbox'] = [x1, y1, x2 - x1, y2 - y1]
    return truth


def jhmdb_truth(**dataset: Any) -> dict[str, Any]:
    """Make the COCO form of the truth of JHMDB-Sentences.

    Args:
        **dataset: as of :class:`.JHMDBSentences`.

    Returns:
        As :func:`a2d_truth`, without boxes.

    Raises:
        FileNotFoundError: a file is missing.
        AnnotationError: the list is malformed, or names a frame twice.
        MaskError: a file of masks is damaged, or lacks the frame.
    """
    data = JHMDBSentences(**{**dataset, 'lazy_init': True})
    truth, seen = _empty(), set[str]()
    for entry in data.entries(stop):
        source = data.clip(entry, np.random.default_rng(0))['mask_sources'][0]
        _add(truth, seen, data.ann_file, entry, read_jhmdb(source['path'], source['frame']))
    return truth


def _empty() -> dict[str, Any]:
    # COCO counts categories and annotations from 1
    return {'categories': [{'id': 1, 'name': 'dummy_class'}], 'images': [], 'annotations': []}


def _add(
    truth: dict[str, Any], seen: set[str], file: str, entry: dict[str, Any], mask: np.ndarray
) -> None:
    name, number = entry['image_id'], len(truth['images']) + 1
    if name in seen:
        detail = f'{name} is listed twice, the evaluation needs one sentence for each'
        raise fault('duplicate image', file, entry['where'], detail)
    seen.add(name)
    height, width = mask.shape
    truth['images'].append({'id': name, 'height': height, 'width': width})
    code = coco.encode(np.asfortranarray(mask, np.uint8))
    truth['annotations'].append(
        {
            'id': number,
            'image_id': name,
            'category_id': 1,
            'segmentation': {**code, 'counts': code['counts'].decode('ascii')},
            'area': float(coco.area(code)),
            'iscrowd': 0,
        }
    )
