"""Average precision of HICO-DET under three published protocols, as plain numpy functions.

Letters in shapes: N boxes, M annotated triplets, K predicted triplets of an image; I images; C
classes; P predictions of all images. Boxes are xyxy in pixels of the original image; annotation
and predictions only have to share one origin.

Equal scores keep their input order (by image, then by rank inside the image) in every sort, so
results do not depend on the processor; the released evaluators leave ties to chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from .vocabulary import HOI_INDEX, OBJECTS, VERBS

_IMAGES_PER_BLOCK = 256  # bounds the temporaries, not the result
# A triplet's code is (subject * 80 + object) * 117 + verb; the subject of an HOI is person, 0.
_HOI_OF_CODE = HOI_INDEX.T.ravel()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What an evaluation needs to know of one image.

    ``gt_boxes`` (N, 4) float32, ``gt_labels`` (N,) uint8 COCO-80, ``gt_hois`` (M, 3) int32 with
    subject index, object index and verb; ``subject_boxes``, ``object_boxes`` (K, 4) float32,
    ``object_labels``, ``verbs`` (K,) uint8, ``scores`` (K,) float32.
    """

    img_id: int
    file_name: str
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    gt_hois: np.ndarray
    subject_boxes: np.ndarray
    object_boxes: np.ndarray
    object_labels: np.ndarray
    verbs: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Protocol:
    """The choices in which the published evaluators differ.

    Attributes:
        dtype: precision of the overlaps.
        pixel: 1 where a box includes its last pixel, 0 for continuous coordinates.
        empty_gap: boxes whose intersection is not larger than this (before adding ``pixel``) in
            either direction do not overlap.
        strict: whether the smaller overlap of a pair must exceed 0.5 rather than reach it.
        recalls: (11,) float64 recall thresholds.
        annotated_only: classes are the (subject, object, verb) triplets that the annotation
            contains, and predictions of images without annotated boxes do not count. Otherwise
            classes are the 600 interactions and every image counts.
    """

    dtype: type[np.floating]
    pixel: float
    empty_gap: float
    strict: bool
    recalls: np.ndarray
    annotated_only: bool


# Both step from 0 by 0.1; the second counts its upper half down from 1, as a Matlab range and
# torch.linspace do. In the first 0.3, 0.6 and 0.7 lie a rounding error above their decimal value,
# in the second only 0.3: a recall of exactly 6/10 reaches the threshold 0.6 only there.
_STEPPED = np.arange(0.0, 1.1, 0.1)
_MIRRORED = np.concatenate((np.arange(6) * 0.1, 1 - np.arange(4, -1, -1) * 0.1))

PROTOCOLS: Final[dict[str, Protocol]] = {
    'qpic': Protocol(np.float32, 1.0, 0.0, False, _STEPPED, annotated_only=True),
    'official': Protocol(np.float64, 1.0, -1.0, False, _MIRRORED, annotated_only=False),
    'pocket': Protocol(np.float32, 0.0, 0.0, True, _MIRRORED, annotated_only=False),
}
"""``qpic``: the Python evaluator of QPIC, CDN and EoID; ``official``: the Matlab code of HICO-DET
(Chao et al. 2018); ``pocket``: the evaluator of UPT."""


@dataclass(frozen=True)
class ClassResults:
    """One row a class, in the order in which the protocol averages them.

    Attributes:
        hois: (C,) int64 HOI ids; -1 for an annotated triplet that is none of the 600.
        ap: (C,) float64 in 0-1; NaN for a class without ground truth.
        max_recall: (C,) float64 in 0-1, recall of all predictions; NaN as above.
        num_gt: (C,) int64.
        num_predictions: (C,) int64, predictions that were counted.
    """

    hois: np.ndarray
    ap: np.ndarray
    max_recall: np.ndarray
    num_gt: np.ndarray
    num_predictions: np.ndarray


class _GroundTruth(NamedTuple):
    """Annotated pairs that belong to a class, sorted by (image, class), annotation order inside."""

    keys: np.ndarray  # image * C + class
    subject_boxes: np.ndarray
    object_boxes: np.ndarray


class _Classes(NamedTuple):
    of_pair: np.ndarray  # annotated pair -> class, -1 for none
    of_prediction: np.ndarray  # (object, verb) code -> class, -1 for none
    hois: np.ndarray
    num_gt: np.ndarray


