"""Boxes against torchvision, and fields that refuse what does not fit."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torchvision.ops import box_iou, generalized_box_iou

from mmvl.hoi.structures import HOIDataSample, HOIPairs
from mmvl.structures import (
    cxcywh_to_xyxy,
    generalized_iou,
    pairwise_generalized_iou,
    pairwise_iou,
    union_boxes,
    xyxy_to_cxcywh,
)


def random_boxes(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator)
    return torch.cat((low, low + torch.rand(count, 2, generator=generator) + 0.01), dim=-1)


@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 5))
def test_overlaps_equal_torchvision(seed: int, n: int, m: int) -> None:
    first, second = random_boxes(seed, n), random_boxes(seed + 1, m)
    torch.testing.assert_close(pairwise_iou(first, second), box_iou(first, second))
    expected = generalized_box_iou(first, second)
    torch.testing.assert_close(pairwise_generalized_iou(first, second), expected)


@given(st.integers(0, 10_000))
def test_conversion_is_its_own_inverse(seed: int) -> None:
    boxes = random_boxes(seed, 4)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_known_values() -> None:
    first = torch.tensor([0.0, 0, 2, 2])
    second = torch.tensor([1.0, 1, 3, 3])
    assert pairwise_iou(first[None], second[None]).item() == pytest.approx(1 / 7)
    assert generalized_iou(first, second).item() == pytest.approx(1 / 7 - 2 / 9)
    assert union_boxes(first, second).tolist() == [0, 0, 3, 3]
    assert xyxy_to_cxcywh(second).tolist() == [2, 2, 2, 2]


def test_pairwise_iou_keeps_leading_dimensions() -> None:
    layers = torch.stack([random_boxes(0, 3), random_boxes(1, 3)])
    boxes = random_boxes(2, 4)
    both = pairwise_iou(layers, boxes)
    torch.testing.assert_close(both[1], box_iou(layers[1], boxes))


def test_pairs_refuse_wrong_fields() -> None:
    pairs = HOIPairs()
    pairs.subject_boxes = torch.zeros(2, 4)
    with pytest.raises(TypeError, match=r'HOIPairs.verbs must be a torch.int64 tensor, got .*32'):
        pairs.verbs = torch.zeros(2)
    with pytest.raises(ValueError, match=r'object_boxes must have shape \(N, 4\), got \(2, 5\)'):
        pairs.object_boxes = torch.zeros(2, 5)
    with pytest.raises(TypeError, match='got list'):
        pairs.scores = [0.5, 0.5]
    pairs.verb_labels = torch.zeros(2, 117)
    assert len(pairs[torch.tensor([True, False])]) == 1


def test_sample_refuses_triplets_of_another_form() -> None:
    sample = HOIDataSample()
    with pytest.raises(ValueError, match=r'gt_hois must be \(M, 3\) int64, got \(2, 4\)'):
        sample.gt_hois = torch.zeros(2, 4, dtype=torch.int64)
    sample.gt_hois = torch.tensor([[0, 1, 76]])
    assert sample.to_dict()['gt_hois'].tolist() == [[0, 1, 76]]
