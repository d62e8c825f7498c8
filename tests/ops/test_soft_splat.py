"""soft_splat against a dense sum of tent functions, on each implementation."""

import pytest
import torch
from torch import Tensor

from mmvl.ops import bev_pool, bev_pool_prepare, soft_splat
from mmvl.ops._library import COMPILED_FOR

GRID = (5, 4, 3)
ROWS, CHANNELS = 7, 6
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 4e-2,
}


def case(name: str, kind: torch.dtype = torch.float64) -> tuple[tuple[Tensor, ...], int]:
    """Weights, coordinates, features, rows of features, samples; and B."""
    torch.manual_seed(2)
    batch_size = 3 if name == 'batch of 3' else 1
    points = {'empty': 0, 'single': 1}.get(name, 150)
    # beyond the borders too
    place = torch.rand(points, 3, dtype=torch.float64) * (torch.tensor(GRID) + 2) - 1.5
    if name in ('one voxel', 'single'):
        place = 1 + 0.9 * torch.rand(points, 3, dtype=torch.float64)
    weights = torch.rand(points, dtype=torch.float64).to(kind)
    features = torch.randn(ROWS, CHANNELS, dtype=torch.float64).to(kind)
    row, batch = torch.randint(0, ROWS, (points,)), torch.randint(0, batch_size, (points,))
    if name == 'non-contiguous':
        weights, place = torch.stack((weights, weights), 1)[:, 0], place.T.contiguous().T
        row = torch.stack((row, row), 1)[:, 1]
        assert not any(each.is_contiguous() for each in (weights, place, row))
    low = torch.float64 if kind == torch.float64 else torch.float32
    return (weights, place.to(low), features, row, batch), batch_size


def dense(
    weights: Tensor, place: Tensor, features: Tensor, row: Tensor, batch: Tensor, batch_size: int
) -> Tensor:
    """A voxel's share of a point falls by 1 a voxel along each axis, in float64."""
    x, y, z = (
        (1 - (place[:, i].double() - torch.arange(GRID[i])[:, None]).abs()).clamp(min=0)
        for i in range(3)
    )
    sample = (batch == torch.arange(batch_size)[:, None]).double()
    values = weights.double()[:, None] * features.double()[row]
    return torch.einsum('bp,zp,yp,xp,pc->bzyxc', sample, z, y, x, values)


@pytest.mark.parametrize('kind', TOLERANCE)
@pytest.mark.parametrize(
    'name', ['random', 'empty', 'single', 'one voxel', 'non-contiguous', 'batch of 3']
)
def test_values_and_gradients(name: str, kind: torch.dtype, each_backend: str) -> None:
    (weights, place, features, *index), batch_size = case(name, kind)
    leaves = [each.requires_grad_() for each in (weights, place, features)]
    volume = soft_splat(*leaves, *index, GRID, batch_size)
    expected = dense(*leaves, *index, batch_size)
    assert volume.dtype == kind and volume.shape == (batch_size, *GRID[::-1], CHANNELS)
    limits = {'rtol': TOLERANCE[kind], 'atol': TOLERANCE[kind]}
    torch.testing.assert_close(volume.double(), expected, **limits)
    grad = torch.randn_like(expected)
    ours = torch.autograd.grad(volume, leaves, grad.to(kind))
    theirs = torch.autograd.grad(expected, leaves, grad.to(kind).double())
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found.double(), wanted.double(), **limits)


def test_corners_by_hand(each_backend: str) -> None:
    place = torch.tensor([[2.0, 1.0, 1.0], [-0.25, 0.0, 0.0], [4.5, 3.5, 2.5]])
    weights, features = torch.tensor([1.0, 8.0, 16.0]), torch.tensor([[1.0]])
    index = torch.zeros(3, dtype=torch.int64)
    volume = soft_splat(weights, place, features, index, index, GRID, 1)[0, ..., 0]
    # on a centre all of it; a quarter voxel outside three quarters; in the outermost corner 1/8
    assert {(2, 1, 1): 1.0, (0, 0, 0): 6.0, (4, 3, 2): 2.0} == {
        (x, y, z): volume[z, y, x].item() for z, y, x in volume.nonzero().tolist()
    }