def evaluate_triplets(
    records: Sequence[ImageRecord],
    protocol: Protocol,
    positive_objects: np.ndarray | None = None,
) -> ClassResults:
    """Average precision of every class.

    Per image and class, predictions in descending score take the annotated pair with the largest
    smaller-of-two overlaps (the first of equals); a taken or insufficient one makes a false
    positive, with no second choice. AP is the mean over 11 recalls of the best precision at that
    recall or beyond.

    Args:
        records: the I images, in the order that decides ties.
        protocol: an entry of :data:`PROTOCOLS`.
        positive_objects: (I, 80) bool for the Known Object setting: predictions of an object count
            in its positive images only. None counts all.

    Raises:
        ValueError: there are no records.

    Source: Chao et al. 2018 and the released evaluator of QPIC, of which ``qpic`` is an exact
        replacement, summation order included.
    """
    if not records:
        raise ValueError('there are no images to evaluate; did the data loader yield any?')
    image, codes, subjects, objects = _annotated_pairs(records)
    classes = _annotated_classes(codes) if protocol.annotated_only else _all_classes(codes)
    pairs = np.flatnonzero(classes.of_pair >= 0)
    keys = image[pairs] * len(classes.hois) + classes.of_pair[pairs]
    order = np.argsort(keys, kind='stable')
    pairs = pairs[order]
    truth = _GroundTruth(keys[order], subjects[pairs], objects[pairs])
    blocks = list(_match_blocks(records, truth, classes, protocol, positive_objects))
    labels, scores, hits = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    order = np.lexsort((-scores, labels))
    return _average(labels[order], hits[order], classes, protocol.recalls)


def object_positives(records: Sequence[ImageRecord]) -> np.ndarray:
    """(I, 80) bool: the image has an annotated pair of one of the object's interactions.

    Stands in for the image-level labels of the Known Object setting; a little smaller than them,
    because invisible pairs have no boxes. Source: ConsNet's evaluator.
    """
    positive = np.zeros((len(records), len(OBJECTS)), dtype=bool)
    for i, record in enumerate(records):
        labels = record.gt_labels[record.gt_hois[:, 1]]
        positive[i, labels[HOI_INDEX[record.gt_hois[:, 2], labels] >= 0]] = True
    return positive


