"""Operators inside of what torch compiles or exports."""

import torch
from torch import Tensor

from mmvl.ops import bev_pool, bev_pool_prepare, soft_splat

GRID = (5, 4, 3)


def lift(weights: Tensor, place: Tensor, features: Tensor, row: Tensor, index: tuple) -> Tensor:
    """Both operators with something around them that can be fused."""
    batch = torch.zeros_like(row)
    volume = soft_splat(weights, place, features, row, batch, GRID, 1)
    pooled = bev_pool(weights, features, index[0], row[index[0]], *index[1:], 60)
    return volume.view(60, -1) * pooled


def case(points: int) -> tuple:
    torch.manual_seed(points)
    place = torch.rand(points, 3) * 5 - 0.5
    row = torch.randint(0, 6, (points,))
    index = bev_pool_prepare(place.long(), torch.zeros_like(row), GRID, 1)
    leaves = torch.randn(points), place, torch.randn(6, 4)
    return (*(each.requires_grad_() for each in leaves), row, tuple(index))


def test_full_graph_with_dynamic_sizes() -> None:
    """Values and gradients, with the code that inductor makes."""
    compiled = torch.compile(lift, fullgraph=True, dynamic=True)
    # code for other sizes is not made again
    for points, stance in ((40, 'default'), (57, 'fail_on_recompile')):
        *leaves, row, index = case(points)
        results = []
        for function in (lift, compiled):
            with torch.compiler.set_stance(stance):
                out = function(*leaves, row, index)
            results.append((out, *torch.autograd.grad(out.sum(), leaves)))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_export() -> None:
    class Lift(torch.nn.Module):
        def forward(self, *given: Tensor) -> Tensor:
            return lift(*given[:4], given[4:])

    *leaves, row, index = case(40)
    given = (*(each.detach() for each in leaves), row, *index)
    program = torch.export.export(Lift(), given)
    names = {node.target for node in program.graph.nodes if node.op == 'call_function'}
    assert {torch.ops.mmvl.bev_pool.default, torch.ops.mmvl.soft_splat.default} <= names
    torch.testing.assert_close(program.module()(*given), Lift()(*given))
