"""Metrics against values worked out by hand, and against pycocotools and torchvision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from pycocotools import mask as coco
from torchvision.ops import box_iou

from mmvl.grounding.metrics import PhraseGroundingMetric, RECMetric, RESMetric
from mmvl.registry import METRICS
from mmvl.structures import ReferringDataSample


def boxes(sent_id, pred, truth):
    fields = {'pred_box': torch.as_tensor(pred), 'ori_box': torch.as_tensor(truth)}
    return ReferringDataSample(metainfo={'sent_id': sent_id}, **fields)


def pixels(sent_id, truth, pred, size=10, names=('ori_mask', 'pred_mask')):
    """Masks of one row, given by the columns where they start and end."""
    sample = ReferringDataSample(metainfo={'sent_id': sent_id, 'img_path': 'a.jpg'})
    for name, (start, end) in zip(names, (truth, pred), strict=True):
        mask = torch.zeros(1, size, dtype=torch.bool)
        mask[0, start:end] = True
        setattr(sample, name, mask)
    return sample


def evaluate(metric, samples):
    metric.process(None, [sample.to_dict() for sample in samples])
    return metric.compute_metrics(metric.results)


TRUTH = [0.0, 0.0, 2.0, 1.0]
REC = [
    boxes(3, [0.0, 0.0, 1.0, 1.0], TRUTH),  # half of it, exactly
    boxes(1, [0.0, 0.0, 0.999, 1.0], TRUTH),
    boxes(7, [0.5, 0.0, 2.5, 1.0], TRUTH),  # 1.5 of 2.5
    boxes(5, [5.0, 5.0, 6.0, 6.0], TRUTH),
]


def test_rec_by_hand():
    assert evaluate(RECMetric(), REC) == {'acc': 50.0}
    assert evaluate(RECMetric(threshold=0.6), REC) == {'acc': 25.0}
    assert math.isnan(evaluate(RECMetric(), [])['acc'])


def test_boxes_are_continuous():
    """With a pixel added to width and height, 2 of 3 pixels would be right."""
    assert evaluate(RECMetric(), [boxes(0, [0.0, 0.0, 0.9, 1.0], TRUTH)]) == {'acc': 0.0}


@pytest.mark.parametrize(
    'pred', [[1.0, 1.0, 1.0, 1.0], [float('nan')] * 4, [2.0, 1.0, 0.0, 0.0], [float('inf')] * 4]
)
def test_a_prediction_without_area_is_wrong(pred):
    assert evaluate(RECMetric(), [boxes(0, pred, TRUTH)]) == {'acc': 0.0}


def test_a_truth_without_area_cannot_be_found():
    point = [4.0, 4.0, 4.0, 4.0]
    assert evaluate(RECMetric(), [boxes(0, point, point)]) == {'acc': 0.0}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rec_equals_torchvision_and_pycocotools(seed):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 30, (2, 40, 2)), rng.uniform(1, 40, (2, 40, 2))
    xyxy = torch.from_numpy(np.concatenate((corner, corner + size), -1)).float()
    acc = evaluate(RECMetric(), [boxes(i, *pair) for i, pair in enumerate(xyxy.unbind(1))])
    xyxy = xyxy.double()
    iou = box_iou(*xyxy).diagonal()
    assert acc['acc'] == pytest.approx(100 * (iou >= 0.5).double().mean())
    xywh = torch.cat((xyxy[..., :2], xyxy[..., 2:] - xyxy[..., :2]), -1).numpy()
    np.testing.assert_allclose(np.diagonal(coco.iou(*xywh, [False] * 40)), iou, rtol=1e-9)


# intersection and union: 5 of 10, 6 of 10, 0 of 5, 9 of 10, nothing at all
RES = [
    pixels(10, (0, 10), (0, 5)),
    pixels(20, (0, 8), (2, 10)),
    pixels(30, (0, 5), (0, 0)),
    pixels(40, (0, 9), (0, 10)),
]
NOTHING = pixels(50, (0, 0), (0, 0))


def test_res_by_hand():
    assert evaluate(RESMetric(), RES) == pytest.approx(
        {
            'mIoU': 100 * (0.5 + 0.6 + 0 + 0.9) / 4,
            'oIoU': 100 * 20 / 35,
            'Pr@0.5': 75.0,
            'Pr@0.6': 50.0,
            'Pr@0.7': 25.0,
            'Pr@0.8': 25.0,
            'Pr@0.9': 25.0,
        }
    )


def test_strictly_greater():
    results = evaluate(RESMetric(comparison='>'), RES)
    assert [results[f'Pr@{x}'] for x in (0.5, 0.6, 0.7, 0.8, 0.9)] == [50.0, 25.0, 25.0, 25.0, 0.0]


def test_as_vg_law_prints_it():
    """Nothing of nothing is all of it; the epsilon is too small to make a half more than that."""
    samples = [
        pixels(i, truth, pred, names=('gt_mask', 'pred_square_mask'))
        for i, (truth, pred) in enumerate([((0, 10), (0, 5)), ((0, 0), (0, 0)), ((0, 9), (0, 10))])
    ]
    metric = RESMetric(space='square', comparison='>', eps=1e-10, average_precision=True)
    results = evaluate(metric, samples)
    assert metric.prefix == 'res_square'
    assert results['mIoU'] == pytest.approx(100 * (0.5 + 1 + 0.9) / 3)
    assert results['Pr@0.5'] == pytest.approx(100 * 2 / 3)
    # 1 at all ten thresholds; 0.5 at none; 0.9 at the eight below it
    assert results['AP'] == pytest.approx(100 * (10 + 0 + 8) / 30)


def test_as_mttr_prints_it():
    """IoU of 0.5 to 0.9 exactly, and 5 pixels of 10: MTTR's metrics.py printed these numbers.

    In single precision 0.6 and 0.8 are a little more than that, 0.7 and 0.9 a little less.
    """
    samples = [pixels(i, (0, 1000), (0, 100 * i), size=1000) for i in range(5, 10)]
    results = evaluate(
        RESMetric(comparison='>', eps=1e-6), [*samples, pixels(1, (0, 10), (0, 5), size=1000)]
    )
    assert results == pytest.approx(
        {
            'mIoU': 66.66666766,
            'oIoU': 69.96007984,
            'Pr@0.5': 500 / 6,
            'Pr@0.6': 400 / 6,
            'Pr@0.7': 200 / 6,
            'Pr@0.8': 200 / 6,
            'Pr@0.9': 0.0,
        },
        rel=1e-9,
    )


def test_average_precision_is_strict():
    results = evaluate(RESMetric(average_precision=True), RES)
    # 0.6 at 0.5 and 0.55, 0.9 at 0.5 to 0.85
    assert results['AP'] == pytest.approx(100 * (2 + 8) / 40)


@pytest.mark.parametrize(('options', 'mean'), [({}, 100.0), ({'empty_union': 0.0}, 0.0)])
def test_nothing_said_where_nothing_is(options, mean):
    results = evaluate(RESMetric(**options), [NOTHING])
    assert results['mIoU'] == results['Pr@0.5'] == mean
    assert math.isnan(results['oIoU'])


def test_a_prediction_where_nothing_is():
    for options in ({}, {'empty_union': 0.0}):
        results = evaluate(RESMetric(**options), [pixels(0, (0, 0), (0, 3))])
        assert results['mIoU'] == results['oIoU'] == 0.0


def test_thresholds_are_met_exactly():
    """7 of 10 is 0.7 and not a little less."""
    for count in (5, 6, 7, 8, 9):
        sample = pixels(0, (0, 10), (0, count))
        assert evaluate(RESMetric(), [sample])[f'Pr@0.{count}'] == 100.0
        assert evaluate(RESMetric(comparison='>'), [sample])[f'Pr@0.{count}'] == 0.0


def random_samples():
    rng = np.random.default_rng(0)
    samples = []
    for i in range(60):
        height, width = rng.integers(5, 40, 2)
        truth = rng.random((height, width)) < rng.uniform()
        pred = truth ^ (rng.random((height, width)) < rng.uniform(0, 0.5))
        corner, size = rng.uniform(0, 20, 2), rng.uniform(6, 12, 2)
        truth_box = torch.from_numpy(np.concatenate((corner, corner + size))).float()
        pred_box = truth_box + torch.from_numpy(rng.normal(0, 1.5, 4)).float()
        sample = boxes(int(rng.permutation(1000)[0]) * 60 + i, pred_box, truth_box)
        sample.ori_mask, sample.pred_mask = torch.from_numpy(truth), torch.from_numpy(pred)
        samples.append(sample)
    return samples


def test_random_masks_equal_pycocotools():
    samples = random_samples()
    codes = [
        [
            coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            for mask in (sample.pred_mask, sample.ori_mask)
        ]
        for sample in samples
    ]
    iou = np.array([coco.iou([pred], [truth], [False])[0, 0] for pred, truth in codes])
    results = evaluate(RESMetric(), samples)
    assert results['mIoU'] == pytest.approx(100 * iou.mean(), rel=1e-9)
    for x in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert results[f'Pr@{x}'] == pytest.approx(100 * (iou >= x).mean())


@pytest.mark.parametrize('make', [RECMetric, RESMetric, PhraseGroundingMetric])
def test_repeats_and_order_change_no_bit(make):
    samples = random_samples()
    expected = evaluate(make(), samples)
    # what two processes with a padding sampler deliver: odd ones out, shuffled, some twice
    assert all(0 < value < 95 for value in expected.values())
    order = np.random.default_rng(1).permutation([*range(60), *range(0, 60, 7), 3, 3])
    assert evaluate(make(), [samples[i] for i in order]) == expected


@pytest.mark.parametrize('repeated', [0, 2])
def test_a_repeat_counts_once(repeated):
    assert evaluate(RECMetric(), [*REC, REC[repeated]]) == {'acc': 50.0}


def test_names_through_the_evaluator():
    configs = [{'type': 'RECMetric'}, {'type': 'RESMetric'}]
    configs.append({'type': 'PhraseGroundingMetric', 'protocol': 'merged'})
    evaluator = Evaluator([METRICS.build(config) for config in configs])
    evaluator.process(random_samples())
    assert list(evaluator.evaluate(60)) == [
        'rec/acc',
        *(f'res/{name}' for name in ('mIoU', 'oIoU')),
        *(f'res/Pr@0.{digit}' for digit in range(5, 10)),
        'phrase/recall@1_merged',
    ]


def test_a_missing_mask_is_named():
    sample = boxes(0, TRUTH, TRUTH)
    sample.pred_mask = torch.zeros(2, 2, dtype=torch.bool)
    with pytest.raises(KeyError, match=r'no ori_mask.*original_mask=True'):
        evaluate(RESMetric(), [sample])


def test_a_mask_of_another_size_is_refused():
    sample = pixels(0, (0, 3), (0, 3))
    sample.pred_mask = torch.zeros(5, 10, dtype=torch.bool)
    with pytest.raises(ValueError, match='different size'):
        evaluate(RESMetric(), [sample])


def test_phrases_with_several_boxes():
    """Two people: either of them for one protocol, the box around both for the other."""
    two = torch.tensor([[0.0, 0.0, 2.0, 2.0], [6.0, 0.0, 8.0, 2.0]])
    one, both = [6.0, 0.0, 8.0, 2.0], [0.0, 0.0, 8.0, 2.0]
    samples = [boxes(i, pred, both) for i, pred in enumerate([one, both, one])]
    for sample in samples:
        sample.ori_boxes = two
    assert evaluate(PhraseGroundingMetric('any'), samples) == pytest.approx(
        {'recall@1_any': 200 / 3}
    )
    assert evaluate(PhraseGroundingMetric('merged'), samples) == pytest.approx(
        {'recall@1_merged': 100 / 3}
    )
    alone = [boxes(0, one, one)]
    assert evaluate(PhraseGroundingMetric(), alone) == {'recall@1_any': 100.0}


@pytest.mark.parametrize(
    ('make', 'options'),
    [
        (RESMetric, {'space': 'padded'}),
        (RESMetric, {'comparison': '>>'}),
        (PhraseGroundingMetric, {'protocol': 'all'}),
    ],
)
def test_unknown_options_are_refused(make, options):
    with pytest.raises(ValueError, match=r'unknown .*; known: '):
        make(**options)
