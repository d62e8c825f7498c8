"""What is wrong with, and what is in, a data set in one of the forms of HICO-DET.

Letters in shapes: I images of the file, B boxes and M interactions of all of them, N boxes of one
image.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.fileio import join_path

from mmvl.engine.data_check import Problem, Report
from mmvl.engine.images import check_images
from mmvl.hoi.vocabulary import (
    HOI_INDEX,
    HOI_OBJECT,
    HOI_VERB,
    NO_INTERACTION,
    OBJECTS,
    VERBS,
)

from .readers import load_annotations, parse_annotations
from .shared import AnnotationError, shown_name

NEAR = 0.9
"""Boxes of one class whose overlap (IoU) exceeds this are near-identical; so are interactions of
one verb whose subjects and whose objects are."""
EDGE = 1.0
"""Pixels by which a box may exceed its image without a word: the two pixel conventions."""

Samples = Sequence[dict[str, Any]]


def check_hico(
    ann_file: str, image_folder: str, *, test_mode: bool, max_boxes: int, images: bool
) -> Report:
    """List all that is wrong with an annotation file and its images.

    Errors are what training or testing refuses, drops or misreads; notes are worth knowing. An
    annotation file that cannot be read at all is the only problem of its report.

    Args:
        ann_file: in any form that ``read_annotations`` takes.
        image_folder: where the file names start.
        test_mode: which half of ``anno_bbox.mat``; training's limit of boxes does not apply.
        max_boxes: boxes that training keeps of an image.
        images: whether to look for the image files and decode them.
    """
    report = Report(ann_file)
    faults: list[AnnotationError] = []
    try:
        content = load_annotations(ann_file, test_mode)
        samples = parse_annotations(content, ann_file, test_mode, faults.append)
    except (OSError, AnnotationError) as error:
        kind = 'missing' if isinstance(error, FileNotFoundError) else 'unreadable'
        detail = str(error).splitlines()[0]
        report.problems.append(Problem(f'{kind} annotation', ann_file, '', detail))
        return report
    for fault in faults:
        where = fault.where.removeprefix(f'{ann_file}, ')
        report.problems.append(Problem(fault.kind, ann_file, where, fault.detail))
    places = _Places(samples, content, test_mode)
    sizes = _declared_sizes(content, len(samples))
    if images:
        paths = [join_path(image_folder, sample['file_name']) for sample in samples]
        report.problems += _image_problems(samples, paths, places, sizes)
    flat = _Flat(samples, places, ann_file)
    report.problems += _entry_problems(flat, max_boxes=None if test_mode else max_boxes)
    report.problems += _box_problems(flat, sizes)
    report.problems += _interaction_problems(flat)
    report.problems += _repeats(flat)
    _count(flat, report)
    return report


class _Places:
    """How to name an entry, a box and an interaction, in the words of the file's form."""

    def __init__(self, samples: Samples, content: Any, test_mode: bool) -> None:
        self._samples = samples
        self._form = type(content)
        self._matrix = f'bbox_{"test" if test_mode else "train"}'

    def entry(self, image: int) -> str:
        name = self._samples[image]['file_name']
        start = f'entry {image}'
        if self._form is dict:
            start = f'annotation[{image}]'
        elif self._form is np.ndarray:
            start = f'{self._matrix}({image + 1})'
        return f'{start} ({shown_name(name)})' if name else start

    def box(self, image: int, box: int) -> str:
        if self._form is list:
            return f'annotations[{box}].bbox'
        # boxes are merged: the first interaction that has this one
        pair, side = np.argwhere(self._samples[image]['hois'][:, :2] == box)[0]
        if self._form is dict:
            return f'{("boxes_h", "boxes_o")[side]}[{pair}]'
        return f'{("subject", "object")[side]} of pair {pair + 1}'

    def interaction(self, row: int) -> str:
        if self._form is list:
            return f'hoi_annotation[{row}]'
        return f'verb[{row}]' if self._form is dict else f'pair {row + 1}'


