"""ALOcc up to its volume: cameras, depth net, lifting."""

from typing import Any

import pytest
import torch
from alocc_tiny import CAMERAS, DEPTH, GRID, IMAGE_SIZE, sample, tiny
from torch import Tensor

from mmvl.occupancy.alocc import AdaptiveLift, ALOccDepthNet
from mmvl.occupancy.alocc.cameras import Cameras, frustum
from mmvl.occupancy.alocc.depth_net import DepthPrediction
from mmvl.occupancy.alocc.lift import mix_true_depth, occupancy_along_rays


def cameras() -> Cameras:
    return Cameras.from_samples([sample(0, 1), sample(1, 2)], torch.device('cpu'))


def test_points_of_a_camera_lie_where_a_pinhole_says() -> None:
    found, case = cameras(), sample(0, 1)
    points = torch.tensor([[10.0, 5.0, 3.0], [40.0, 20.0, 7.0]])
    ego = found.to_key_ego(points.expand(2, CAMERAS, 2, 3))
    for camera in range(CAMERAS):
        for number, (column, row, depth) in enumerate(points.tolist()):
            # undo crop and resize, then the camera matrix
            x = (column / 0.5 - 64) / 60 * depth
            y = ((row + 4) / 0.5 - 40) / 60 * depth
            expected = case.sensor2ego[camera] @ torch.tensor([x, y, depth, 1.0]).double()
            torch.testing.assert_close(ego[0, camera, number], expected[:3].float())


def test_bev_augmentation_turns_the_ego_frame() -> None:
    found = cameras()
    points = torch.tensor([[10.0, 5.0, 3.0]]).expand(2, CAMERAS, 1, 3)
    plain = found.to_key_ego(points)
    found.bev_rotation = torch.diag(torch.tensor([-1.0, 1, 1])).repeat(2, 1, 1)
    torch.testing.assert_close(found.to_key_ego(points), plain * torch.tensor([-1.0, 1, 1]))


def test_previous_image_of_a_car_that_stood_still_is_the_same() -> None:
    found = cameras()
    found.to_previous = torch.eye(4).repeat(2, CAMERAS, 1, 1)
    points = frustum(DEPTH, IMAGE_SIZE, 4).expand(2, CAMERAS, -1, -1, -1, -1)
    grid = found.to_previous_image(points, IMAGE_SIZE)
    expected = points[..., :2] / torch.tensor([IMAGE_SIZE[1] - 1, IMAGE_SIZE[0] - 1]) * 2 - 1
    torch.testing.assert_close(grid, expected, rtol=0, atol=1e-5)


def test_a_point_behind_the_previous_camera_is_outside() -> None:
    found = cameras()
    found.to_previous[..., 2, 3] -= 2.5
    points = torch.tensor([[32.0, 16.0, 1.0], [32.0, 16.0, 8.0]]).expand(2, CAMERAS, 2, 3)
    grid = found.to_previous_image(points, IMAGE_SIZE)
    assert (grid[:, 0, 0] == -2).all() and (grid[:, 0, 1] != -2).all()


def test_occupancy_along_rays_is_the_double_loop() -> None:
    depth = torch.rand(1, 2, 7, 2, 3).softmax(2)
    weights = torch.rand(1, 2, 4, 2, 3)
    expected = depth.clone()
    for bin_ in range(7):
        for reach in range(1, 5):
            if bin_ >= reach:
                expected[:, :, bin_] += weights[:, :, reach - 1] * depth[:, :, bin_ - reach]
    torch.testing.assert_close(occupancy_along_rays(depth, weights), expected)


def test_true_depth_is_mixed_in_where_there_is_any() -> None:
    depth = torch.full((1, 1, 4, 1, 2), 0.25)
    bins = torch.tensor([[[[2, -1]]]])
    mixed = mix_true_depth(depth, bins, 0.6)[0, 0, :, 0]
    torch.testing.assert_close(mixed[:, 0], torch.tensor([0.1, 0.1, 0.7, 0.1]))
    torch.testing.assert_close(mixed[:, 1], depth[0, 0, :, 0, 1])


@pytest.mark.parametrize(
    ('metres', 'bin_'), [(0.9, -1), (1.0, 0), (1.99, 0), (2.0, 1), (8.99, 7), (9.0, -1)]
)
def test_bin_of_a_depth(metres: float, bin_: int) -> None:
    net = ALOccDepthNet(8, 8, DEPTH, IMAGE_SIZE, 8, 8, stereo=False)
    depth = torch.zeros(1, 1, *IMAGE_SIZE)
    depth[0, 0, 20, 3] = metres
    # farther in the same cell
    depth[0, 0, 21, 3] = metres + 3
    expected = torch.full((1, 1, 2, 4), -1)
    expected[0, 0, 1, 0] = bin_
    assert torch.equal(net.depth_bins(depth), expected)


