"""Deformable attention against mmcv's, whose parameters it shares."""

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import nn

from mmvl.layers import DeformableAttention

SIZES = [(5, 7), (3, 4), (1, 2)]


def pair() -> tuple[MultiScaleDeformableAttention, DeformableAttention]:
    torch.manual_seed(0)
    theirs = MultiScaleDeformableAttention(32, 4, 3, 2, dropout=0.0, batch_first=True)
    ours = DeformableAttention(32, 4, 3, 2)
    assert {k: v.shape for k, v in theirs.state_dict().items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }
    for name in ('sampling_offsets.bias', 'attention_weights.weight', 'output_proj.bias'):
        torch.testing.assert_close(ours.state_dict()[name], theirs.state_dict()[name])
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize('coordinates', [2, 4])
def test_values_and_gradients_equal_those_of_mmcv(coordinates: int) -> None:
    theirs, ours = pair()
    cells = sum(h * w for h, w in SIZES)
    value = torch.randn(2, cells, 32)
    query = torch.randn(2, 9, 32)
    # beyond the borders too
    reference = torch.rand(2, 9, 3, coordinates) * 1.2 - 0.1
    valid = torch.rand(2, cells) < 0.8
    starts = torch.tensor([0, 35, 47])
    found = []
    for module in (theirs, ours):
        leaves = [x.clone().requires_grad_() for x in (query, reference, value)]
        if module is theirs:
            out = module(
                leaves[0], value=leaves[2], identity=torch.zeros_like(query),
                key_padding_mask=~valid, reference_points=leaves[1],
                spatial_shapes=torch.tensor(SIZES), level_start_index=starts,
            )  # fmt: skip
        else:
            out = module(*leaves, SIZES, valid)
        out.square().sum().backward()
        weights = [p.grad for _, p in sorted(module.named_parameters())]
        found.append([out, *(leaf.grad for leaf in leaves), *weights])
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_nan_in_the_weights_gives_nan_and_no_access_outside() -> None:
    _, ours = pair()
    with torch.no_grad():
        ours.sampling_offsets.bias[0] = float('nan')
    value = torch.randn(1, 49, 32)
    out = ours(value[:, :4], torch.rand(1, 4, 3, 2), value, SIZES)
    assert out.isnan().all()
