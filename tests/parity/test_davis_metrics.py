"""J, F and their statistics equal those of the released evaluation of DAVIS."""

from pathlib import Path

import numpy as np
import pytest
from davis_case import NUM_PAIRS, mask_pair, object_values

from mmvl.video.jf import frame_scores, statistics

GOLDEN = np.load(Path(__file__).parent / 'data/davis_metrics.npz')


def test_region_and_contour():
    ours = [frame_scores(p, t, 1, 1, void) for p, t, void in map(mask_pair, range(NUM_PAIRS))]
    region, contour = np.array(ours)[..., 0].T
    np.testing.assert_allclose(region, GOLDEN['region'], atol=1e-12)
    np.testing.assert_allclose(contour, GOLDEN['contour'], atol=1e-12)
    # the cases are not all alike
    assert len(np.unique(contour.round(6))) > 60 and {0.0, 1.0} <= set(contour)


@pytest.mark.parametrize('index', range(len(GOLDEN['frames'])))
def test_statistics(index):
    """From 256 frames on the decay is spoilt, as in the released code."""
    values = object_values(index, int(GOLDEN['frames'][index]))
    np.testing.assert_allclose(statistics(values), GOLDEN['statistics'][index], atol=1e-12)
