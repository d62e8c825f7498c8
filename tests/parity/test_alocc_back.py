"""ALOcc's training and post-processing against the released code (see ``make_alocc_back.py``)."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from alocc_back_case import (
    ENABLED,
    FRAMES,
    GRID,
    HEADS,
    HISTORY_CHANNELS,
    HISTORY_FRAMES,
    LOWER,
    NUM_IMAGE_POINTS,
    NUM_POINTS,
    flips,
    head_frame,
    history_volume,
    pose,
    starts,
    weights,
)
from torch import Tensor, nn

from mmvl.occupancy.alocc import head as head_module
from mmvl.occupancy.alocc import history as history_module
from mmvl.occupancy.alocc.head import ALOccHead
from mmvl.occupancy.alocc.history import TemporalFusion
from mmvl.occupancy.datasets.classes import OCC3D, OPENOCC
from mmvl.occupancy.structures import OccupancySample

with np.load(Path(__file__).parent / 'data' / 'alocc_back.npz') as file:
    GOLDEN = dict(file)


def load_released(module: nn.Module, name: str, keys: list[tuple[str, str]]) -> dict[str, str]:
    """Fill a module, which the model calls ``name``, from seeds; released name -> ours."""
    own = {f'{name}.{key}': value for key, value in module.state_dict().items()}
    released = {}
    for key in own:
        for pattern, replacement in keys:
            if key.startswith(replacement):
                prefix = re.sub(r'\\(.)', r'\1', pattern.removeprefix('^'))
                released[prefix + key.removeprefix(replacement)] = key
    assert len(released) == len(own)
    seeded = weights({theirs: tuple(own[ours].shape) for theirs, ours in released.items()})
    state = {released[theirs].removeprefix(f'{name}.'): v for theirs, v in seeded.items()}
    module.load_state_dict(state)
    return {theirs: ours.removeprefix(f'{name}.') for theirs, ours in released.items()}


def motion(frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Poses, augmentation and starts of a frame."""
    poses = torch.stack([pose(slot, frame) for slot in range(2)])
    return poses, torch.eye(3).repeat(2, 1, 1), torch.tensor(starts(frame))


@cache
def released_head(kind: str) -> tuple[ALOccHead, dict[str, str]]:
    """Ours with the seeded weights, and released name -> ours."""
    flow = {'type': 'ALOccFlowHead'} if HEADS[kind].rates else None
    head = ALOccHead(
        classes=OPENOCC if flow else OCC3D,
        num_points=NUM_POINTS,
        num_image_points=NUM_IMAGE_POINTS,
        flow_head=flow,
    )
    return head, load_released(head, 'head', head_module.KEYS)


def samples(given: dict[str, Tensor]) -> list[OccupancySample]:
    """The labels of a frame, in the order of files."""
    found = []
    for labels, cells, flow in zip(given['labels'], given['cells'], given['flow'], strict=True):
        sample = OccupancySample()
        sample.gt_semantics = labels.transpose(0, 1)
        sample.image_semantics = cells
        sample.gt_flow = flow.transpose(0, 1).flip(-1)
        found.append(sample)
    return found


@pytest.mark.parametrize('kind', HEADS)
def test_losses_and_gradients_are_those_of_the_released_head(kind: str) -> None:
    head, names = released_head(kind)
    head.train()
    head.reset_state()
    for frame in range(FRAMES):
        given = head_frame(kind, frame)
        volume = given['volume'].requires_grad_()
        context = given['context'].requires_grad_()
        if head.flow_head is not None:
            head.flow_head.cost_volume_truth_rate = HEADS[kind].rates[frame]
        losses = head.loss(
            volume,
            context.transpose(1, 2),
            samples(given),
            *motion(frame),
            generator=torch.Generator().manual_seed(frame),
        )
        head.zero_grad()
        sum(losses.values()).backward()
        parameters = dict(head.named_parameters())
        gradients = {'volume': volume.grad, 'context': context.grad}
        gradients |= {
            theirs.removeprefix('alocc_head.'): parameters[ours].grad
            for theirs, ours in names.items()
            if ours in parameters
        }
        found = {name: value.item() for name, value in losses.items()}
        found |= {f'gradient/{name}': value.norm().item() for name, value in gradients.items()}
        prefix = f'{kind}/{frame}/'
        expected = {k.removeprefix(prefix): v for k, v in GOLDEN.items() if k.startswith(prefix)}
        assert found == pytest.approx(
            {k: float(v) for k, v in expected.items()}, rel=2e-5, abs=1e-6
        )


@pytest.mark.parametrize('kind', HEADS)
def test_class_and_sampling_weights_are_the_released_ones(kind: str) -> None:
    loss = released_head(kind)[0].mask_loss
    expected = torch.from_numpy(GOLDEN[f'{kind}/class_weights'][1:]).float()
    torch.testing.assert_close(loss.weights, expected, rtol=1e-6, atol=0)
    expected = torch.from_numpy(GOLDEN[f'{kind}/sample_weights'][1:]).float()
    torch.testing.assert_close(loss.sampling, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize('kind', HEADS)
def test_predictions_are_the_released_ones_in_file_order(kind: str) -> None:
    head, _ = released_head(kind)
    load_released(head, 'head', head_module.KEYS)
    head.eval()
    head.reset_state()
    volume = head_frame(kind, 0)['volume'][:1]
    poses, bda, begins = (each[:1] for each in motion(0))
    ((semantics, flow),) = head.predict(volume, poses, bda, begins)
    assert semantics.shape == (GRID[1], GRID[0], GRID[2])
    np.testing.assert_array_equal(semantics.numpy(), GOLDEN[f'{kind}/semantics'])
    if flow is not None:
        # stored in half precision
        np.testing.assert_allclose(flow.numpy(), GOLDEN['flow/flow'], rtol=1e-3, atol=2e-3)


def test_history_is_the_released_one_before_and_after_the_past_is_kept() -> None:
    fusion = TemporalFusion(HISTORY_CHANNELS, HISTORY_FRAMES, lower_bound=LOWER)
    load_released(fusion, 'history', history_module.KEYS)
    fusion.train()
    for frame, enabled in enumerate(ENABLED):
        fusion.enabled = enabled
        with torch.no_grad():
            poses, _, begins = motion(frame)
            fused = fusion(history_volume(frame), poses, flips(frame), begins)
        expected = torch.from_numpy(GOLDEN[f'history/{frame}'])
        torch.testing.assert_close(fused[..., ::3, ::2], expected, rtol=0, atol=2e-5)
