"""The past: it lies where the present sees it, and each place in the batch has its own."""

import io
from collections.abc import Sequence
from math import cos, sin
from typing import Any

import pytest
import torch
from torch import Tensor

from mmvl.occupancy.alocc.history import TemporalFusion, index_motion, warp

CHANNELS, FRAMES = 3, 4
VOXEL, LOWER = (0.5, 0.4, 0.4), (-5.0, -4.0, -1.0)
# Y, X, Z: the grid is symmetric about the car, so that flips keep it
SIZE = (21, 21, 6)
FLIPS = {'none': (1, 1), 'x': (-1, 1), 'y': (1, -1), 'both': (-1, -1)}


def fusion(dims: int = 3, **settings: Any) -> TemporalFusion:
    torch.manual_seed(0)
    norm = {'type': f'BN{dims}d'}
    found = TemporalFusion(CHANNELS, FRAMES, VOXEL, LOWER, dims, norm_cfg=norm, **settings)
    for module in found.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            # few are cut off by the ReLU behind
            torch.nn.init.ones_(module.bias)
    return found.eval()


def pose(x: float, y: float, yaw: float, z: float = 0.0) -> Tensor:
    found = torch.eye(4, dtype=torch.float64)
    found[:2, :2] = torch.tensor([[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]])
    found[:3, 3] = torch.tensor([600.0 + x, -1200.0 + y, z])
    return found


POSES = [pose(0, 0, 0.5), pose(0.7, 0.5, 0.6, 0.1), pose(1.5, 0.8, 0.7, 0.15)]


def bda(flips: Sequence[int]) -> Tensor:
    return torch.diag(torch.tensor([*map(float, flips), 1.0]))


def scene(pose: Tensor, flips: Sequence[int], dims: int = 3) -> Tensor:
    """A world that does not move, as a car sees it: (1, C, Y, X[, Z]), slow in space."""
    y, x, z = torch.meshgrid(*(torch.arange(n).double() for n in SIZE), indexing='ij')
    place = torch.stack([x, y, z], -1) * torch.tensor(VOXEL) + torch.tensor(LOWER)
    if dims == 2:
        place = place[..., 0, :]
        place[..., 2] = 1.0
    place = place @ bda(flips).double()  # its own inverse
    place = place @ pose[:3, :3].T + pose[:3, 3]
    waves = torch.tensor([[0.3, 0.1, 0.2], [-0.2, 0.3, 0.1], [0.1, -0.2, -0.3]]).double()
    return (place @ waves.T).sin().movedim(-1, 0)[None].float()


