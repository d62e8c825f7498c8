"""Metrics of referring video segmentation, against values worked out by hand."""

import pytest
import torch

from mmvl.video.metrics import JFMetric, SentenceSegMetric
from mmvl.video.structures import ClipDataSample


def rows(*filled, height=10, width=10):
    """Masks (len(filled), height, width) whose first rows are set."""
    masks = torch.zeros(len(filled), height, width, dtype=torch.bool)
    for mask, number in zip(masks, filled, strict=True):
        mask[:number] = True
    return masks


def clip(name, pred, truth):
    sample = ClipDataSample(metainfo=dict(video_id=name, exp_id='0', image_id=None))
    sample.pred_masks, sample.ori_masks = pred, truth
    return sample.to_dict()


def sentence(name, truth, *queries, image_id=None):
    """Queries are pairs of the number of rows and the score."""
    sample = ClipDataSample(metainfo=dict(video_id=name, exp_id='0', image_id=image_id or name))
    sample.ori_masks = rows(truth)
    sample.query_masks = rows(*(number for number, _ in queries))
    sample.query_scores = torch.tensor([float(score) for _, score in queries])
    return sample.to_dict()


def evaluate(metric, samples):
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def test_j_is_the_mean_over_frames_then_over_expressions():
    """One video of four frames, J 1, 1, 0.5, 0.5; one of a single frame, J 0."""
    long = clip('a', rows(4, 4, 2, 2), rows(4, 4, 4, 4))
    short = clip('b', rows(0), rows(3))
    results = evaluate(JFMetric(), [long, short])
    assert results['J'] == pytest.approx(100 * (0.75 + 0) / 2)
    assert results['J&F'] == pytest.approx((results['J'] + results['F']) / 2)


def test_truth_as_prediction_and_absent_referent():
    assert evaluate(JFMetric(), [clip('a', rows(4, 0), rows(4, 0))]) == {
        'J&F': 100,
        'J': 100,
        'F': 100,
    }
    assert evaluate(JFMetric(), [clip('a', rows(4, 2), rows(4, 0))])['J'] == 50


def test_an_expression_counts_once_in_any_order():
    samples = [
        clip(name, rows(number), rows(5)) for name, number in zip('abc', (1, 2, 3), strict=False)
    ]
    assert evaluate(JFMetric(), [*samples, samples[0]]) == evaluate(JFMetric(), samples[::-1])


def test_masks_must_agree():
    with pytest.raises(ValueError, match=r'a/0/None: masks of \(1, 10, 10\) predicted'):
        JFMetric().process(None, [clip('a', rows(1), rows(1, 1))])
    sample = clip('a', rows(1), rows(1))
    del sample['pred_masks']
    with pytest.raises(KeyError, match='no pred_masks'):
        JFMetric().process(None, [sample])


def test_best_query_decides():
    """The second query is best; its IoU is 4 / 8."""
    results = evaluate(SentenceSegMetric(), [sentence('a', 8, (8, 0.2), (4, 0.9), (1, 0.1))])
    assert results['mIoU'] == results['oIoU'] == pytest.approx(50)


def test_of_tied_queries_the_last_one_is_taken():
    results = evaluate(SentenceSegMetric(), [sentence('a', 8, (8, 0.5), (2, 0.5), (4, 0.1))])
    assert results['oIoU'] == pytest.approx(25)


def test_overall_iou_is_of_areas():
    """IoU 2 / 4 and 5 / 5: mean 0.75, overall 7 / 9."""
    results = evaluate(SentenceSegMetric(), [sentence('a', 4, (2, 1)), sentence('b', 5, (5, 1))])
    assert results['mIoU'] == pytest.approx(75, abs=1e-5)
    assert results['oIoU'] == pytest.approx(700 / 9)


@pytest.mark.parametrize(
    ('rows_found', 'k', 'counts'),
    [(5, 0.5, False), (6, 0.6, True), (7, 0.7, False), (8, 0.8, True), (9, 0.9, False)],
)
def test_exact_ties_fall_as_in_the_released_code(rows_found, k, counts):
    """More than k is asked; 0.6 and 0.8 are a little more in float32, 0.7 and 0.9 a little less."""
    results = evaluate(SentenceSegMetric(), [sentence('a', 10, (rows_found, 1))])
    assert results[f'P@{k}'] == (100 if counts else 0)


def test_average_precision():
    """Precision 1 where the better of two queries is right, a half where it is wrong."""
    right_first = evaluate(SentenceSegMetric(), [sentence('a', 8, (8, 0.9), (1, 0.1))])
    assert [right_first[key] for key in ('mAP', 'AP50', 'AP75')] == pytest.approx([100] * 3)
    wrong_first = evaluate(SentenceSegMetric(), [sentence('a', 8, (8, 0.1), (1, 0.9))])
    assert wrong_first['mAP'] == pytest.approx(50)
    # IoU 0.8: a hit at 0.50 to 0.80, seven of ten thresholds
    assert evaluate(SentenceSegMetric(), [sentence('a', 10, (8, 0.9))])['mAP'] == pytest.approx(70)
    assert right_first['AP_small'] == pytest.approx(100) and right_first['AP_large'] == -1


def test_two_halves_equal_the_whole():
    samples = [
        sentence(name, truth, (found, score), (truth, 1 - score))
        for name, truth, found, score in [('a', 8, 5, 0.9), ('b', 3, 3, 0.4), ('c', 9, 2, 0.7)]
    ]
    whole = evaluate(SentenceSegMetric(), samples)
    parts = [SentenceSegMetric() for _ in range(2)]
    parts[0].process(None, samples[2:])
    parts[1].process(None, samples[:2] + samples[2:])
    assert parts[0].compute_metrics(parts[0].results + parts[1].results) == whole
