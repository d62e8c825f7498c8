"""J and F against the values that the released evaluation of DAVIS gives for simple shapes."""

import numpy as np
import pytest

from mmvl.video.jf import assign, contour_map, frame_scores, statistics

SHAPE = (480, 854)


def square(top=100, left=100, size=100, number=1):
    labels = np.zeros(SHAPE, np.uint8)
    labels[top : top + size, left : left + size] = number
    return labels


@pytest.mark.parametrize(
    ('down', 'right', 'region', 'contour'),
    [(4, 0, 0.923077, 1.0), (10, 0, 0.818182, 0.535), (20, 30, 0.388889, 0.085)],
)
def test_shifted_squares(down, right, region, contour):
    j, f = frame_scores(square(100 + down, 100 + right), square(), 1, 1)
    assert j[0] == pytest.approx(region, abs=1e-6)
    assert f[0] == pytest.approx(contour, abs=1e-6)


def test_contour_of_a_square_has_400_pixels_half_a_pixel_early():
    marked = contour_map(square() == 1)
    assert marked.sum() == 400
    assert marked[99, 99] and marked[199, 199] and not marked[200].any()


def test_borders_of_the_frame():
    """Nothing lies beyond the last row and column, and the last pixel is never marked."""
    mask = np.zeros((3, 4), bool)
    mask[1:, 2:] = True
    expected = [[0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]]
    assert contour_map(mask).astype(int).tolist() == expected
    assert not contour_map(np.ones((3, 4), bool)).any()


def test_empty_masks():
    nothing = np.zeros(SHAPE, np.uint8)
    assert frame_scores(nothing, nothing, 1, 1) == (1.0, 1.0)
    assert frame_scores(square(), nothing, 1, 1) == (0.0, 0.0)
    assert frame_scores(nothing, square(), 1, 1) == (0.0, 0.0)


def test_void_does_not_count():
    pred = square(size=140)
    void = (pred == 1) & (square() == 0)
    assert frame_scores(pred, square(), 1, 1, void) == (1.0, 1.0)
    assert frame_scores(pred, square(), 1, 1)[0][0] == pytest.approx(100**2 / 140**2)


def test_every_pair_of_objects():
    """Two squares whose numbers are exchanged, and a third proposal of half of one of them."""
    truth = square() + square(300, 500, number=2)
    pred = square(number=2) + square(300, 500, number=1)
    pred[300:400, 550:600] = 3
    region, contour = frame_scores(pred, truth, 3, 2, crossed=True)
    assert region.round(6).tolist() == [[0, 0.5], [1, 0], [0, 0.5]]
    assert contour[1].tolist() == [1, 0]
    assert 0 < contour[0, 1] == pytest.approx(contour[2, 1], abs=0.02)
    j, f = assign(region[..., None], contour[..., None])
    # rows of the predicted objects: one of the halves, then the whole square
    assert sorted(j[:, 0].tolist()) == [0.5, 1.0] and f.max() == 1.0


def test_same_numbers_only():
    truth = square() + square(300, 500, number=2)
    pred = square(number=2) + square(300, 500, number=1)
    assert [each.tolist() for each in frame_scores(pred, truth, 2, 2)] == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match='3 predicted and 2 annotated'):
        frame_scores(pred, truth, 3, 2)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r'\(480, 854\) and truth \(480, 853\)'):
        frame_scores(square(), square()[:, 1:], 1, 1)


def test_statistics():
    assert statistics(np.linspace(0.9, 0.1, 40)) == pytest.approx((0.5, 0.5, 0.594872), abs=1e-6)
    # quarters share their borders: frames 1 and 2, and 4 and 5
    assert statistics([1, 0.8, 0.6, 0.2, 0]) == pytest.approx((0.52, 0.6, 0.8))
    assert np.isnan(statistics(np.ones(300)).decay)
