"""bev_pool against dense matrix products, on each implementation."""

import pytest
import torch
from torch import Tensor

from mmvl.ops import BevPoolIndex, bev_pool, bev_pool_prepare
from mmvl.ops._library import COMPILED_FOR

GRID = (5, 4, 3)
ROWS, CHANNELS = 7, 19
"""More channels than one block of the kernel has, and not a multiple of it."""
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 4e-2,
}


def case(name: str, kind: torch.dtype = torch.float64) -> tuple[tuple[Tensor, ...], int]:
    """Weights, features, places of weights, rows of features, and what a grid gives; and B."""
    torch.manual_seed(1)
    batch_size = 3 if name == 'batch of 3' else 1
    points = {'empty': 0, 'single': 1}.get(name, 200)
    voxels = torch.stack([torch.randint(-1, size + 1, (points,)) for size in GRID], 1)
    if name in ('one voxel', 'single'):
        voxels[:] = torch.tensor([4, 3, 2])
    batch = torch.randint(0, batch_size, (points,))
    found = bev_pool_prepare(voxels, batch, GRID, batch_size)
    weights = torch.rand(max(points, 1), dtype=torch.float64).to(kind)
    features = torch.randn(ROWS, CHANNELS, dtype=torch.float64).to(kind)
    if name == 'non-contiguous':
        weights = torch.rand(2 * points, dtype=torch.float64).to(kind)[::2]
        features = torch.randn(CHANNELS, ROWS, dtype=torch.float64).to(kind).T
    row = torch.randint(0, ROWS, (points,))[found.kept]
    # places of weights repeat
    place = torch.div(found.kept, 2, rounding_mode='floor')
    index = (place, row, found.index_voxel, found.starts, found.lengths)
    if name == 'non-contiguous':
        index = tuple(torch.stack((each, each), 1)[:, 0] for each in index)
        assert not index[0].is_contiguous() and not features.is_contiguous()
    return (weights, features, *index), batch_size


def dense(weights: Tensor, features: Tensor, *index: Tensor, num_voxels: int) -> Tensor:
    """The same sums as products with a matrix of ones and zeros, in float64."""
    place, row, voxel = index[:3]
    member = (voxel == torch.arange(num_voxels)[:, None]).double()
    return member @ (weights.double()[place][:, None] * features.double()[row])


@pytest.mark.parametrize('kind', TOLERANCE)
@pytest.mark.parametrize(
    'name', ['random', 'empty', 'single', 'one voxel', 'non-contiguous', 'batch of 3']
)
def test_values_and_gradients(name: str, kind: torch.dtype, each_backend: str) -> None:
    (weights, features, *index), batch_size = case(name, kind)
    num_voxels = batch_size * GRID[0] * GRID[1] * GRID[2]
    leaves = weights.requires_grad_(), features.requires_grad_()
    pooled = bev_pool(*leaves, *index, num_voxels)
    expected = dense(*leaves, *index, num_voxels=num_voxels)
    assert pooled.dtype == kind and pooled.shape == (num_voxels, CHANNELS)
    limits = {'rtol': TOLERANCE[kind], 'atol': TOLERANCE[kind]}
    torch.testing.assert_close(pooled.double(), expected, **limits)
    grad = torch.randn_like(expected)
    ours = torch.autograd.grad(pooled, leaves, grad.to(kind))
    theirs = torch.autograd.grad(expected, leaves, grad.to(kind).double())
    for found, wanted in zip(ours, theirs, strict=True):
        assert found.dtype == kind
        torch.testing.assert_close(found.double(), wanted.double(), **limits)


def test_published_example(each_backend: str) -> None:
    """Source: test of the released operator of BEVDet."""
    weights = torch.tensor([0.3, 0.4, 0.2, 0.1, 0.7, 0.6, 0.8, 0.9], requires_grad=True)
    features = torch.ones(4, 2, requires_grad=True)
    index = ([0, 4, 1, 6], [0, 0, 1, 2], [0, 0, 1, 1], [0, 2], [2, 2])
    pooled = bev_pool(weights, features, *map(torch.tensor, index), 2)
    pooled.sum().backward()
    assert pooled.sum().item() == pytest.approx(4.4)
    assert weights.grad.tolist() == [2, 2, 0, 0, 2, 0, 2, 0]
    wanted = torch.tensor([1, 0.4, 0.8, 0])[:, None].expand(4, 2)
    torch.testing.assert_close(features.grad, wanted)


def test_a_weight_of_several_points_adds_up(each_backend: str) -> None:
    weights = torch.tensor([2.0], requires_grad=True)
    features = torch.tensor([[1.0], [10.0]])
    index = ([0, 0], [0, 1], [0, 3], [0, 1], [1, 1])
    pooled = bev_pool(weights, features, *map(torch.tensor, index), 4)
    pooled.sum().backward()
    assert pooled[:, 0].tolist() == [2, 0, 0, 20] and weights.grad.item() == 11


