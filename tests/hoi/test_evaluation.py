"""The three protocols against slow readings of their published rules, one step after the other."""

import numpy as np
import pytest

from mmvl.hoi.evaluation import PROTOCOLS, ImageRecord, evaluate_triplets, object_positives
from mmvl.hoi.vocabulary import HOI_INDEX, HOI_OBJECT, HOI_VERB

BICYCLE, RIDE, HOLD = 1, 76, 36
RIDE_BICYCLE = HOI_INDEX[RIDE, BICYCLE]


def record(img_id, gt, predictions, boxes=None):
    """gt: (subject box, object box, object, verb); predictions likewise, and a score."""
    gt_boxes = [box for pair in gt for box in pair[:2]] if boxes is None else boxes
    labels = [label for pair in gt for label in (0, pair[2])] if boxes is None else [0] * len(boxes)
    hois = [[2 * i, 2 * i + 1, pair[3]] for i, pair in enumerate(gt)]
    columns = list(zip(*predictions, strict=True)) if predictions else [[]] * 5
    return ImageRecord(
        img_id,
        f'{img_id}.jpg',
        np.array(gt_boxes, dtype=np.float32).reshape(-1, 4),
        np.array(labels, dtype=np.uint8),
        np.array(hois, dtype=np.int32).reshape(-1, 3),
        np.array(columns[0], dtype=np.float32).reshape(-1, 4),
        np.array(columns[1], dtype=np.float32).reshape(-1, 4),
        np.array(columns[2], dtype=np.uint8),
        np.array(columns[3], dtype=np.uint8),
        np.array(columns[4], dtype=np.float32),
    )


def random_records(seed, integer=True):
    rng = np.random.default_rng(seed)
    hois = rng.choice(600, size=5, replace=False)

    def box():
        corner = rng.integers(0, 5, 2) if integer else rng.random(2) * 5
        extent = rng.integers(3, 12, 2) if integer else rng.random(2) * 10 + 2
        return np.concatenate((corner, corner + extent)).astype(float).tolist()

    records = []
    for i in range(int(rng.integers(2, 25))):
        chosen = rng.choice(hois, size=rng.integers(0, 4))
        gt = [(box(), box(), HOI_OBJECT[h], HOI_VERB[h]) for h in chosen]
        predictions = []
        for h in rng.choice(hois, size=rng.integers(0, 12)):
            near = gt[rng.integers(len(gt))] if gt and rng.random() < 0.8 else (box(), box())
            moved = [(np.array(b) + rng.integers(-1, 2, 4)).tolist() for b in near[:2]]
            score = rng.integers(1, 9) / 8
            predictions.append((*moved, HOI_OBJECT[h], HOI_VERB[h], score))
        records.append(record(i, gt, predictions))
    return records


def slow_iou(a, b, pixel):
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x[2] - x[0] + pixel) * (x[3] - x[1] + pixel) for x in (a, b)]
    return width * height / (areas[0] + areas[1] - width * height)


def pairs_of(record, hoi):
    """Annotated pairs and predictions of one interaction in one image."""
    boxes = record.gt_boxes.tolist()
    gt = [
        (boxes[s], boxes[o])
        for s, o, verb in record.gt_hois
        if HOI_INDEX[verb, record.gt_labels[o]] == hoi
    ]
    mine = np.flatnonzero(HOI_INDEX[record.verbs, record.object_labels] == hoi)
    found = [
        (record.scores[k], record.subject_boxes[k].tolist(), record.object_boxes[k].tolist())
        for k in mine
    ]
    return gt, found


def average(flags, num_gt):
    if not num_gt:
        return float('nan')
    recall = [sum(flags[: i + 1]) / num_gt for i in range(len(flags))]
    precision = [sum(flags[: i + 1]) / (i + 1) for i in range(len(flags))]
    # 0, 0.1, ... by steps from the nearer end, as a Matlab range and torch.linspace count.
    thresholds = [0.1 * k if k < 6 else 1 - 0.1 * (10 - k) for k in range(11)]
    best = [
        max((p for p, r in zip(precision, recall, strict=True) if r >= t), default=0.0)
        for t in thresholds
    ]
    return sum(best) / 11