def _annotated_pairs(
    records: Sequence[ImageRecord],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image (A,), triplet code (A,), subject and object boxes (A, 4) of all A annotated pairs."""
    counts = np.array([len(r.gt_hois) for r in records], dtype=np.int64)
    offsets = np.cumsum([0, *(len(r.gt_boxes) for r in records)])[:-1]
    image = np.repeat(np.arange(len(records)), counts)
    hois = np.concatenate([r.gt_hois for r in records]).astype(np.int64)
    boxes = np.concatenate([r.gt_boxes for r in records])
    labels = np.concatenate([r.gt_labels for r in records]).astype(np.int64)
    subject, object_ = hois[:, 0] + offsets[image], hois[:, 1] + offsets[image]
    codes = (labels[subject] * len(OBJECTS) + labels[object_]) * len(VERBS) + hois[:, 2]
    return image, codes, boxes[subject], boxes[object_]


def _annotated_classes(codes: np.ndarray) -> _Classes:
    """One class for every triplet code of the annotation."""
    present, first, of_pair, num_gt = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    # The mean is a floating sum: it has to run in the order of first appearance.
    order = np.argsort(first)
    of_pair = np.argsort(order)[of_pair]
    present, num_gt = present[order], num_gt[order]
    hois = np.full(len(present), -1, dtype=np.int64)
    person = np.flatnonzero(present < _HOI_OF_CODE.size)
    hois[person] = _HOI_OF_CODE[present[person]]
    of_prediction = np.full(_HOI_OF_CODE.size, -1, dtype=np.int64)
    of_prediction[present[person]] = person
    return _Classes(of_pair, of_prediction, hois, num_gt)


def _all_classes(codes: np.ndarray) -> _Classes:
    """One class for every HOI; annotated pairs that are no HOI belong to none."""
    of_pair = np.full(len(codes), -1, dtype=np.int64)
    person = codes < _HOI_OF_CODE.size
    of_pair[person] = _HOI_OF_CODE[codes[person]]
    hois = np.arange(_HOI_OF_CODE.max() + 1)
    num_gt = np.bincount(of_pair[of_pair >= 0], minlength=len(hois))
    return _Classes(of_pair, _HOI_OF_CODE, hois, num_gt)


def _match_blocks(
    records: Sequence[ImageRecord],
    truth: _GroundTruth,
    classes: _Classes,
    protocol: Protocol,
    positive_objects: np.ndarray | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Class (int16), score (float32) and true-positive flag of the predictions, block by block."""
    for start in range(0, len(records), _IMAGES_PER_BLOCK):
        block = records[start : start + _IMAGES_PER_BLOCK]
        image = np.repeat(np.arange(start, start + len(block)), [len(r.scores) for r in block])
        objects = np.concatenate([r.object_labels for r in block]).astype(np.int64)
        codes = objects * len(VERBS) + np.concatenate([r.verbs for r in block])
        counted = classes.of_prediction[codes] >= 0
        if protocol.annotated_only:
            annotated = np.array([len(r.gt_boxes) > 0 for r in block])
            counted &= annotated[image - start]
        if positive_objects is not None:
            counted &= positive_objects[image, objects]
        scores = np.concatenate([r.scores for r in block])
        order = np.lexsort((-scores, image))
        order = order[counted[order]]
        labels = classes.of_prediction[codes[order]]
        keys = image[order] * len(classes.hois) + labels
        subjects = np.concatenate([r.subject_boxes for r in block])[order]
        objects_ = np.concatenate([r.object_boxes for r in block])[order]
        hits = _match(keys, subjects, objects_, truth, protocol)
        yield labels.astype(np.int16), scores[order], hits


def _match(
    keys: np.ndarray,
    subjects: np.ndarray,
    objects: np.ndarray,
    truth: _GroundTruth,
    protocol: Protocol,
) -> np.ndarray:
    """True positives (P,) bool among P predictions of whole images, best first in each image."""
    low = np.searchsorted(truth.keys, keys, side='left')
    count = np.searchsorted(truth.keys, keys, side='right') - low
    prediction = np.repeat(np.arange(len(keys)), count)
    ends = np.cumsum(count)
    pair = np.arange(len(prediction)) - np.repeat(ends - count - low, count)
    overlap = np.minimum(
        _overlap(truth.subject_boxes[pair], subjects[prediction], protocol),
        _overlap(truth.object_boxes[pair], objects[prediction], protocol),
    )
    enough = overlap > 0.5 if protocol.strict else overlap >= 0.5
    prediction, pair, overlap = prediction[enough], pair[enough], overlap[enough]
    best = np.lexsort((pair, -overlap, prediction))
    prediction, pair = prediction[best], pair[best]
    matched, choice = np.unique(prediction, return_index=True)
    _, winner = np.unique(pair[choice], return_index=True)
    hits = np.zeros(len(keys), dtype=bool)
    hits[matched[winner]] = True
    return hits


def _overlap(truth: np.ndarray, boxes: np.ndarray, protocol: Protocol) -> np.ndarray:
    """IoU (A,) of aligned (A, 4) boxes in the arithmetic of the protocol."""
    truth, boxes = truth.astype(protocol.dtype), boxes.astype(protocol.dtype)
    extent = truth[:, 2:] - truth[:, :2] + protocol.pixel
    other = boxes[:, 2:] - boxes[:, :2] + protocol.pixel
    gap = np.minimum(truth[:, 2:], boxes[:, 2:]) - np.maximum(truth[:, :2], boxes[:, :2])
    shared = gap + protocol.pixel
    inter = shared[:, 0] * shared[:, 1]
    total = extent[:, 0] * extent[:, 1] + other[:, 0] * other[:, 1]
    with np.errstate(divide='ignore', invalid='ignore'):
        iou = inter / (total - inter)
    iou[(gap <= protocol.empty_gap).any(axis=1)] = 0
    return iou


def _average(
    labels: np.ndarray, hits: np.ndarray, classes: _Classes, recalls: np.ndarray
) -> ClassResults:
    """Reduce predictions sorted by (class, descending score) to one row a class."""
    bounds = np.searchsorted(labels, np.arange(len(classes.hois) + 1))
    ap = np.where(classes.num_gt > 0, 0.0, np.nan)
    max_recall = ap.copy()
    for i in np.flatnonzero((classes.num_gt > 0) & (np.diff(bounds) > 0)):
        found = np.cumsum(hits[bounds[i] : bounds[i + 1]])
        recall = found / classes.num_gt[i]
        precision = found / np.arange(1, len(found) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.append(envelope, 0.0)[np.searchsorted(recall, recalls)]
        for value in reached / len(recalls):
            ap[i] += value
        max_recall[i] = recall[-1]
    return ClassResults(classes.hois, ap, max_recall, classes.num_gt, np.diff(bounds))
