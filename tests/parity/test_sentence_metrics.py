"""P@K, IoU and mAP equal those of the released evaluation of A2D- and JHMDB-Sentences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_case import NUM_SETS, sentence_cases

from mmvl.video.metrics import SentenceSegMetric
from mmvl.video.structures import ClipDataSample

GOLDEN = np.load(Path(__file__).parent / 'data/sentence_metrics.npz')['values']
NAMES = (
    *('P@0.5', 'P@0.6', 'P@0.7', 'P@0.8', 'P@0.9', 'oIoU', 'mIoU'),
    *('mAP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large'),
)


def data_sample(case):
    sample = ClipDataSample(metainfo=dict(video_id='v', exp_id='0', image_id=case.image_id))
    sample.ori_masks = torch.from_numpy(case.truth[None])
    sample.query_masks = torch.from_numpy(case.masks)
    sample.query_scores = torch.from_numpy(case.scores)
    return sample.to_dict()


@pytest.mark.parametrize('seed', range(NUM_SETS))
def test_equal(seed):
    metric = SentenceSegMetric()
    metric.process(None, [data_sample(case) for case in sentence_cases(seed)])
    found = metric.compute_metrics(metric.results)
    # -1 stands for a size that no truth has
    expected = np.where(GOLDEN[seed] < 0, -1, 100 * GOLDEN[seed])
    assert found == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-9)


def test_cases_differ():
    assert len(np.unique(GOLDEN.round(6))) > 40
    assert (GOLDEN < 0).sum() == 1 and (GOLDEN[:, :5].max() - GOLDEN[:, :5].min()) > 0.5
