"""The ray caster against a walk of one ray at a time in plain numbers."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from mmvl.ops import backend, routing_gather, voxel_ray_cast
from mmvl.ops._library import COMPILED_FOR


def walk(grid: np.ndarray, start: list[float], end: list[float]) -> tuple:
    """Distance, voxel and hit of one ray; ``grid`` is (Z, Y, X)."""
    size = grid.shape[::-1]
    way = [e - s for s, e in zip(start, end, strict=True)]
    length = math.sqrt(way[0] * way[0] + way[1] * way[1] + way[2] * way[2])
    direction = [w / length for w in way]
    place = [int(s) for s in start]
    step = [1 if d >= 0 else -1 for d in direction]
    largest = 1.7976931348623157e308
    border = [
        (p + (s > 0) - o) / d if d != 0 else largest
        for p, s, o, d in zip(place, step, start, direction, strict=True)
    ]
    delta = [s / d if d != 0 else largest for s, d in zip(step, direction, strict=True)]
    found, was_inside = (-1.0, (0, 0, 0), False), False
    for _ in range(1001):
        inside = all(0 <= p < n for p, n in zip(place, size, strict=True))
        if was_inside and not inside:
            break
        if border[0] < border[1]:
            axis = 0 if border[0] < border[2] else 2
        else:
            axis = 1 if border[1] < border[2] else 2
        if inside:
            was_inside = True
            hit = bool(grid[place[2], place[1], place[0]])
            found = border[axis], tuple(place), hit
            if hit:
                break
        place[axis] += step[axis]
        border[axis] += delta[axis]
    return found


def draw_rays(number: int, size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Origins and ends: inside and outside the grid, along axes, along planes, with ties."""
    extent = torch.tensor(size, dtype=torch.float32)
    targets = torch.rand(number, 3) * extent
    origins = torch.rand(number, 3) * (extent + 6) - 3
    kinds, axes = torch.arange(number) % 6, torch.arange(number) // 6 % 3
    for axis in range(3):
        # along one axis, or along two, through the grid or half a voxel beside it
        others = torch.arange(3) != axis
        origins = torch.where(((kinds == 1) & (axes == axis))[:, None] & others, targets, origins)
        origins = torch.where(((kinds == 2) & (axes == axis))[:, None] & ~others, targets, origins)
    directions = targets - origins
    # ties: from corners of voxels with equal steps along all axes
    origins[kinds == 3] = origins[kinds == 3].round()
    directions[kinds == 3] = directions[kinds == 3].sign()
    # anywhere, mostly past the grid
    few = torch.arange(number) % 36 == 4
    directions[few] = torch.randn(int(few.sum()), 3)
    return origins, origins + directions


