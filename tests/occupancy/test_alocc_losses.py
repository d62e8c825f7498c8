"""Class weights, the points that are drawn, and the values of the losses."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmvl.occupancy.alocc.losses import (
    MaskLoss,
    class_weights,
    counts_of,
    flow_losses,
    sampling_weights,
)
from mmvl.occupancy.datasets.classes import OCC3D, OPENOCC

OCC3D_WEIGHTS = (
    *(1, 0.952, 1.153, 0.937, 0.826, 1.020, 1.132, 0.946, 1.064, 0.937, 0.882, 0.725, 0.901),
    *(0.775, 0.767, 0.745, 0.741, 0.644),
)
OPENOCC_WEIGHTS = (
    *(1, 1.0675, 1.1336, 1.1334, 1.2337, 1.3948, 1.3701, 1.1444, 1.2872, 1.1515, 0.8768, 1.0902),
    *(0.9376, 0.9282, 0.9008, 0.8963, 0.7793),
)
OCC3D_SAMPLING = (
    *(6.69, 5.62, 10.56, 5.30, 3.25, 7.15, 10.0, 5.50, 8.23, 5.31, 4.23, 1.81, 4.59, 2.46, 2.36),
    *(2.06, 2.01, 1.0),
)
CLASSES, VOXELS = 5, 60


def mask_loss(**settings: Any) -> MaskLoss:
    weights = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.7])
    return MaskLoss(weights, torch.tensor([3.0, 1.0, 2.0, 5.0, 1.0]), **settings)


def case(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (2, K, 3, 4, 5) and labels with a rare class, an absent one and voxels without."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 1, 4, 255, 255])
    labels = labels[torch.randint(6, (2, 3, 4, 5), generator=generator)]
    labels[1, 0, 0, 0] = 3
    return torch.randn(2, CLASSES, 3, 4, 5, generator=generator) * 2, labels


@pytest.mark.parametrize(
    ('classes', 'expected', 'digits'),
    [(OCC3D, OCC3D_WEIGHTS, 5e-4), (OPENOCC, OPENOCC_WEIGHTS, 5e-5)],
)
def test_published_class_weights(
    classes: tuple[str, ...], expected: tuple[float, ...], digits: float
) -> None:
    found = class_weights(counts_of(classes))
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=0, atol=digits + 1e-6)


def test_published_sampling_weights() -> None:
    found = sampling_weights(counts_of(OCC3D))
    torch.testing.assert_close(found, torch.tensor(OCC3D_SAMPLING).double(), rtol=0, atol=0.0051)


def test_unknown_class_needs_a_count() -> None:
    with pytest.raises(ValueError, match=r'no voxel count for tram.\nWhere: class_counts.*\nWhat'):
        counts_of(['car', 'tram'])
    assert counts_of(['car', 'tram'], {'car': 3, 'tram': 5}).tolist() == [3, 5]


def test_losses_are_those_of_whole_masks_where_all_voxels_are_drawn() -> None:
    logits, labels = case()
    loss = mask_loss(oversampling=1.0, uncertain_share=1.0)
    found = loss(logits, labels, VOXELS)
    entropies, dices, total = 0.0, 0.0, 0.0
    for sample in range(2):
        for kind in range(CLASSES):
            true = (labels[sample] == kind).float()
            if not true.any():
                continue
            weight, probability = loss.weights[kind], logits[sample, kind].sigmoid()
            entropies += weight * F.binary_cross_entropy(probability, true)
            common = 2 * (probability * true).sum() + 1
            dices += weight * (1 - common / (probability.sum() + true.sum() + 1))
            total += weight
    assert found['loss_mask'].item() == pytest.approx(5 * (entropies / total).item(), rel=1e-5)
    assert found['loss_dice'].item() == pytest.approx(5 * (dices / total).item(), rel=1e-5)


def test_what_has_no_label_can_be_left_out() -> None:
    logits, labels = case()
    settings = {'oversampling': 1.0, 'uncertain_share': 1.0, 'count_ignored': False}
    found = mask_loss(**settings)(logits, labels, VOXELS)
    moved = logits + 3 * (labels == 255)[:, None]
    other = mask_loss(**settings)(moved, labels, VOXELS)
    assert {k: v.item() for k, v in found.items()} == pytest.approx(
        {k: v.item() for k, v in other.items()}, rel=1e-6
    )
    released = mask_loss(oversampling=1.0, uncertain_share=1.0)
    before, after = released(logits, labels, VOXELS), released(moved, labels, VOXELS)
    assert abs(before['loss_mask'] - after['loss_mask']) > 0.1


def test_right_masks_cost_nothing() -> None:
    _, labels = case()
    logits = 40.0 * F.one_hot(labels.clamp(max=CLASSES), CLASSES + 1)[..., :-1].movedim(-1, 1) - 20
    found = mask_loss()(logits.float(), labels, 12)
    assert found['loss_mask'] < 1e-5 and found['loss_dice'] < 1e-5


def test_points_are_labelled_uncertain_and_one_generator_s() -> None:
    logits, labels = case()
    flat, classes = labels.flatten(1).clamp(max=CLASSES), torch.arange(CLASSES)
    loss = mask_loss()

    def draw(seed: int) -> Tensor:
        return loss.draw(logits.flatten(2), flat, 12, torch.Generator().manual_seed(seed))

    points = draw(3)
    assert torch.equal(points, draw(3)) and not torch.equal(points, draw(4))
    masks = [(b, k) for b in range(2) for k in classes.tolist() if (flat[b] == k).any()]
    assert points.shape == (len(masks), 12)
    for (sample, kind), row in zip(masks, points, strict=True):
        assert (flat[sample, row] < CLASSES).all()
        uncertain, even = row.split([9, 3])
        assert len(uncertain.unique()) == 9 and len(even.unique()) == 3
        # surer than nine of the 36 that were drawn, of 40 or so with a label
        limit = logits[sample, kind].abs().flatten()[flat[sample] < CLASSES].sort().values[14]
        assert logits[sample, kind].flatten()[uncertain].abs().max() <= limit


def test_rare_classes_are_drawn_more_often() -> None:
    labels = torch.cat([torch.zeros(1, 500), torch.ones(1, 500)], 1).long()
    loss = MaskLoss(torch.ones(2), torch.tensor([4.0, 1.0]), oversampling=1.0, uncertain_share=1.0)
    points = loss.draw(torch.zeros(1, 2, 1000), labels, 100, torch.Generator().manual_seed(0))
    assert (labels[0, points] == 0).float().mean() == pytest.approx(0.8, abs=0.07)


def test_batch_without_labels_costs_nothing_and_has_a_gradient() -> None:
    logits, labels = case()
    logits.requires_grad_()
    found = mask_loss()(logits, torch.full_like(labels, 255), 12)
    (found['loss_mask'] + found['loss_dice']).backward()
    assert found['loss_mask'] == 0 and (logits.grad == 0).all()


def flow_case() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 8, 2, 2, 3, 2, generator=generator)
    bins = torch.arange(-2, 2, 0.5)
    flow = torch.einsum('bkayxz,k->byxza', logits.softmax(1), bins)
    target = torch.randn(1, 2, 3, 2, 2, generator=generator)
    target[0, 0, 0, 0], target[0, 1, 1, 1] = 0.0, 7.0
    valid = torch.rand(1, 2, 3, 2, generator=generator) < 0.6
    valid[0, 0, 0, 0] = valid[0, 1, 1, 1] = True
    return flow, logits, target, valid, bins


def test_flow_losses_are_means_over_what_counts() -> None:
    flow, logits, target, valid, bins = flow_case()
    found = flow_losses(
        flow, logits, target.masked_fill(~valid[..., None], float('nan')), valid, bins
    )
    squares, cosines, entropies = [], [], []
    for y, x, z in valid[0].nonzero().tolist():
        a, b = flow[0, y, x, z], target[0, y, x, z]
        squares.append((a - b).square().mean())
        cosines.append((a @ b) / (a.norm() * b.norm()) if b.any() else torch.tensor(0.0))
        for axis in range(2):
            nearest = min(max(round((b[axis].item() + 2) / 0.5), 0), 7)
            entropies.append(-logits[0, :, axis, y, x, z].log_softmax(0)[nearest])

    def mean(values: list[Tensor]) -> float:
        return torch.stack(values).mean().item()

    assert found['loss_flow'].item() == pytest.approx(mean(squares), rel=1e-5)
    assert found['loss_flow_cosine'].item() == pytest.approx(-mean(cosines), rel=1e-5)
    assert found['bin_ce_loss'].item() == pytest.approx(mean(entropies), rel=1e-5)


def test_nothing_that_moves_costs_nothing_and_has_a_gradient() -> None:
    flow, logits, target, valid, bins = flow_case()
    flow.requires_grad_()
    found = flow_losses(flow, logits, target, torch.zeros_like(valid), bins)
    sum(found.values()).backward()
    assert all(value == 0 for value in found.values()) and (flow.grad == 0).all()
