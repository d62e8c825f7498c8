"""ReferFormer's assignment and losses, against torchvision and small numbers."""

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from mmvl.video.referformer import ReferFormerCriterion
from mmvl.video.referformer.losses import ClipOutputs, ClipTargets, dice, focal, thin_masks


def outputs_near(target: ClipTargets, layers: int = 2) -> ClipOutputs:
    torch.manual_seed(0)
    clips, frames, height, width = target.masks.shape
    shape = (layers, clips, frames, 5)
    boxes = torch.rand(*shape, 4) * 0.4 + 0.3
    return ClipOutputs(torch.randn(shape), boxes, torch.randn(*shape, height, width))


def targets() -> ClipTargets:
    masks = (torch.rand(2, 3, 6, 8) < 0.3).float()
    boxes = torch.rand(2, 3, 4) * 0.3 + 0.3
    valid = torch.ones(2, 3, dtype=torch.bool)
    valid[1, 1] = False
    boxes[1, 1], masks[1, 1] = 0, 0
    return ClipTargets(boxes, masks, valid)


def test_the_cheapest_query_of_each_clip_is_chosen_in_each_layer():
    target = targets()
    outputs = outputs_near(target)
    wanted = torch.tensor([[3, 1], [0, 4]])
    for layer in range(2):
        for i in range(2):
            query = int(wanted[layer, i])
            outputs.boxes[layer, i, :, query] = target.boxes[i]
            outputs.masks[layer, i, :, query] = 6 * target.masks[i] - 3
    assert torch.equal(ReferFormerCriterion().match(outputs, target), wanted)
    # a score in a frame without the referent costs nothing
    outputs.logits[:, 1, 1, :] = torch.randn(2, 5) * 50
    assert torch.equal(ReferFormerCriterion().match(outputs, target), wanted)


def test_losses_against_torchvision():
    target = targets()
    outputs = outputs_near(target, layers=1)
    criterion = ReferFormerCriterion(1, 1, 1, 1, 1)
    found = criterion(outputs, target)
    chosen = criterion.match(outputs, target)[0]
    labels = torch.zeros(2, 3, 5)
    labels[0, :, chosen[0]] = 1
    labels[1, [0, 2], chosen[1]] = 1
    expected = sigmoid_focal_loss(outputs.logits[0], labels, reduction='sum') / 5
    torch.testing.assert_close(found['loss_ce'], expected)
    boxes = torch.stack([outputs.boxes[0, i, :, chosen[i]] for i in range(2)])
    torch.testing.assert_close(found['loss_bbox'], (boxes - target.boxes).abs().sum() / 5)
    corners = [torch.cat([b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2], -1)
               for b in (boxes, target.boxes)]  # fmt: skip
    giou = generalized_box_iou_loss(*corners, reduction='sum') / 5
    torch.testing.assert_close(found['loss_giou'], giou, rtol=1e-4, atol=1e-4)
    masks = torch.stack([outputs.masks[0, i, :, chosen[i]] for i in range(2)])
    per_clip = sigmoid_focal_loss(masks, target.masks).mean((1, 2, 3))
    torch.testing.assert_close(found['loss_mask'], per_clip.sum() / 5)


def test_small_values_of_focal_and_dice():
    assert focal(torch.tensor(0.0), torch.tensor(1.0)).item() == pytest.approx(
        0.25 * 0.25 * 0.6931, 1e-3
    )
    assert focal(torch.tensor(0.0), torch.tensor(0.0)).item() == pytest.approx(
        0.75 * 0.25 * 0.6931, 1e-3
    )
    half = torch.tensor([0.0, 0.0])
    # (2 * 0.5 + 1) / (1 + 1 + 1)
    assert dice(half, torch.tensor([1.0, 0.0]), (0,)).item() == pytest.approx(2 / 3)


def test_masks_are_thinned_from_the_third_pixel_on():
    mask = torch.zeros(1, 9, 11, dtype=torch.bool)
    mask[0, 2, 10] = mask[0, 6, 2] = mask[0, 3, 3] = True
    thinned = thin_masks([mask], (4, 4))
    assert thinned.shape == (1, 1, 4, 4)
    assert thinned[0, 0].nonzero().tolist() == [[0, 2], [1, 0]]