@cache
def drawn(size: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Grids from empty to full, rays and what the walk of each gives."""
    number = 10_000 if size == (9, 7, 5) else 300
    grids = torch.rand(4, *size[::-1]) < torch.tensor([0.0, 0.05, 0.3, 1.0])[:, None, None, None]
    origins, ends = draw_rays(number, size)
    index = torch.randint(0, 4, (number,))
    cells = grids.numpy()
    rows = zip(index.tolist(), origins.tolist(), ends.tolist(), strict=True)
    distance, voxel, hit = zip(*(walk(cells[i], *ray) for i, *ray in rows), strict=True)
    found = torch.tensor(distance, dtype=torch.float64), torch.tensor(voxel), torch.tensor(hit)
    return (grids, origins, ends, index), found


@pytest.mark.parametrize('size', [(9, 7, 5), (1, 1, 1), (16, 2, 3)])
def test_10_000_rays_have_no_mismatch(size: tuple[int, int, int], each_backend: str) -> None:
    given, wanted = drawn(size)
    found = voxel_ray_cast(*given)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert 0.2 < found[2].double().mean() < 0.9 and (found[0] == -1).any()


def test_all_implementations_give_the_same_bits() -> None:
    if 'cpu' not in COMPILED_FOR:
        pytest.skip('the operators are not compiled')
    size = (40, 30, 8)
    grid = torch.rand(2, *size[::-1]) < 0.02
    origins, ends = draw_rays(3000, size)
    index = torch.randint(0, 2, (3000,))
    results = []
    for name in ('reference', 'compiled'):
        with backend(name):
            results.append(voxel_ray_cast(grid, origins, ends, index))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def cast(grid: Tensor, start: list[float], end: list[float]) -> tuple[float, list[int], bool]:
    ray = (torch.tensor([start]).double(), torch.tensor([end]).double())
    distance, voxel, hit = voxel_ray_cast(grid, *ray, torch.zeros(1, dtype=torch.int64))
    return distance.item(), voxel[0].tolist(), hit.item()


def test_distances_by_hand(each_backend: str) -> None:
    grid = torch.zeros(1, 4, 4, 10)
    grid[0, 1, 2, 7] = 1
    # to where the ray leaves the voxel, not to where it enters
    assert cast(grid, [0.5, 2.5, 1.5], [1.5, 2.5, 1.5]) == (7.5, [7, 2, 1], True)
    # nothing met: the last voxel inside
    assert cast(grid, [0.5, 1.5, 1.5], [1.5, 1.5, 1.5]) == (9.5, [9, 1, 1], False)
    # from outside, and never inside
    assert cast(grid, [-3.5, 2.5, 1.5], [-2.5, 2.5, 1.5]) == (11.5, [7, 2, 1], True)
    assert cast(grid, [-3.5, 2.5, 1.5], [-4.5, 2.5, 1.5]) == (-1.0, [0, 0, 0], False)
    # half a voxel outside counts as inside, and is left behind the origin
    assert cast(grid, [-0.5, 2.5, 1.5], [-1.5, 2.5, 1.5]) == (-0.5, [0, 2, 1], False)
    # values up to one half are free
    assert cast(grid * 0.5, [0.5, 2.5, 1.5], [1.5, 2.5, 1.5])[2] is False


@pytest.mark.parametrize('far, hit', [(999.5, True), (1000.5, True), (1001.5, False)])
def test_a_ray_stops_after_1001_steps(far: float, hit: bool, each_backend: str) -> None:
    found = cast(torch.ones(1, 1, 1, 1), [0.5 - far - 0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    assert found[2] is hit


def test_odd_rays_end(each_backend: str) -> None:
    grid = torch.zeros(1, 3, 3, 3)
    for odd in (math.nan, math.inf, -math.inf, 1e300, 2.0**31):
        assert cast(grid, [odd, 1.0, 1.0], [1.0, 1.0, 1.0]) == (-1.0, [0, 0, 0], False)
    # no direction: the walk goes on, its length is no number
    distance, voxel, hit = cast(grid, [1.5, 1.5, 1.5], [1.5, 1.5, 1.5])
    assert math.isnan(distance) and voxel == [1, 1, 0] and not hit


def test_no_rays(each_backend: str) -> None:
    none = torch.zeros(0, 3)
    found = voxel_ray_cast(torch.ones(1, 2, 2, 2), none, none, torch.zeros(0, dtype=torch.int64))
    assert [tuple(each.shape) for each in found] == [(0,), (0, 3), (0,)]


def test_strided_input(each_backend: str) -> None:
    grid = (torch.rand(5, 6, 7, 1) < 0.2).permute(3, 0, 2, 1)
    origins, ends = draw_rays(60, (6, 7, 5))
    index = torch.zeros(60, dtype=torch.int64)
    strided = [torch.cat((each, each), 1)[:, 3:] for each in (origins, ends)]
    ours = voxel_ray_cast(grid, *strided, index)
    wanted = voxel_ray_cast(grid.contiguous(), origins, ends, index)
    assert all(torch.equal(a, b) for a, b in zip(ours, wanted, strict=True))


def test_opcheck() -> None:
    origins, ends = draw_rays(50, (6, 5, 4))
    given = (torch.rand(1, 4, 5, 6) < 0.3, origins.double(), ends.double())
    index = torch.zeros(50, dtype=torch.int64)
    torch.library.opcheck(torch.ops.mmvl.voxel_ray_cast.default, (*given, index))


def test_bad_arguments_are_refused() -> None:
    origins, ends = draw_rays(5, (6, 5, 4))
    index = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match='occupied is'):
        voxel_ray_cast(torch.ones(4, 5, 6), origins, ends, index)
    with pytest.raises(ValueError, match='ends is'):
        voxel_ray_cast(torch.ones(1, 4, 5, 6), origins, ends[:4], index)
    with pytest.raises(IndexError):
        voxel_ray_cast(torch.ones(1, 4, 5, 6), origins, ends, index + 1)


def test_routing_gather() -> None:
    kv = torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    index = torch.randint(0, 4, (2, 4, 2))
    weight = torch.rand(2, 4, 2, dtype=torch.float64, requires_grad=True)
    found = routing_gather(kv, index, weight)
    for n in range(2):
        for i in range(4):
            for j in range(2):
                wanted = weight[n, i, j] * kv[n, index[n, i, j]]
                torch.testing.assert_close(found[n, i, j], wanted)
    assert torch.equal(routing_gather(kv, index)[1, 2, 1], kv[1, index[1, 2, 1]])
    torch.autograd.gradcheck(lambda *given: routing_gather(given[0], index, given[1]), (kv, weight))