class _Flat:
    """All boxes and interactions of a file in one array each.

    Attributes:
        boxes: (B, 4) float32; NaN where the file has no box.
        labels: (B,) int64; -1 where unknown.
        box_image: (B,) int64, image of each box.
        first_box: (I,) int64, place of each image's first box.
        num_boxes: (I,) int64.
        hois: (M, 3) int64; verb -1 where unknown.
        hoi_image: (M,) int64, image of each interaction.
        first_hoi: (I,) int64.
        whole: (M,) bool, interactions whose boxes and verb exist.
        objects: (M,) int64, class of the object; -1 where there is none.
    """

    def __init__(self, samples: Samples, places: _Places, file: str) -> None:
        self.samples, self.places, self.file = samples, places, file
        self.boxes, self.box_image, self.first_box = _join(samples, 'boxes', (0, 4), np.float32)
        self.labels, _, _ = _join(samples, 'labels', (0,), np.int64)
        self.hois, self.hoi_image, self.first_hoi = _join(samples, 'hois', (0, 3), np.int64)
        self.num_boxes = np.bincount(self.box_image, minlength=len(samples))
        ends, limit = self.hois[:, :2], self.num_boxes[self.hoi_image, None]
        self.whole = (self.hois[:, 2] >= 0) & ((ends >= 0) & (ends < limit)).all(axis=1)
        self.objects = np.full(len(self.hois), -1)
        starts = self.first_box[self.hoi_image[self.whole]]
        self.objects[self.whole] = self.labels[starts + self.hois[self.whole, 1]]

    def box_problem(self, kind: str, box: int, detail: str, is_error: bool = True) -> Problem:
        image = int(self.box_image[box])
        field = self.places.box(image, box - int(self.first_box[image]))
        where = f'{self.places.entry(image)}, {field}'
        return Problem(kind, self.file, where, detail, is_error)

    def hoi_problem(self, kind: str, hoi: int, detail: str, is_error: bool = True) -> Problem:
        image = int(self.hoi_image[hoi])
        field = self.places.interaction(hoi - int(self.first_hoi[image]))
        where = f'{self.places.entry(image)}, {field}'
        return Problem(kind, self.file, where, detail, is_error)