def slow_official(records, hoi, positive=None):
    detections, num_gt, taken = [], 0, {}
    for i, image in enumerate(records):
        gt, found = pairs_of(image, hoi)
        num_gt += len(gt)
        taken[i] = [False] * len(gt)
        if positive is None or positive[i, HOI_OBJECT[hoi]]:
            detections += [(score, i, s, o, gt) for score, s, o in found]
    detections.sort(key=lambda d: -d[0])
    flags = []
    for _, i, subject, thing, gt in detections:
        best, choice = -np.inf, None
        for j, (gt_subject, gt_object) in enumerate(gt):
            overlap = min(slow_iou(subject, gt_subject, 1), slow_iou(thing, gt_object, 1))
            if overlap > best:
                best, choice = overlap, j
        hit = best >= 0.5 and not taken[i][choice]
        if hit:
            taken[i][choice] = True
        flags.append(int(hit))
    return average(flags, num_gt)


def slow_pocket(records, hoi):
    scored, num_gt = [], 0
    for image in records:
        gt, found = pairs_of(image, hoi)
        num_gt += len(gt)
        labels = [0] * len(found)
        claims = {}
        for k, (score, subject, thing) in enumerate(found):
            overlaps = [min(slow_iou(subject, s, 0), slow_iou(thing, o, 0)) for s, o in gt]
            if overlaps and max(overlaps) > 0.5:
                claims.setdefault(overlaps.index(max(overlaps)), []).append((-score, k))
        for rivals in claims.values():
            labels[min(rivals)[1]] = 1
        scored += [(score, label) for (score, _, _), label in zip(found, labels, strict=True)]
    scored.sort(key=lambda x: -x[0])
    return average([label for _, label in scored], num_gt)


def every_class(slow, records, *args):
    """A class that the annotation does not have is NaN without looking further."""
    labels = [HOI_INDEX[r.gt_hois[:, 2], r.gt_labels[r.gt_hois[:, 1]]] for r in records]
    expected = np.full(600, np.nan)
    for hoi in np.unique(np.concatenate(labels)):
        expected[hoi] = slow(records, hoi, *args)
    return expected


@pytest.mark.parametrize('seed', range(12))
def test_official_equals_its_six_steps(seed):
    records = random_records(seed)
    results = evaluate_triplets(records, PROTOCOLS['official'])
    expected = every_class(slow_official, records)
    np.testing.assert_allclose(results.ap, expected, rtol=0, atol=1e-14)
    assert np.nanmax(results.ap) > 0


