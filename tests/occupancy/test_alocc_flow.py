"""The cost volume: it finds what has moved itself, whatever the car did."""

from math import cos, sin
from typing import Any

import pytest
import torch
from torch import Tensor

from mmvl.occupancy.alocc.flow_head import ALOccFlowHead

SIZE = 41
VOXEL, LOWER = (0.4, 0.4), (-8.0, -8.0)
WINDOW = 5
CENTRE = WINDOW * WINDOW // 2


def head(**settings: Any) -> ALOccFlowHead:
    torch.manual_seed(0)
    given = {'channels': 6, 'num_classes': 3, 'window': WINDOW, 'dilation': 1}
    geometry = {'voxel_size': VOXEL, 'lower_bound': LOWER}
    return ALOccFlowHead(**{**given, **geometry, **settings}).eval()


def pose(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> Tensor:
    found = torch.eye(4, dtype=torch.float64)
    found[:2, :2] = torch.tensor([[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]])
    found[:2, 3] = torch.tensor([x, y])
    return found


def motion(*poses: Tensor, start: bool, flips: tuple[int, int] = (1, 1)) -> tuple[Tensor, ...]:
    bda = torch.diag(torch.tensor([*map(float, flips), 1.0])).repeat(len(poses), 1, 1)
    return torch.stack(poses), bda, torch.full((len(poses),), start)


def volume(
    pose: Tensor, flips: tuple[int, int] = (1, 1), moved: tuple[float, float] = (0, 0)
) -> Tensor:
    """What a car sees of a world that has ``moved``, metres: (1, 6, Y, X, 16)."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing='ij')
    place = torch.stack([x, y], -1).double() * VOXEL[0] + LOWER[0]
    place = place * torch.tensor(flips) @ pose[:2, :2].T + pose[:2, 3] - torch.tensor(moved)
    waves = torch.tensor([[0.9, 0.3], [-0.3, 0.8], [0.6, -0.7]], dtype=torch.float64)
    phase = place @ waves.T
    seen = torch.cat([phase.sin(), phase.cos()], -1).movedim(-1, 0).float()
    return seen[None, ..., None].expand(-1, -1, -1, -1, 16)


def noise(seed: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 6, 12, 12, 16, generator=torch.Generator().manual_seed(seed))


def test_published_size() -> None:
    assert sum(value.numel() for value in ALOccFlowHead().parameters()) == 141_344


@pytest.mark.parametrize('after', [(1, 1), (-1, 1), (1, -1)])
@pytest.mark.parametrize('before', [(1, 1), (-1, -1)])
def test_what_stands_still_is_found_in_the_middle(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    module, poses = head(), (pose(1, 2, 0.3), pose(1.5, 1.6, 0.4))
    module.match(volume(poses[0], before), *motion(poses[0], start=True, flips=before))
    cost = module.match(volume(poses[1], after), *motion(poses[1], start=False, flips=after))
    assert cost.shape == (1, WINDOW**2, SIZE // 2, SIZE // 2)
    inner = cost[0, :, 5:-5, 5:-5]
    assert (inner.argmin(0) == CENTRE).float().mean() > 0.95
    # a cosine of one over the temperature
    assert inner.amin(0).mean().item() == pytest.approx(-10, abs=0.2)


@pytest.mark.parametrize(('cells', 'row', 'column'), [((1, 0), 0, -1), ((0, 1), -1, 0)])
def test_what_moves_is_found_where_it_was(cells: tuple[int, int], row: int, column: int) -> None:
    module, poses = head(), (pose(yaw=0.2), pose(0.5, 0.3, 0.25))
    # a cell of the halved view, in the frame of the car
    way = poses[1][:2, :2] @ torch.tensor(cells).double() * VOXEL[0] * (SIZE - 1) / (SIZE // 2 - 1)
    module.match(volume(poses[0]), *motion(poses[0], start=True))
    now = volume(poses[1], moved=tuple(way.tolist()))
    cost = module.match(now, *motion(poses[1], start=False))
    found = cost[0, :, 6:-6, 6:-6].argmin(0)
    assert (found == CENTRE + row * WINDOW + column).float().mean() > 0.95


def test_first_frame_is_compared_with_itself() -> None:
    module = head()
    cost = module.match(noise(0), *motion(pose(), start=True))
    assert (cost.argmin(1) == CENTRE).all()


def test_outside_and_empty_candidates_cost_more() -> None:
    module = head()
    x = noise(0).abs()
    x[:, :, :6, :6] = 0
    module.match(x, *motion(pose(), start=True))
    cost = module.match(noise(0), *motion(pose(), start=False))
    assert cost[0, 0, 0, 0] == 5.0
    assert cost[0, CENTRE, 1, 1] == 5.0
    assert cost[0, CENTRE, 5, 5] < 5.0


@pytest.mark.parametrize(('window', 'dilation'), [(3, 1), (5, 2), (11, 2)])
def test_candidates_are_those_of_unfold(window: int, dilation: int) -> None:
    module = head(window=window, dilation=dilation)
    now, before = (noise(i)[..., 0] for i in range(2))
    before[:, :, 2:5] = 0
    halved = [
        torch.nn.functional.interpolate(x, (6, 6), mode='bilinear', align_corners=True)
        for x in (now, before)
    ]
    reach = dilation * (window // 2)
    found = torch.nn.functional.unfold(halved[1], window, dilation, reach).view(6, window**2, 6, 6)
    cosine = torch.nn.functional.cosine_similarity(halved[0][0][:, None], found, 0, eps=1e-12)
    expected = 5.0 * (found.sum(0) == 0) - cosine / 0.1
    torch.testing.assert_close(module._cost(now, before)[0], expected, rtol=0, atol=1e-4)


def test_labels_replace_the_features_at_full_rate() -> None:
    module = head().train()
    labels = [
        torch.randint(4, (1, 12, 12, 16), generator=torch.Generator().manual_seed(i))
        for i in (0, 1)
    ]

    def costs(rate: float, seeds: tuple[int, int]) -> Tensor:
        module.reset_state()
        module.cost_volume_truth_rate = rate
        module.match(noise(seeds[0]), *motion(pose(), start=True), labels[0])
        return module.match(noise(seeds[1]), *motion(pose(), start=False), labels[1])

    assert torch.equal(costs(1.0, (0, 1)), costs(1.0, (2, 3)))
    assert not torch.equal(costs(0.0, (0, 1)), costs(0.0, (2, 3)))
    mixed = 0.3 * costs(1.0, (0, 1)) + 0.7 * costs(0.0, (0, 1))
    torch.testing.assert_close(costs(0.3, (0, 1)), mixed)


@pytest.mark.parametrize('compare', [True, False])
def test_voxels_without_a_label_are_a_class_or_nothing(compare: bool) -> None:
    module = head(compare_ignored=compare).train()
    labels = torch.full((1, 12, 12, 16), 255)
    for start in (True, False):
        cost = module.match(noise(0), *motion(pose(), start=start), labels)
    assert cost[0, CENTRE, 3, 3].item() == pytest.approx(-10.0 if compare else 5.0, abs=1e-4)


def test_labels_play_no_part_in_evaluation() -> None:
    module, labels = head(), torch.randint(4, (1, 12, 12, 16))
    found = module(noise(0), *motion(pose(), start=True), labels).flow
    module.reset_state()
    assert torch.equal(found, module(noise(0), *motion(pose(), start=True)).flow)


def test_velocity_is_the_mean_of_its_bins() -> None:
    module = head()
    for value in module.predictor[-1].parameters():
        torch.nn.init.zeros_(value)
    with torch.no_grad():
        bias = module.predictor[-1].bias.view(88, 2)
        bias[[50, 51], 0] = 100.0
        bias[0, 1] = 100.0
    found = module(noise(0), *motion(pose(), start=True))
    assert found.flow.shape == (1, 12, 12, 16, 2) and found.logits.shape == (1, 88, 2, 12, 12, 16)
    torch.testing.assert_close(found.flow[0, 3, 4, 5], torch.tensor([3.25, -22.0]))


def test_each_place_has_its_own_past_and_it_can_be_restored() -> None:
    module, other, alone = head(), head(), head()
    poses = (pose(yaw=0.1), pose(0.3, yaw=0.2))
    for i in range(2):
        module(noise(i, 2), *motion(*poses, start=i == 0))
        alone(noise(i, 2)[:1], *motion(poses[0], start=i == 0))
    other.load_temporal_state(module.temporal_state())
    for each in (module, other):
        each.reset_state([1])
    now, moved = noise(2, 2), motion(poses[1], poses[0], start=False)
    found = module(now, *moved).flow
    assert torch.equal(found, other(now, *moved).flow)
    first = alone(now[:1], *motion(poses[1], start=False)).flow
    torch.testing.assert_close(found[:1], first, rtol=0, atol=1e-4)
    alone.reset_state()
    fresh = alone(now[1:], *motion(poses[0], start=True)).flow
    torch.testing.assert_close(found[1:], fresh, rtol=0, atol=1e-4)