def _join(
    samples: Samples, key: str, empty: tuple[int, ...], dtype: type
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of all images, the image of each, and where each image begins."""
    parts = [sample[key] for sample in samples]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    image = np.repeat(np.arange(len(parts)), lengths)
    return np.concatenate([np.zeros(empty, dtype), *parts]), image, lengths.cumsum() - lengths


def _declared_sizes(content: Any, count: int) -> np.ndarray:
    """(I, 2) float width and height as the dict form has them; NaN where there is none."""
    sizes = np.full((count, 2), np.nan)
    declared = content.get('size') if isinstance(content, dict) else None
    for i, size in enumerate(declared[:count] if isinstance(declared, list) else []):
        if isinstance(size, list) and len(size) == 2 and all(type(v) is int for v in size):
            sizes[i] = np.clip(np.array(size, dtype=object), 0, 1e9)
    return sizes


def _image_problems(
    samples: Samples, paths: Sequence[str], places: _Places, sizes: np.ndarray
) -> Iterator[Problem]:
    """Look at every image, and replace the declared sizes by those of the files."""
    named = [i for i, sample in enumerate(samples) if sample['file_name']]
    for i, result in zip(named, check_images([paths[i] for i in named]), strict=True):
        if result.size is not None:
            sizes[i] = result.size[::-1]
        for kind, detail, is_error in result.findings:
            yield Problem(kind, paths[i], places.entry(i), detail, is_error)


def _entry_problems(flat: _Flat, max_boxes: int | None) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    num_hois = np.bincount(flat.hoi_image, minlength=len(flat.samples))
    for i, sample in enumerate(flat.samples):
        name, where = sample['file_name'], flat.places.entry(i)
        if name and name in seen:
            detail = f'the same image as {flat.places.entry(seen[name])}'
            yield Problem('duplicate image', flat.file, where, detail)
        seen.setdefault(name, i)
        if num_hois[i] == 0:
            detail = f'{flat.num_boxes[i]} boxes, no interaction'
            yield Problem('image without interaction', flat.file, where, detail, False)
        if max_boxes is not None and flat.num_boxes[i] > max_boxes:
            lost = int((sample['hois'][:, :2] >= max_boxes).any(axis=1).sum())
            detail = f'{flat.num_boxes[i]}: training leaves out all behind the first {max_boxes}'
            detail += f', and {lost} interactions'
            yield Problem('many boxes', flat.file, where, detail, False)


def _box_problems(flat: _Flat, sizes: np.ndarray) -> Iterator[Problem]:
    # comparisons with NaN are false: boxes that were reported already, sizes that are not known
    x1, y1, x2, y2 = flat.boxes.T
    width, height = sizes[flat.box_image].T
    swapped = (x2 < x1) | (y2 < y1)
    flat_box = ~swapped & ((x2 == x1) | (y2 == y1))
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    beyond = (np.minimum(x1, y1) < -EDGE) | (x2 > width + EDGE) | (y2 > height + EDGE)
    kinds = (
        ('box with swapped corners', swapped, True),
        ('box without area', flat_box, True),
        ('box outside its image', outside, True),
        ('box beyond the edge', beyond & ~outside & ~swapped, False),
    )
    for kind, mask, is_error in kinds:
        for box in np.flatnonzero(mask):
            values = ', '.join(f'{v:g}' for v in flat.boxes[box])
            size = sizes[flat.box_image[box]]
            inside = '' if np.isnan(size).any() else f' in {size[0]:g} x {size[1]:g} pixels'
            yield flat.box_problem(kind, int(box), f'[{values}]{inside}', is_error)


def _interaction_problems(flat: _Flat) -> Iterator[Problem]:
    known = flat.hois[:, 2] >= 0
    for hoi in np.flatnonzero(known & ~flat.whole):
        subject, object_, _ = flat.hois[hoi]
        count = flat.num_boxes[flat.hoi_image[hoi]]
        detail = f'subject {subject} or object {object_} is outside the {count} boxes'
        yield flat.hoi_problem('bad index', int(hoi), detail)
    named = flat.objects >= 0
    impossible = named & (HOI_INDEX[flat.hois[:, 2], flat.objects] < 0)
    for hoi in np.flatnonzero(impossible):
        pair = f'{VERBS[flat.hois[hoi, 2]]} {OBJECTS[flat.objects[hoi]]}'
        detail = f'{pair} is none of the {len(HOI_VERB)} interactions'
        yield flat.hoi_problem('impossible combination', int(hoi), detail)


def _repeats(flat: _Flat) -> Iterator[Problem]:
    """Boxes and interactions that repeat an earlier one of their image, exactly or nearly."""
    for image, sample in enumerate(flat.samples):
        if len(sample['boxes']) < 2:
            continue
        near = _near(sample['boxes'], sample['labels'])
        start = int(flat.first_box[image])
        for box, other in _earlier(near):
            same = (sample['boxes'][box] == sample['boxes'][other]).all()
            kind = 'duplicate box' if same else 'near-identical box'
            detail = f'like {flat.places.box(image, other)}'
            yield flat.box_problem(kind, start + box, detail, False)
        start = int(flat.first_hoi[image])
        rows = np.flatnonzero(flat.whole[start : start + len(sample['hois'])])
        subjects, objects, verbs = sample['hois'][rows].T
        repeats = near[np.ix_(subjects, subjects)] & near[np.ix_(objects, objects)]
        repeats &= verbs[:, None] == verbs
        for i, j in _earlier(repeats):
            ends = sample['boxes'][sample['hois'][rows[[i, j]], :2]]
            kind = 'duplicate pair' if (ends[0] == ends[1]).all() else 'near-identical pair'
            detail = f'like {flat.places.interaction(int(rows[j]))}'
            yield flat.hoi_problem(kind, start + int(rows[i]), detail, False)


def _near(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, N) bool, boxes of one known class that are equal or overlap by more than ``NEAR``."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    near = shared > NEAR * (area[:, None] + area - shared)
    near |= (boxes[:, None] == boxes).all(axis=2)
    return near & (labels[:, None] == labels) & (labels >= 0)


def _earlier(repeats: np.ndarray) -> Iterator[tuple[int, int]]:
    """Each row that repeats an earlier one, with the first of these."""
    before = np.tril(repeats, -1)
    for row in np.flatnonzero(before.any(axis=1)):
        yield int(row), int(before[row].argmax())


def _count(flat: _Flat, report: Report) -> None:
    whole, verbs = flat.hois[flat.whole], flat.hois[flat.whole, 2]
    pairs = np.column_stack((flat.hoi_image[flat.whole], whole[:, :2]))
    boxes = np.isfinite(flat.boxes).all(axis=1)
    report.counts = {
        'images': len(flat.samples),
        'boxes': int(boxes.sum()),
        'pairs of boxes': len(np.unique(pairs, axis=0)),
        'interactions': len(whole),
        'of these no_interaction': int((verbs == NO_INTERACTION).sum()),
    }
    objects = flat.objects[flat.whole]
    hois = np.where(objects >= 0, HOI_INDEX[verbs, objects], -1)
    names = [f'{VERBS[v]} {OBJECTS[o]}' for v, o in zip(HOI_VERB, HOI_OBJECT, strict=True)]
    groups = (
        ('objects (boxes)', OBJECTS, flat.labels[boxes]),
        ('verbs', VERBS, verbs),
        ('interactions', names, hois),
    )
    for group, classes, values in groups:
        counts = np.bincount(values[values >= 0], minlength=len(classes))
        report.classes[group] = dict(zip(classes, counts.tolist(), strict=True))