@pytest.mark.parametrize('seed', range(12))
def test_pocket_equals_its_rules(seed):
    records = random_records(seed, integer=False)
    results = evaluate_triplets(records, PROTOCOLS['pocket'])
    expected = every_class(slow_pocket, records)
    np.testing.assert_allclose(results.ap, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize('seed', range(12))
def test_known_object_never_lowers_a_class(seed):
    records = random_records(seed)
    positive = object_positives(records)
    default = evaluate_triplets(records, PROTOCOLS['official'])
    known = evaluate_triplets(records, PROTOCOLS['official'], positive)
    has_gt = default.num_gt > 0
    assert (known.ap[has_gt] >= default.ap[has_gt]).all()
    assert np.array_equal(known.max_recall[has_gt], default.max_recall[has_gt])
    expected = every_class(slow_official, records, positive)
    np.testing.assert_allclose(known.ap, expected, rtol=0, atol=1e-14)


def test_object_positives_follow_the_annotated_pairs():
    images = [record(0, [([0, 0, 9, 9], [0, 0, 9, 9], BICYCLE, RIDE)], []), record(1, [], [])]
    positive = object_positives(images)
    assert np.argwhere(positive).tolist() == [[0, BICYCLE]]


SQUARE = [0.0, 0.0, 9.0, 9.0]


def ap_of(images, protocol):
    results = evaluate_triplets(images, PROTOCOLS[protocol])
    return float(results.ap[np.flatnonzero(results.hois == RIDE_BICYCLE)[0]])


def test_second_prediction_of_a_pair_is_false_and_gets_no_second_choice():
    gt = [(SQUARE, SQUARE, BICYCLE, RIDE), ([3.0, 0.0, 12.0, 9.0], SQUARE, BICYCLE, RIDE)]
    twice = [(SQUARE, SQUARE, BICYCLE, RIDE, s) for s in (0.9, 0.8)]
    for protocol in PROTOCOLS:
        assert ap_of([record(0, gt, twice)], protocol) == pytest.approx(6 / 11)


def test_half_overlap_matches_only_where_half_is_enough():
    # 10 x 5 of 10 x 10 pixels; in continuous coordinates 10 x 5 of 10 x 10.
    pixels = record(
        0,
        [(SQUARE, SQUARE, BICYCLE, RIDE)],
        [([0.0, 0.0, 9.0, 4.0], SQUARE, BICYCLE, RIDE, 0.9)],
    )
    assert ap_of([pixels], 'qpic') == ap_of([pixels], 'official') == pytest.approx(1)
    whole = [0.0, 0.0, 10.0, 10.0]
    continuous = record(
        0,
        [(whole, whole, BICYCLE, RIDE)],
        [([0.0, 0.0, 10.0, 5.0], whole, BICYCLE, RIDE, 0.9)],
    )
    assert ap_of([continuous], 'pocket') == 0


def test_first_of_equal_annotated_pairs_is_taken():
    # The better prediction overlaps both alike; only the first pair is left out for the other one.
    left, right = [0.0, 0.0, 9.0, 9.0], [4.0, 0.0, 13.0, 9.0]
    gt = [(left, SQUARE, BICYCLE, RIDE), (right, SQUARE, BICYCLE, RIDE)]
    between = ([2.0, 0.0, 11.0, 9.0], SQUARE, BICYCLE, RIDE, 0.9)
    for order, expected in ((gt, 6 / 11), (gt[::-1], 1.0)):
        images = [record(0, order, [between, (left, SQUARE, BICYCLE, RIDE, 0.8)])]
        for protocol in PROTOCOLS:
            assert ap_of(images, protocol) == pytest.approx(expected)


def test_boxes_of_one_pixel_column_overlap_only_in_the_official_code():
    column = [5.0, 0.0, 5.0, 9.0]
    images = [record(0, [(column, SQUARE, BICYCLE, RIDE)], [(column, SQUARE, BICYCLE, RIDE, 0.9)])]
    assert ap_of(images, 'official') == pytest.approx(1)
    assert ap_of(images, 'qpic') == ap_of(images, 'pocket') == 0


def test_qpic_rounds_overlaps_to_single_precision():
    # 42.6 of 85.2 pixel columns: 0.5 in double, 0.49999997 in single precision.
    whole, half = [0.0, 0.0, 84.2, 80.8], [0.0, 0.0, 41.6, 80.8]
    images = [record(0, [(whole, whole, BICYCLE, RIDE)], [(half, whole, BICYCLE, RIDE, 0.9)])]
    assert ap_of(images, 'qpic') == 0
    assert ap_of(images, 'official') == pytest.approx(1)


def test_recall_on_the_grid_depends_on_how_the_grid_was_made():
    # Six of ten pairs found: recall 0.6 lies below the stepped threshold 0.6000000000000001.
    gt = [(SQUARE, SQUARE, BICYCLE, RIDE)]
    hit = [(SQUARE, SQUARE, BICYCLE, RIDE, 0.9)]
    images = [record(i, gt, hit if i < 6 else []) for i in range(10)]
    assert ap_of(images, 'qpic') == pytest.approx(6 / 11)
    assert ap_of(images, 'official') == pytest.approx(7 / 11)


def test_images_without_annotation_count_except_in_qpic():
    gt = [(SQUARE, SQUARE, BICYCLE, RIDE)]
    images = [
        record(0, gt, [(SQUARE, SQUARE, BICYCLE, RIDE, 0.5)]),
        record(1, [], [(SQUARE, SQUARE, BICYCLE, RIDE, 0.9)]),
    ]
    assert ap_of(images, 'qpic') == pytest.approx(1)
    assert ap_of(images, 'official') == ap_of(images, 'pocket') == pytest.approx(0.5)
    boxed = record(1, [], [(SQUARE, SQUARE, BICYCLE, RIDE, 0.9)], boxes=[SQUARE])
    assert ap_of([images[0], boxed], 'qpic') == pytest.approx(0.5)


def test_classes_without_predictions_or_truth():
    gt = [(SQUARE, SQUARE, BICYCLE, RIDE), (SQUARE, SQUARE, BICYCLE, HOLD)]
    images = [record(0, gt, [(SQUARE, SQUARE, BICYCLE, RIDE, 0.5)])]
    official = evaluate_triplets(images, PROTOCOLS['official'])
    assert official.ap[HOI_INDEX[HOLD, BICYCLE]] == 0
    assert np.isnan(official.ap).sum() == 598
    assert official.num_predictions.sum() == 1
    qpic = evaluate_triplets(images, PROTOCOLS['qpic'])
    assert qpic.hois.tolist() == [RIDE_BICYCLE, HOI_INDEX[HOLD, BICYCLE]]


def test_no_images():
    with pytest.raises(ValueError, match='no images'):
        evaluate_triplets([], PROTOCOLS['qpic'])