def test_depth_loss_without_points_is_zero_with_a_gradient() -> None:
    net = ALOccDepthNet(8, 8, DEPTH, IMAGE_SIZE, 8, 8, stereo=False)
    depth = torch.rand(1, 1, 8, 2, 4, requires_grad=True)
    loss = net.loss(depth, torch.full((1, 1, 2, 4), -1))
    loss.backward()
    assert loss == 0 and (depth.grad == 0).all()
    assert float(net.loss(depth.detach(), torch.full((1, 1, 2, 4), 3))) == pytest.approx(
        float(-(depth.detach()[:, :, 3] + 1e-8).log().mean())
    )


def lift(**changes: Any) -> AdaptiveLift:
    return AdaptiveLift(GRID, DEPTH, IMAGE_SIZE, **changes).eval()


def prediction(**changes: Any) -> DepthPrediction:
    generator = torch.Generator().manual_seed(3)

    def rand(*size: int) -> Tensor:
        return torch.rand(2, CAMERAS, *size, 2, 4, generator=generator)

    found = {
        'context': rand(5),
        'depth': (rand(8) * 4).softmax(2),
        'ray_weights': rand(3),
        'neighbour_weights': rand(3, 3, 3),
        'neighbour_offsets': rand(3, 3, 2) * 8 - 4,
    }
    return DepthPrediction(**{**found, **changes})


def test_volume_sums_to_what_lies_inside_the_grid() -> None:
    """With a grid around all points nothing is lost, neither of weights nor of features."""
    wide = AdaptiveLift(
        {'x': (-40, 40, 2.0), 'y': (-40, 40, 2.0), 'z': (-40, 40, 2.0)}, DEPTH, IMAGE_SIZE
    ).eval()
    case = prediction()
    occupancy, points = wide.planes(case)
    assert occupancy.shape == (2, CAMERAS, 8 + 27, 2, 4)
    assert points.shape == (2, CAMERAS, 8 + 27, 2, 4, 3)
    kept = (points[..., 0] != -1e4) * occupancy
    expected = torch.einsum('bnkhw,bnchw->bc', kept, case.context)
    volume = wide(case, cameras())
    assert volume.shape == (2, 5, 40, 40, 40)
    torch.testing.assert_close(volume.sum((2, 3, 4)), expected)


@pytest.mark.parametrize('soft', [True, False])
def test_a_point_falls_where_it_belongs(soft: bool) -> None:
    """One bin of one pixel is filled; its voxel coordinate has no shift of half a voxel."""
    depth = torch.zeros(2, CAMERAS, 8, 2, 4)
    depth[0, 0, 1, 1, 2] = 1.0
    case = prediction(depth=depth, ray_weights=None, neighbour_weights=None)
    part = lift(soft_filling=soft)
    volume = part(case, cameras())
    place = cameras().to_key_ego(part.points.expand(2, CAMERAS, -1, -1, -1, -1))[0, 0, 1, 1, 2]
    x, y, z = ((place - torch.tensor([-4.0, -8, -1])) / torch.tensor([1.0, 1, 0.5])).tolist()
    context = case.context[0, 0, :, 1, 2]
    if not soft:
        torch.testing.assert_close(volume[0, :, int(y), int(x), int(z)], context)
        assert volume.abs().sum() == pytest.approx(float(context.sum()))
        return
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                share = 1.0
                for value, step in ((x, dx), (y, dy), (z, dz)):
                    share *= value % 1 if step else 1 - value % 1
                found = volume[0, :, int(y) + dy, int(x) + dx, int(z) + dz]
                torch.testing.assert_close(found, context * share, rtol=1e-3, atol=1e-5)


def test_plain_lifting_cuts_coordinates_towards_zero() -> None:
    case = prediction(ray_weights=None, neighbour_weights=None)
    seen = cameras()
    # all points between one voxel below the grid and its edge
    seen.sensor2key = torch.zeros(2, CAMERAS, 4, 4)
    seen.sensor2key[..., :3, 3] = torch.tensor([-4.4, -8.4, -1.2])
    volume = lift(soft_filling=False)(case, seen)
    expected = torch.einsum('bnkhw,bnchw->bc', case.depth, case.context)
    torch.testing.assert_close(volume[:, :, 0, 0, 0], expected)


def test_one_cell_in_z_gives_a_flat_volume() -> None:
    flat = AdaptiveLift({**GRID, 'z': (-1, 3, 4.0)}, DEPTH, IMAGE_SIZE).eval()
    assert flat(prediction(), cameras()).shape == (2, 5, 16, 8)


