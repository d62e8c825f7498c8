"""Prototypes: what they decide, in which order, and that they learn."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mmvl.occupancy.alocc.head import ALOccHead
from mmvl.occupancy.datasets.classes import OCC3D, OCC3D_TO_OPENOCC, OPENOCC
from mmvl.occupancy.structures import OccupancySample

SIZE = (6, 8, 4)
"""X, Y, Z."""
CLASSES = ('car', 'pedestrian', 'terrain', 'free')


def head(**settings: Any) -> ALOccHead:
    torch.manual_seed(0)
    given = {'channels': 16, 'classes': CLASSES, 'context_channels': 8, 'num_points': 40}
    return ALOccHead(**{**given, 'num_image_points': 10, **settings})


def motion(batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    poses = torch.eye(4, dtype=torch.float64).repeat(batch, 1, 1)
    return poses, torch.eye(3).repeat(batch, 1, 1), torch.ones(batch, dtype=torch.bool)


def sample(labels: Tensor, cells: Tensor | None = None, flow: Tensor | None = None) -> Any:
    found = OccupancySample()
    found.gt_semantics = labels
    if cells is not None:
        found.image_semantics = cells
    if flow is not None:
        found.gt_flow = flow
    return found


def labels(seed: int = 0) -> Tensor:
    return torch.randint(len(CLASSES), SIZE, generator=torch.Generator().manual_seed(seed))


def volume_of(module: ALOccHead, wanted: Tensor) -> Tensor:
    """A volume (1, C, Y, X, Z) whose voxels look like the prototypes of labels (X, Y, Z)."""
    with torch.no_grad():
        prototypes = module.voxel_embed(module.norm(module.prototypes.weight))[1:]
        # logit 1 of the right class, -1 of the others
        wanted_logits = 2 * torch.eye(len(CLASSES)) - 1
        looks = wanted_logits @ torch.linalg.pinv(prototypes).T
    return looks[wanted.transpose(0, 1)].movedim(-1, 0)[None]


def test_published_size() -> None:
    assert sum(value.numel() for value in ALOccHead().parameters()) == 14_336


def test_prediction_is_in_the_order_of_the_label_files() -> None:
    module, wanted = head(), labels()
    ((semantics, flow),) = module.predict(volume_of(module, wanted), *motion())
    assert semantics.dtype == torch.uint8 and flow is None
    assert torch.equal(semantics.long(), wanted)


def test_prototype_of_no_class_is_never_chosen() -> None:
    module, wanted = head(), labels()
    volume = volume_of(module, wanted)
    with torch.no_grad():
        first, *others = module.voxel_embed(module.norm(module.prototypes.weight))
        others = torch.stack(others)
        # a direction that only the prototype of no class sees
        shift = first - first @ torch.linalg.pinv(others) @ others
    volume = volume + 1000 * shift.view(1, -1, 1, 1, 1)
    assert (module.voxel_logits(volume).argmax(1) == 0).all()
    assert torch.equal(module.predict(volume, *motion())[0][0].long(), wanted)


def test_class_that_training_does_not_have_is_never_chosen() -> None:
    counts = {'car': 0, 'pedestrian': 20, 'terrain': 300, 'free': 4000}
    module, wanted = head(class_counts=counts), labels()
    ((semantics, _),) = module.predict(volume_of(module, wanted), *motion())
    assert torch.equal(semantics[wanted > 0].long(), wanted[wanted > 0])
    assert not (semantics == 0).any()
    losses = module.loss(volume_of(module, wanted), None, [sample(wanted.clamp(min=1))], *motion())
    assert all(value.isfinite() for value in losses.values())


def test_probabilities_that_are_both_one_go_to_the_first_class() -> None:
    module = head()
    module.voxel_logits = lambda volume: torch.tensor([0.0, -9, 30, 60, -9]).view(1, 5, 1, 1, 1)
    ((semantics, _),) = module.predict(torch.zeros(1, 16, 1, 1, 1), *motion())
    assert semantics.item() == 1


def test_losses_look_at_the_voxels_of_the_files() -> None:
    # wrong axes would leave an eighth or so right
    module, wanted = head(), labels()
    losses = module.loss(30 * volume_of(module, wanted), None, [sample(wanted)], *motion())
    assert set(losses) == {'loss_mask', 'loss_dice'}
    assert losses['loss_dice'] < 0.1


def test_every_weight_learns_the_prototypes_too() -> None:
    module = head(
        flow_head={'type': 'ALOccFlowHead', 'channels': 16, 'window': 3, 'num_classes': 4}
    )
    volume = torch.randn(2, 16, *(SIZE[i] for i in (1, 0)), 16, requires_grad=True)
    context = torch.randn(2, 3, 8, 4, 5, requires_grad=True)
    samples = [
        sample(
            torch.randint(len(CLASSES), (*SIZE[:2], 16)),
            torch.randint(len(CLASSES), (3, 4, 5)),
            torch.randn(*SIZE[:2], 16, 2),
        )
        for _ in range(2)
    ]
    losses = module.loss(volume, context, samples, *motion(2))
    sum(losses.values()).backward()
    assert set(losses) == {
        *('loss_mask', 'loss_dice', 'img_seg_loss_mask', 'img_seg_loss_dice'),
        *('loss_flow', 'loss_flow_cosine', 'bin_ce_loss'),
    }
    for name, value in module.named_parameters():
        assert value.grad is not None and value.grad.abs().max() > 0, name
    assert volume.grad.abs().max() > 0 and context.grad.abs().max() > 0


def test_image_losses_are_weighed_and_their_classes_mapped() -> None:
    context = torch.randn(1, 3, 8, 4, 5, generator=torch.Generator().manual_seed(1))
    cells = torch.randint(len(CLASSES), (3, 4, 5), generator=torch.Generator().manual_seed(2))
    wanted = labels()

    def losses(cells: Tensor, **settings: Any) -> dict[str, float]:
        module = head(**settings)
        found = module.loss(
            volume_of(module, wanted),
            context,
            [sample(wanted, cells)],
            *motion(),
            generator=torch.Generator().manual_seed(3),
        )
        return {name: value.item() for name, value in found.items() if 'img' in name}

    plain = losses(cells)
    assert losses(cells, image_weight=1.0) == pytest.approx({k: 10 * v for k, v in plain.items()})
    table = torch.tensor([2, 255, 0, 1])
    assert losses(cells, image_label_map=(2, 255, 0, 1)) == pytest.approx(losses(table[cells]))
    assert losses(table[cells]) != pytest.approx(plain, rel=1e-3)
    # classes beyond the table have no label
    beyond = torch.where(cells == 3, 77, cells)
    assert losses(beyond, image_label_map=(0, 1, 2)) == pytest.approx(
        losses(torch.where(cells == 3, 255, cells))
    )


def test_classes_of_image_cells_go_to_the_flow_labels_by_name() -> None:
    assert OCC3D_TO_OPENOCC[0] == 255
    assert [OPENOCC[number] for number in OCC3D_TO_OPENOCC[1:]] == list(OCC3D[1:])


def test_flow_is_trained_where_something_can_move() -> None:
    module = head(
        flow_head={'type': 'ALOccFlowHead', 'channels': 16, 'window': 3, 'num_classes': 4}
    )
    size = (*SIZE[:2], 16)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randint(len(CLASSES), size, generator=generator)
    wanted[0] = 255
    flow = torch.randn(*size, 2, generator=generator)
    volume = torch.randn(1, 16, size[1], size[0], 16, generator=generator)
    losses = module.loss(volume, None, [sample(wanted, flow=flow)], *motion())
    module.reset_state()
    answer = module.flow_head(volume, *motion(), wanted.transpose(0, 1)[None]).flow[0]
    # velocities along y and x, voxels y first
    true = flow.transpose(0, 1).flip(-1)
    moves = (wanted < 2).transpose(0, 1)
    expected = (answer[moves] - true[moves]).square().mean()
    assert losses['loss_flow'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_head_learns_one_scene() -> None:
    module, wanted = head(), labels()
    volume = torch.randn(1, 16, SIZE[1], SIZE[0], SIZE[2], requires_grad=True)
    optimizer = torch.optim.Adam([volume, *module.parameters()], lr=0.05)
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        losses = module.loss(volume, None, [sample(wanted)], *motion(), generator=generator)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    semantics = module.predict(volume, *motion())[0][0]
    assert (semantics == wanted).float().mean() > 0.95


def test_head_without_flow_has_no_past() -> None:
    module = head()
    module.predict(volume_of(module, labels()), *motion())
    module.reset_state()
    module.load_temporal_state({})
    assert module.temporal_state() == {}


def test_head_without_image_prototypes_says_so() -> None:
    with pytest.raises(ValueError, match='context_channels'):
        head(context_channels=None).image_logits(torch.zeros(1, 1, 8, 2, 2))


def test_half_precision_gives_nearly_the_same_losses() -> None:
    flow = {'type': 'ALOccFlowHead', 'channels': 16, 'window': 3, 'num_classes': 4}
    size = (*SIZE[:2], 16)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randint(len(CLASSES), size, generator=generator)
    velocity = torch.randn(*size, 2, generator=generator)
    volume = torch.randn(1, 16, size[1], size[0], 16, generator=generator)
    found = []
    for enabled in (False, True):
        module = head(flow_head=flow)
        points = torch.Generator().manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            losses = module.loss(volume, None, [sample(wanted, flow=velocity)], *motion(), points)
        sum(losses.values()).backward()
        assert all(value.dtype == torch.float32 for value in losses.values())
        found.append({name: value.item() for name, value in losses.items()})
    assert found[1] == pytest.approx(found[0], rel=0.05, abs=0.02)
