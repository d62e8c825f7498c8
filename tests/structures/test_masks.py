"""Masks: what is decoded, what is refused, and overlaps against pycocotools."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from mmvl.structures.masks import MaskError, decode_segmentation, mask_overlaps

RECTANGLE = [2, 1, 6, 1, 6, 4, 2, 4]  # x 2 to 6, y 1 to 4


def filled(height, width, *windows):
    mask = np.zeros((height, width), bool)
    for top, bottom, left, right in windows:
        mask[top:bottom, left:right] = True
    return mask


def test_a_polygon_fills_its_pixels():
    mask = decode_segmentation([RECTANGLE], 5, 8)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, filled(5, 8, (1, 4, 2, 6)))


def test_parts_that_overlap_are_united():
    other = [4, 2, 8, 2, 8, 5, 4, 5]
    mask = decode_segmentation([RECTANGLE, other], 5, 8)
    np.testing.assert_array_equal(mask, filled(5, 8, (1, 4, 2, 6), (2, 5, 4, 8)))


def test_runs_go_down_the_columns():
    code = {'size': [2, 3], 'counts': [1, 2, 3]}
    np.testing.assert_array_equal(decode_segmentation(code, 2, 3), [[0, 1, 0], [1, 0, 0]])


def test_refclef_lists_its_codes():
    codes = [{'size': [2, 3], 'counts': counts} for counts in ([0, 1, 5], [5, 1])]
    np.testing.assert_array_equal(decode_segmentation(codes, 2, 3), [[1, 0, 0], [0, 0, 1]])


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.booleans())
def test_compressed_codes_of_pycocotools(mask, as_bytes):
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = code['counts'] if as_bytes else code['counts'].decode()
    decoded = decode_segmentation({'size': code['size'], 'counts': counts}, *mask.shape)
    np.testing.assert_array_equal(decoded, mask)


def test_long_runs_of_a_compressed_code():
    mask = filled(700, 900, (100, 650, 33, 870))
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(decode_segmentation(code, 700, 900), mask)


def test_a_pixel_of_overhang_is_rounding():
    mask = decode_segmentation([[-1, 0, 5.5, 0, 5.5, 3, -1, 3]], 3, 4)
    assert mask.all()


@pytest.mark.parametrize(
    ('segmentation', 'said'),
    [
        (None, 'expected polygons'),
        ([], 'expected polygons'),
        ('polygon', 'expected polygons'),
        ([[1, 1, 3, 3]], 'at least three points'),
        ([[1, 1, 3, 1, 3]], 'at least three points'),
        ([[1, 1, 3, 1, 3, float('nan')]], 'at least three points'),
        ([[1, 1, 3, 1, 3, 'x']], 'at least three points'),
        ([[0, 0, 100, 0, 100, 50]], r'x 0 to 100, y 0 to 50\) leaves the image, 4 high and 5 wide'),
        ([[-3, 0, 4, 0, 4, 4]], 'leaves the image'),
        ({'size': [5, 4], 'counts': [20]}, r'the mask is \(5, 4\) .* the image \(4, 5\)'),
        ({'counts': [20]}, 'needs its size'),
        ({'size': [4, 5], 'counts': [3, 2]}, 'the runs have 5 pixels, the image 20'),
        ({'size': [4, 5], 'counts': [3, 200]}, 'the runs have 203 pixels'),
        ({'size': [4, 5], 'counts': [-3, 23]}, 'counts of at least 0'),
        ({'size': [4, 5], 'counts': [2**62] * 8}, 'the runs have'),
        ({'size': [4, 5], 'counts': [2**70]}, 'counts of at least 0'),
        ({'size': [4, 5], 'counts': None}, 'counts of at least 0'),
        ({'size': [4, 5], 'counts': '32'}, 'the runs have 5 pixels'),
        ({'size': [4, 5], 'counts': ''}, 'counts of at least 0|the runs have 0'),
        ({'size': [4, 5], 'counts': '3 \n'}, 'damaged compressed'),
        ({'size': [4, 5], 'counts': '3é'}, 'damaged compressed|the runs have'),
        ({'size': [4, 5], 'counts': 'o' * 30}, 'damaged compressed'),
        ({'size': [4, 5], 'counts': '3o'}, 'cut off'),
    ],
)
def test_what_does_not_fit_is_refused(segmentation, said):
    with pytest.raises(MaskError, match=said) as caught:
        decode_segmentation(segmentation, 4, 5)
    assert 'What to do' in str(caught.value) and len(str(caught.value).splitlines()) <= 3


@settings(max_examples=50, deadline=None)
@given(arrays(bool, (2, 6, 7, 9)))
def test_overlaps_equal_pycocotools(masks):
    first, second = torch.from_numpy(masks)
    intersection, union = mask_overlaps(first, second)
    codes = [
        [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in group] for group in masks
    ]
    iou = np.diagonal(coco.iou(*codes, [False] * 6))
    expected = torch.where(union > 0, intersection / union.clamp(min=1), torch.zeros(()))
    np.testing.assert_allclose(expected, iou, rtol=1e-6)
    assert intersection.dtype == torch.int64


def test_overlaps_by_hand():
    first = torch.zeros(3, 4, dtype=torch.bool)
    second = first.clone()
    first[:2, :3], second[1:, 1:] = True, True
    assert [int(value) for value in mask_overlaps(first, second)] == [2, 10]
    with pytest.raises(ValueError, match='different size'):
        mask_overlaps(first, second[:1])