def test_preparing_keeps_order_and_counts() -> None:
    voxels = torch.tensor([[4, 3, 2], [0, 0, 0], [-1, 0, 0], [4, 3, 2], [0, 4, 0], [1, 0, 0]])
    batch = torch.tensor([0, 1, 0, 0, 0, 0])
    found = bev_pool_prepare(voxels, batch, GRID, 2)
    assert found.kept.tolist() == [5, 0, 3, 1]
    assert found.index_voxel.tolist() == [1, 59, 59, 60]
    assert found.starts.tolist() == [0, 1, 3] and found.lengths.tolist() == [1, 2, 1]
    assert [len(each) for each in bev_pool_prepare(voxels[:0], batch[:0], GRID, 2)] == [0] * 4


def test_gradcheck(each_backend: str) -> None:
    (weights, features, *index), _ = case('random')
    narrow = features[:, :3].contiguous().requires_grad_()
    torch.autograd.gradcheck(
        lambda w, f: bev_pool(w, f, *index, 60), (weights.requires_grad_(), narrow)
    )


def test_opcheck() -> None:
    (weights, features, *index), _ = case('random')
    leaves = (weights.requires_grad_(), features.requires_grad_())
    torch.library.opcheck(torch.ops.mmvl.bev_pool.default, (*leaves, *index, 60))
    grad = torch.randn(60, CHANNELS, dtype=torch.float64)
    given = (grad, weights.detach(), features.detach(), *index[:3])
    torch.library.opcheck(torch.ops.mmvl.bev_pool_backward.default, given)


def test_mixed_types_and_autocast(each_backend: str) -> None:
    (weights, features, *index), _ = case('random', torch.float32)
    plain = bev_pool(weights, features, *index, 60)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low = features @ torch.eye(CHANNELS)
        mixed = bev_pool(weights, low, *index, 60)
    assert low.dtype == torch.bfloat16 and mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=4e-2, atol=4e-2)


def test_bits_repeat(each_backend: str) -> None:
    (weights, features, *index), _ = case('random', torch.float32)
    grad = torch.randn(60, CHANNELS)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        leaves = (weights.detach().requires_grad_(), features.detach().requires_grad_())
        pooled = bev_pool(*leaves, *index, 60)
        results.append((pooled, *torch.autograd.grad(pooled, leaves, grad)))
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def index_of(*values: list[int]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(each, dtype=torch.int64) for each in values)


@pytest.mark.parametrize(
    'index, error, text',
    [
        (([9], [0], [0], [0], [1]), IndexError, 'index_weight'),
        (([0], [-1], [0], [0], [1]), IndexError, 'index_feature'),
        (([0], [0], [2], [0], [1]), IndexError, 'index_voxel'),
        (([0, 0], [0, 0], [1, 0], [0, 1], [1, 1]), ValueError, 'rise'),
        (([0, 0], [0, 0], [0, 1], [0], [2]), ValueError, 'within'),
        (([0, 0], [0, 0], [0, 1], [0], [1]), ValueError, 'cover'),
        (([0, 0], [0, 0], [0, 1], [1, 0], [1, 1]), ValueError, 'follow'),
        (([0], [0], [0], [0], [2**62]), ValueError, 'follow'),
    ],
)
def test_bad_indices_are_refused(index: tuple, error: type, text: str) -> None:
    if 'cpu' not in COMPILED_FOR:
        pytest.skip('plain PyTorch has checks of its own')
    with pytest.raises(error, match=text):
        bev_pool(torch.ones(1), torch.ones(1, 2), *index_of(*index), 2)


def test_bad_shapes_are_refused() -> None:
    good = index_of([0], [0], [0], [0], [1])
    with pytest.raises(ValueError, match=r'features is \(2,\) float32'):
        bev_pool(torch.ones(1), torch.ones(2), *good, 2)
    with pytest.raises(ValueError, match=r'index_feature is \(1,\) int32'):
        bev_pool(torch.ones(1), torch.ones(1, 2), good[0], good[1].int(), *good[2:], 2)
    with pytest.raises(ValueError, match=r'index_voxel is \(2,\)'):
        bev_pool(torch.ones(1), torch.ones(1, 2), *good[:2], good[2].repeat(2), *good[3:], 2)
    with pytest.raises(ValueError, match='voxels is'):
        bev_pool_prepare(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), GRID, 1)
    with pytest.raises(ValueError, match='grid is'):
        bev_pool_prepare(*index_of([[0, 0, 0]], [0]), (5, 0, 3), 1)


def test_more_points_than_32_bits_count_are_refused() -> None:
    many = torch.zeros(1, dtype=torch.int64).expand(2**31)
    with pytest.raises(ValueError, match='2,147,483,648 values'):
        bev_pool(torch.ones(1), torch.ones(1, 2), many, many, many, *index_of([0], [1]), 2)


def test_index_is_a_named_tuple_of_four() -> None:
    assert BevPoolIndex._fields == ('kept', 'index_voxel', 'starts', 'lengths')