@pytest.mark.parametrize('released', [True, False])
def test_bins_around_the_surface(released: bool) -> None:
    """Released weights look no farther than bin N - 1; corrected, the surface itself is read."""
    depth = torch.zeros(2, CAMERAS, 8, 2, 4)
    depth[:, :, 5] = 0.7
    depth[:, :, 6] = 0.3
    # at the far end: nothing lies behind
    depth[0, 0, :, 0, 0] = 0
    depth[0, 0, 7, 0, 0] = 1.0
    # at the near end: nothing lies in front
    depth[0, 1, :, 0, 0] = 0
    depth[0, 1, 0, 0, 0] = 1.0
    case = prediction(depth=depth, ray_weights=None)
    part = lift(clamp_bins_to_cameras=released)
    values, points = (each[:, :, 8:].unflatten(2, (3, 3, 3)) for each in part.planes(case))
    last = CAMERAS - 1
    bins = [last, last, last] if released else [4, 5, 6]
    assert (points[:, :, 1, 1] == -1e4).all()
    for which, bin_ in enumerate(bins):
        expected = depth[1, 0, bin_] * case.neighbour_weights[1, 0, 2, 1, which]
        torch.testing.assert_close(values[1, 0, 2, 1, which], expected)
        place = part.points[bin_].clone()
        place[..., :2] += case.neighbour_offsets[1, 0, 2, 1].movedim(0, -1)
        torch.testing.assert_close(points[1, 0, 2, 1, which], place)
    assert (points[0, 1, 2, 1, 0, 0, 0] == -1e4).all()
    behind = points[0, 0, 2, 1, 2, 0, 0]
    assert (behind == -1e4).all() != released


def test_offsets_and_weights_of_neighbours_get_gradients() -> None:
    case = prediction()
    for values in (case.neighbour_offsets, case.neighbour_weights, case.context, case.depth):
        values.requires_grad_()
    (lift()(case, cameras()) ** 2).sum().backward()
    assert case.neighbour_offsets.grad.abs().sum() > 0
    assert case.neighbour_weights.grad[:, :, 0, 1].abs().sum() > 0
    assert (case.neighbour_weights.grad[:, :, 1, 1] == 0).all()


def test_image_size_must_divide_by_the_stride() -> None:
    with pytest.raises(ValueError, match='multiple of 16'):
        AdaptiveLift(GRID, DEPTH, (40, 64))


def test_depth_net_starts_at_the_neighbourhood_and_knows_no_preference_without_a_past() -> None:
    model = tiny().eval()
    features = torch.randn(2, CAMERAS, 16, 2, 4)
    current = torch.rand(2 * CAMERAS, 8, 8, 16)
    cost = model.depth_net.cost_volume(None, current, cameras())
    assert cost.shape == (2 * CAMERAS, 8, 8, 16) and (cost == 0).all()
    torch.nn.init.zeros_(model.depth_net.neighbour_offsets.weight)
    found = model.depth_net(features, cameras(), (None, current))
    steps = [(a, b) for a in (-4, 0, 4) for b in (-4, 0, 4)]
    assert found.neighbour_offsets[0, 0, :, :, :, 0, 0].reshape(9, 2).tolist() == [
        list(step) for step in steps
    ]
    torch.testing.assert_close(found.depth.sum(2), torch.ones(2, CAMERAS, 2, 4))
    with pytest.raises(ValueError, match='stride 4'):
        model.depth_net(features, cameras())


def test_cost_volume_prefers_the_depth_at_which_the_past_looks_alike() -> None:
    net = tiny().eval().depth_net
    seen = cameras()
    # one step to the side: what lies at d metres moves by focal / d pixels
    seen.to_previous = torch.eye(4).repeat(2, CAMERAS, 1, 1)
    seen.to_previous[..., 0, 3] = 4.0
    depth = 5.0
    shift = 30 * 4.0 / depth / ((IMAGE_SIZE[1] - 1) / 15)
    generator = torch.Generator().manual_seed(0)
    previous = torch.rand(2 * CAMERAS, 8, 8, 1, generator=generator) + torch.linspace(0, 30, 16)
    current = previous + shift * 2.0
    cost = net.cost_volume(previous, current, seen)
    best = cost.argmax(1)[..., :8]
    assert (best == DEPTH[0] + depth - 2).all()


def test_true_depth_in_evaluation_changes_the_volume_only_where_asked() -> None:
    case = prediction()
    bins = torch.zeros(2, CAMERAS, 2, 4, dtype=torch.long)
    plain = lift()(case, cameras())
    assert torch.equal(lift()(case, cameras(), bins), plain)
    assert not torch.allclose(lift(true_depth_rate=1.0)(case, cameras(), bins), plain)