def test_equals_pooling_of_eight_corners(each_backend: str) -> None:
    (weights, place, features, row, batch), _ = case('random', torch.float32)
    low = place.floor()
    corners = torch.cartesian_prod(*[torch.tensor([0, 1])] * 3)
    voxels = (low[:, None] + corners).long().flatten(0, 1)
    parts = (place - low)[:, None]
    shares = torch.where(corners.bool(), parts, 1 - parts).prod(-1)
    found = bev_pool_prepare(voxels, batch.repeat_interleave(8), GRID, 1)
    pooled = bev_pool(
        (weights[:, None] * shares).flatten(),
        features,
        found.kept,
        row.repeat_interleave(8)[found.kept],
        *found[1:],
        60,
    )
    volume = soft_splat(weights, place, features, row, batch, GRID, 1)
    torch.testing.assert_close(volume.reshape(60, CHANNELS), pooled, rtol=1e-5, atol=1e-5)


def test_shares_of_an_inner_point_sum_to_one(each_backend: str) -> None:
    place = torch.rand(40, 3, dtype=torch.float64) * (torch.tensor(GRID) - 1)
    index = torch.zeros(40, dtype=torch.int64)
    one = torch.ones(1, 1, dtype=torch.float64)
    volume = soft_splat(torch.ones(40).double(), place, one, index, index, GRID, 1)
    assert volume.sum().item() == pytest.approx(40, abs=1e-12)


def test_points_that_are_no_number_are_dropped(each_backend: str) -> None:
    (weights, place, features, row, batch), _ = case('random', torch.float32)
    odd = place.clone()
    odd[:4, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30])
    keep = torch.arange(len(place)) >= 4
    wanted = soft_splat(weights[keep], place[keep], features, row[keep], batch[keep], GRID, 1)
    leaves = (weights.requires_grad_(), odd.requires_grad_(), features.requires_grad_())
    volume = soft_splat(*leaves, row, batch, GRID, 1)
    torch.testing.assert_close(volume, wanted)
    volume.square().sum().backward()
    assert weights.grad[:4].eq(0).all() and odd.grad[:4].eq(0).all()
    assert all(each.grad.isfinite().all() for each in leaves)


def test_gradcheck(each_backend: str) -> None:
    (weights, place, features, *index), _ = case('random')
    inputs = [each[:20].contiguous() for each in (weights, place)]
    leaves = [each.requires_grad_() for each in (*inputs, features[:, :2].contiguous())]
    index = [each[:20] for each in index]
    torch.autograd.gradcheck(lambda *given: soft_splat(*given, *index, GRID, 1), leaves)


def test_opcheck() -> None:
    (weights, place, features, *index), _ = case('random')
    leaves = [each.requires_grad_() for each in (weights, place, features)]
    torch.library.opcheck(torch.ops.mmvl.soft_splat.default, (*leaves, *index, list(GRID), 1))
    grad = torch.randn(1, *GRID[::-1], CHANNELS, dtype=torch.float64)
    given = (grad, *(each.detach() for each in leaves), *index)
    torch.library.opcheck(torch.ops.mmvl.soft_splat_backward.default, given)


def test_bits_repeat(each_backend: str) -> None:
    (weights, place, features, *index), _ = case('random', torch.float32)
    grad = torch.randn(1, *GRID[::-1], CHANNELS)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        leaves = [each.detach().requires_grad_() for each in (weights, place, features)]
        volume = soft_splat(*leaves, *index, GRID, 1)
        results.append((volume, *torch.autograd.grad(volume, leaves, grad)))
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_bad_arguments_are_refused() -> None:
    (weights, place, features, row, batch), _ = case('random', torch.float32)
    with pytest.raises(ValueError, match='coordinates is'):
        soft_splat(weights, place[:, :2], features, row, batch, GRID, 1)
    with pytest.raises(ValueError, match='weights is'):
        soft_splat(weights[1:], place, features, row, batch, GRID, 1)
    with pytest.raises(ValueError, match='grid is'):
        soft_splat(weights, place, features, row, batch, (5, 4), 1)
    if 'cpu' in COMPILED_FOR:
        with pytest.raises(IndexError, match='index_feature has values outside 0 to 6'):
            soft_splat(weights, place, features, row + 1, batch, GRID, 1)
        with pytest.raises(IndexError, match='batch has values outside 0 to 0'):
            soft_splat(weights, place, features, row, batch + 1, GRID, 1)
