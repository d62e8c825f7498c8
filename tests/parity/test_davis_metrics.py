"""J, F and their statistics equal those of the released evaluation of DAVIS."""

from pathlib import Path

import numpy as np
import pytest
from davis_case import NUM_PAIRS, SEQUENCES, TASKS, mask_pair, object_values, write_sequences

from mmvl.video.davis_folders import evaluate_folders
from mmvl.video.jf import frame_scores, statistics

GOLDEN = np.load(Path(__file__).parent / 'data/davis_metrics.npz')


def test_region_and_contour():
    ours = [frame_scores(p, t, 1, 1, void) for p, t, void in map(mask_pair, range(NUM_PAIRS))]
    region, contour = np.array(ours)[..., 0].T
    np.testing.assert_array_equal(region, GOLDEN['region'])
    np.testing.assert_array_equal(contour, GOLDEN['contour'])
    # the cases are not all alike
    assert len(np.unique(contour.round(6))) > 60 and {0.0, 1.0} <= set(contour)


@pytest.mark.parametrize('index', range(len(GOLDEN['frames'])))
def test_statistics(index):
    """From 256 frames on the decay is spoilt, as in the released code."""
    values = object_values(index, int(GOLDEN['frames'][index]))
    np.testing.assert_allclose(statistics(values), GOLDEN['statistics'][index], atol=1e-12)


def test_folders(tmp_path):
    """Permuted, missing and surplus labels, void pixels, a late object, more than 256 frames."""
    for task, names in write_sequences(tmp_path).items():
        truth = tmp_path / TASKS[task] / '480p'
        summary, objects = evaluate_folders(tmp_path / 'results', truth, names, task)
        found = np.array([(*each.region, *each.contour) for each in objects])
        np.testing.assert_allclose(found, GOLDEN[task], rtol=0, atol=1e-12)
        assert [each.name for each in objects[:3]] == ['same_1', 'same_2', 'same_3']
        mean = GOLDEN[task].mean(0)
        assert summary['J&F-Mean'] == pytest.approx((mean[0] + mean[3]) / 2, abs=1e-12)
        assert len(objects) == 3 * len(names) and np.isnan(summary['J-Decay']) == np.isnan(mean[2])
    assert len(names) == len(SEQUENCES)