def step(
    module: TemporalFusion,
    volumes: Tensor,
    poses: Sequence[Tensor],
    starts: Sequence[bool],
    flips: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """Give the module a frame; what it answers is not cut off by the ReLU everywhere."""
    flips = flips or [(1, 1)] * len(poses)
    rotations = torch.stack([bda(each) for each in flips])
    fused = module(volumes, torch.stack(list(poses)), rotations, torch.tensor(starts))
    assert (fused > 0).float().mean() > 0.3
    return fused


def noise(frame: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(frame)
    return torch.randn(batch, CHANNELS, *SIZE, generator=generator)


def test_published_size() -> None:
    assert sum(value.numel() for value in TemporalFusion(32).parameters()) == 18_656


@pytest.mark.parametrize('after', FLIPS)
@pytest.mark.parametrize('before', FLIPS)
@pytest.mark.parametrize('dims', [2, 3])
def test_what_stands_still_lies_where_it_is_seen_now(dims: int, before: str, after: str) -> None:
    module = fusion(dims)
    flips = [FLIPS[before], FLIPS[after]]
    poses = [POSES[0].clone(), POSES[1].clone()]
    if dims == 2:
        # a bird's-eye view knows no height
        poses[1][2, 3] = 0
    seen = [scene(p, f, dims) for p, f in zip(poses, flips, strict=True)]
    for i in range(2):
        step(module, seen[i], [poses[i]], [i == 0], [flips[i]])
    present, past = module.temporal_state()['features'][0].split(CHANNELS)[:2]
    assert torch.equal(present, seen[1][0])
    matrix = index_motion(
        *(poses[0][None], poses[1][None], bda(flips[0])[None], bda(flips[1])[None]),
        *(VOXEL[:dims], LOWER[:dims]),
    )
    inside = warp(torch.ones_like(seen[0]), matrix)[0, 0] > 0.999
    assert inside.float().mean() > 0.6
    assert (past - present).abs().amax(0)[inside].max() < 0.005
    # and it did move
    assert (seen[0] - seen[1]).abs().mean() > 0.05


def test_bird_s_eye_view_is_moved_at_the_height_of_its_plane() -> None:
    lean = torch.eye(4, dtype=torch.float64)
    lean[0, 0] = lean[2, 2] = cos(0.1)
    lean[0, 2], lean[2, 0] = sin(0.1), -sin(0.1)
    matrix = index_motion(
        *(torch.eye(4).double()[None], lean[None], bda((1, 1))[None], bda((1, 1))[None]),
        *(VOXEL[:2], LOWER[:2]),
    )
    x = torch.arange(SIZE[1]).float().expand(1, 1, *SIZE[:2])
    for height in (0.0, 1.0):
        found = warp(x, matrix, height)[0, 0, 4, 10]
        metres = (10 * VOXEL[0] + LOWER[0]) * cos(0.1) + height * sin(0.1)
        assert found.item() == pytest.approx((metres - LOWER[0]) / VOXEL[0], abs=1e-5)


def test_lookup_is_linear_with_axes_in_their_places() -> None:
    axes = torch.meshgrid(*(torch.arange(n).float() for n in SIZE), indexing='ij')
    features = torch.stack([axes[1], axes[0], axes[2]])[None]  # channels x, y, z
    matrix = torch.eye(4, dtype=torch.float64)[None]
    matrix[0, :3, 3] = torch.tensor([1.25, -2.5, 0.75])
    found = warp(features, matrix)[0, :, 7, 9, 3]
    torch.testing.assert_close(found, torch.tensor([10.25, 4.5, 3.75]), rtol=0, atol=1e-5)
    assert (warp(features, matrix)[0, :, 0] == 0).all()


def test_each_place_in_the_batch_has_its_own_past() -> None:
    batch, apart = fusion(), [fusion(), fusion()]
    begins = [(True, True), (False, False), (False, True), (False, False)]
    for i, starts in enumerate(begins):
        poses = [POSES[i % 3], POSES[(i + 1) % 3]]
        found = step(batch, noise(i), poses, starts)
        for slot in range(2):
            alone = step(apart[slot], noise(i)[slot : slot + 1], [poses[slot]], [starts[slot]])
            torch.testing.assert_close(found[slot], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize('slots', [[1], None])
def test_a_place_that_is_reset_begins_anew(slots: list[int] | None) -> None:
    reset, fresh = fusion(), fusion()
    for i in range(2):
        step(reset, noise(i), POSES[:2], [i == 0] * 2)
    kept = reset.temporal_state()
    expected = step(reset, noise(2), POSES[1:], [False, True] if slots else [True, True])
    fresh.load_temporal_state(kept)
    fresh.reset_state(slots)
    assert torch.equal(step(fresh, noise(2), POSES[1:], [False, False]), expected)


def test_a_restored_past_goes_on_with_the_same_bits() -> None:
    one, other = fusion(), fusion()
    for i in range(3):
        step(one, noise(i), POSES[:2], [i == 0] * 2)
    state = one.temporal_state()
    other.load_temporal_state(state)
    # what was saved is no longer touched
    kept = {name: value.clone() for name, value in state.items()}
    for i in range(3, 5):
        found = [step(module, noise(i), POSES[1:], [False, i == 4]) for module in (one, other)]
        assert torch.equal(*found)
    assert all(torch.equal(state[name], value) for name, value in kept.items())


def test_ages_count_from_the_beginning_of_the_sequence() -> None:
    module = fusion()
    expected = [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 0, 0, 0], [0, 1, 1, 1]]
    for i, ages in enumerate(expected):
        step(module, noise(i, 1), POSES[:1], [i in (0, 3)])
        assert module.temporal_state()['ages'].tolist() == [ages]


def test_age_of_a_frame_is_felt() -> None:
    module = fusion()
    first = step(module, noise(0, 1), POSES[:1], [True])
    # the same frame from the same place: all that has changed is the age of the past
    second = step(module, noise(0, 1), POSES[:1], [False])
    assert (first - second).abs().max() > 1e-3
    module.reset_state()
    with torch.no_grad():
        module.time_conv[0].weight[:, -1] = 0
    first = step(module, noise(0, 1), POSES[:1], [True])
    second = step(module, noise(0, 1), POSES[:1], [False])
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


def test_past_that_is_not_kept_has_no_effect() -> None:
    one, other = fusion().train(), fusion().train()
    one.enabled = other.enabled = False
    for i in range(2):
        step(one, noise(i), POSES[:2], [i == 0] * 2)
        step(other, noise(7 + i), POSES[:2], [i == 0] * 2)
    assert 'features' not in one.temporal_state()
    one.enabled = other.enabled = True
    assert torch.equal(*(step(m, noise(2), POSES[1:], [False] * 2) for m in (one, other)))
    step(one, noise(3), POSES[1:], [False] * 2)
    assert not torch.equal(*(step(m, noise(4), POSES[1:], [False] * 2) for m in (one, other)))


def test_evaluation_keeps_the_past_whatever_the_training_does() -> None:
    module = fusion()
    module.enabled = False
    step(module, noise(0), POSES[:2], [True] * 2)
    assert module.temporal_state()['features'].shape[1] == FRAMES * CHANNELS


def test_validation_leaves_the_past_of_the_training_alone() -> None:
    module = fusion().train()
    step(module, noise(0), POSES[:2], [True] * 2)
    before = module.temporal_state()
    module.eval()
    assert module.temporal_state() == {}
    step(module, noise(1, 1), POSES[:1], [True])
    module.train()
    after = module.temporal_state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_number_of_samples_needs_a_beginning() -> None:
    module = fusion()
    step(module, noise(0), POSES[:2], [True] * 2)
    with pytest.raises(ValueError, match=r'batch of 1 samples follows one of 2.\nWhere: Temporal'):
        step(module, noise(1, 1), POSES[:1], [False])
    step(module, noise(1, 1), POSES[:1], [True])


def test_past_is_no_weight_and_no_buffer() -> None:
    module = fusion()
    names = set(module.state_dict())
    step(module, noise(0), POSES[:2], [True] * 2)
    assert set(module.state_dict()) == names
    assert all(value.ndim <= 1 or 'weight' in name for name, value in module.named_buffers())


@pytest.mark.parametrize('with_cp', [False, True])
def test_every_weight_and_the_present_learn_but_not_the_past(with_cp: bool) -> None:
    module = fusion(with_cp=with_cp).train()
    first = noise(0).requires_grad_()
    step(module, first, POSES[:2], [True] * 2)
    second = noise(1).requires_grad_()
    step(module, second, POSES[1:], [False] * 2).square().sum().backward()
    assert first.grad is None
    assert second.grad.abs().max() > 0
    for name, value in module.named_parameters():
        assert value.grad is not None and value.grad.abs().max() > 0, name


def test_half_precision_keeps_the_past_whole() -> None:
    whole, half = fusion(), fusion()
    for i in range(3):
        expected = step(whole, noise(i), POSES[:2], [i == 0] * 2)
        with torch.autocast('cpu', torch.bfloat16):
            found = step(half, noise(i), POSES[:2], [i == 0] * 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    states = (whole.temporal_state(), half.temporal_state())
    torch.testing.assert_close(*(state['features'] for state in states), rtol=0, atol=0)


def test_training_that_was_stopped_within_a_sequence_ends_with_the_same_bits() -> None:
    def train(module: TemporalFusion, first: int, last: int, optimizer: torch.optim.Adam) -> None:
        for i in range(first, last):
            fused = step(module.train(), noise(i), POSES[:2], [i == 0, i in (0, 2)])
            optimizer.zero_grad()
            (fused - noise(100 + i)).square().mean().backward()
            optimizer.step()

    def fresh() -> tuple[TemporalFusion, torch.optim.Adam]:
        module = fusion()
        return module, torch.optim.Adam(module.parameters(), lr=0.01)

    whole, optimizer = fresh()
    train(whole, 0, 6, optimizer)
    stopped, optimizer = fresh()
    train(stopped, 0, 4, optimizer)
    file = io.BytesIO()
    states = stopped.state_dict(), optimizer.state_dict(), stopped.temporal_state()
    torch.save(states, file)
    file.seek(0)
    resumed, optimizer = fresh()
    weights, moments, past = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    resumed.train().load_temporal_state(past)
    train(resumed, 4, 6, optimizer)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
