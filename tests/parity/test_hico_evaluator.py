"""HICODetMetric against results that EoID's released evaluators gave on 100 random cases."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmvl.hoi.evaluation import PROTOCOLS, evaluate_triplets
from mmvl.hoi.metrics import HICODetMetric
from mmvl.hoi.postprocessing import select_triplets
from mmvl.hoi.structures import HOIDataSample

FOLDER = Path(__file__).parent
CASES = runpy.run_path(str(FOLDER / 'make_hico_evaluator.py'))
SEEN_KEYS = ('mAP', 'mAP_seen', 'mAP_unseen', 'mean_max_recall', 'recall_seen', 'recall_unseen')
RARE_KEYS = ('mAP', 'mAP_rare', 'mAP_non_rare', 'mean_max_recall')


@pytest.fixture(scope='module')
def golden():
    with np.load(FOLDER / 'data' / 'hico_evaluator.npz', allow_pickle=False) as file:
        return dict(file)


def run(metric, images, nms):
    samples = []
    for i, image in enumerate(images):
        fields = ('verb_scores', 'object_labels', 'subject_boxes', 'object_boxes')
        sample = HOIDataSample(metainfo={'img_id': i, 'file_name': image['filename']})
        sample.gt_instances = InstanceData(boxes=image['boxes'], labels=image['labels'])
        sample.gt_hois = image['hois']
        sample.pred_pairs = select_triplets(*(image[f][None] for f in fields), nms=nms)[0]
        samples.append(sample.to_dict())
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize('seed', range(CASES['CASES']))
def test_equal_to_official_to_the_last_bit(seed, golden):
    case = CASES['make_case'](seed)
    assert CASES['checksum'](case) == golden['checksums'][seed], 'numpy draws other inputs'
    unseen = case['unseen'].tolist() if seed % 2 == 0 else None
    metric = HICODetMetric(unseen=unseen)
    results = run(metric, case['images'], case['nms'])
    keys = SEEN_KEYS if seed % 2 == 0 else RARE_KEYS
    expected = 100 * golden['means'][seed, : len(keys)]
    np.testing.assert_array_equal([results[key] for key in keys], expected)
    start, end = np.cumsum([0, *golden['num_classes']])[[seed, seed + 1]]
    classes = evaluate_triplets(metric.results, PROTOCOLS['qpic'])
    np.testing.assert_array_equal(classes.ap, golden['aps'][start:end])


def test_cases_hold_what_they_promise(golden):
    cases = [CASES['make_case'](seed) for seed in range(CASES['CASES'])]
    images = [image for case in cases for image in case['images']]
    assert sum(len(image['boxes']) == 0 for image in images) > 50
    assert sum(len(image['hois']) == 0 for image in images) > 100
    assert sum(len(image['object_labels']) == 0 < len(image['hois']) for image in images) > 50
    assert any(len(image['hois']) > len(torch.unique(image['hois'], dim=0)) for image in images)
    assert (golden['aps'] > 0).mean() > 0.5
    assert len(np.unique(golden['aps'])) > 200
