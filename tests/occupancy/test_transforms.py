"""Images, depth and labels of a key frame, and that all move together."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmvl.occupancy.datasets import NuScenesOccupancyDataset
from mmvl.occupancy.preprocessing import OccupancyPreprocessor
from mmvl.occupancy.structures import OccupancySample
from mmvl.occupancy.transforms.depth import nearest_in_pixels, project_points
from mmvl.occupancy.transforms.images import ImageView, LoadSurroundImages
from mmvl.occupancy.transforms.labels import LoadOccupancy, flip_bev

GRID = (8, 6, 4)
IMAGES = {'type': 'LoadSurroundImages', 'size': (16, 32)}
DEPTH = {'type': 'LoadLiDARDepth', 'stride': 4}


def build(tree, *steps, **kwargs):
    common = {'data_root': str(tree), 'ann_file': 'bevdet.pkl', 'serialize_data': False}
    return NuScenesOccupancyDataset(**common, grid=GRID, pipeline=[*steps], **kwargs)


def test_views_move_pixels_as_their_matrices_say():
    image = np.zeros((90, 160, 3), np.uint8)
    image[30:36, 100:106] = 255
    for flip in (False, True):
        view = ImageView(0.5, (80, 45), (5, 3, 69, 43), flip, 5.0)
        rows, columns = np.nonzero(view.apply(image)[..., 0] > 128)
        rotation, translation = view.matrices()
        # the middle of the patch; the matrices ignore that pixels have a size, as the released ones
        expected = rotation @ torch.tensor([102.5, 32.5, 1]) + translation
        assert columns.mean() == pytest.approx(float(expected[0]), abs=1.3)
        assert rows.mean() == pytest.approx(float(expected[1]), abs=1.3)


def test_outside_is_black_and_the_size_is_kept():
    view = ImageView(1.0, (20, 10), (-4, 0, 28, 16), False, 0.0)
    image = view.apply(np.full((10, 20, 3), 200, np.uint8))
    assert image.shape == (16, 32, 3)
    assert (image[:10, 4:24] == 200).all() and image.sum() == 200 * 3 * 200


def test_drawn_views_stay_in_their_ranges():
    loader, rng = LoadSurroundImages(augment=True), np.random.default_rng(0)
    views = [loader.view(900, 1600, rng) for _ in range(300)]
    resize = np.array([view.resize for view in views])
    assert 0.38 <= resize.min() < 0.4 and 0.53 < resize.max() <= 0.55
    assert 0.4 < np.mean([view.flip for view in views]) < 0.6
    assert max(abs(view.degrees) for view in views) <= 5.4
    for view in views:
        left, top, right, bottom = view.crop
        assert (right - left, bottom - top) == (704, 256) and bottom == view.size[1]
        assert 0 <= left <= max(0, view.size[0] - 704)


def test_images_of_a_sample(tree):
    sample = build(tree, IMAGES)[5]
    assert sample['images'].shape == sample['previous_images'].shape == (6, 3, 16, 32)
    assert sample['images'].dtype == torch.uint8
    stored = np.asarray(Image.open(sample['image_paths'][2]))
    np.testing.assert_array_equal(sample['images'][2].permute(1, 2, 0), stored[4:])
    before = np.asarray(Image.open(sample['previous_image_paths'][2]))
    np.testing.assert_array_equal(sample['previous_images'][2].permute(1, 2, 0), before[4:])
    assert sample['image_translation'][0].tolist() == [0, -4, 0]
    first = build(tree, IMAGES)[4]
    assert torch.equal(first['images'], first['previous_images'])


def test_each_camera_has_a_view_of_its_own_that_its_previous_image_shares(tree):
    dataset = build(tree, {**IMAGES, 'augment': True})
    first, again = dataset[4], dataset[4]
    assert torch.equal(first['images'], again['images'])
    assert torch.equal(first['images'], first['previous_images'])  # no frame before
    assert len(np.unique(first['image_rotation'][:, 0, 1])) > 3
    dataset.set_epoch(1)
    assert not torch.equal(first['images'], dataset[4]['images'])


def test_points_are_projected_through_global_poses():
    """A point 10 m ahead and 1 m left of the LiDAR, camera 0.5 m before the LiDAR's moment."""
    lidar2global, camera2global = np.eye(4), np.eye(4)
    lidar2global[0, 3] = 5
    camera2global[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    camera2global[0, 3] = 4.5
    intrinsics = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    points = np.array([[10.0, 1.0, 0.5], [-20.0, 0, 0]])
    shift = np.array([3.0, 0, 0])
    found = project_points(points, lidar2global, camera2global, intrinsics, np.eye(3), shift)
    np.testing.assert_allclose(found[0], [50 - 100 / 10.5 + 3, 40 - 50 / 10.5, 10.5], rtol=1e-12)
    assert found[1, 2] < 0


def test_the_nearest_point_of_a_pixel_wins():
    pixels = np.array(
        [
            [2.4, 1.0, 9.0],
            [1.6, 1.4, 8.99],  # the same pixel, nearer by a centimetre
            [2.5, 0.0, 3.0],  # halves go to the even side
            [7.6, 0.0, 3.0],  # outside
            [0.0, 0.0, 0.9],  # too near
            [0.0, 0.0, 45.0],  # too far
            [np.nan, 0.0, 5.0],
            [np.inf, 0.0, 5.0],
        ]
    )
    chosen, place = nearest_in_pixels(pixels, (4, 8), 1.0, 45.0)
    assert dict(zip(place.tolist(), chosen.tolist(), strict=True)) == {8 + 2: 1, 2: 2}


def test_depth_and_classes_of_cells(tree):
    root = str(tree / 'lidar_seg')
    sample = build(tree, IMAGES, DEPTH, lidar_seg_root=root)[6]
    depth, classes = sample['depth_map'], sample['image_semantics']
    assert depth.shape == (6, 16, 32) and classes.shape == (6, 4, 8)
    assert (depth > 0).any(-1).any(-1).all() and depth.max() < 45
    cells = depth.reshape(6, 4, 4, 8, 4).permute(0, 1, 3, 2, 4).reshape(6, 4, 8, 16)
    empty = (cells == 0).all(-1)
    assert torch.equal(empty, classes == 255) and empty.any() and not empty.all()
    fine = build(tree, IMAGES, {**DEPTH, 'stride': 1}, lidar_seg_root=root)[6]
    pixel = fine['image_semantics'].reshape(6, 4, 4, 8, 4).permute(0, 1, 3, 2, 4)
    nearest = torch.where(cells == 0, torch.inf, cells).argmin(-1, keepdim=True)
    assert torch.equal(pixel.reshape(6, 4, 8, 16).gather(-1, nearest)[..., 0], classes)
    mapped = build(
        tree, IMAGES, {**DEPTH, 'class_map': list(range(100, 117))}, lidar_seg_root=root
    )[6]['image_semantics']
    assert torch.equal(mapped[~empty], classes[~empty] + 100) and (mapped[empty] == 255).all()


def test_depth_without_classes(tree):
    sample = build(tree, IMAGES, DEPTH)[0]
    assert 'depth_map' in sample and 'image_semantics' not in sample


@pytest.mark.parametrize('supervise', ['camera', 'lidar', 'rays', None])
def test_supervised_voxels(tree, supervise):
    kwargs = {'ray_mask_root': str(tree / 'openocc_v2_ray_mask')}
    plain = build(tree, {'type': 'LoadOccupancy'}, **kwargs)[3]
    found = build(tree, {'type': 'LoadOccupancy', 'supervise': supervise}, **kwargs)[3]
    names = {'camera': 'gt_mask_camera', 'lidar': 'gt_mask_lidar', 'rays': 'ray_mask'}
    mask = found[names[supervise]] if supervise else torch.ones(GRID, dtype=torch.bool)
    assert (found['gt_semantics'][~mask] == 255).all()
    assert torch.equal(found['gt_semantics'][mask], plain['gt_semantics'][mask])
    assert (plain['gt_semantics'] != 255).all()


def test_supervision_that_labels_do_not_have(tree):
    with pytest.raises(KeyError, match="no mask for supervise='rays'"):
        build(tree, {'type': 'LoadOccupancy', 'supervise': 'rays'})[0]
    with pytest.raises(ValueError, match='supervise is one of'):
        LoadOccupancy(supervise='radar')


def test_flips_invert_and_move_labels_with_points(tree):
    sample = build(tree, {'type': 'LoadOccupancy'}, labels='openocc')[2]
    before = {k: v.clone() for k, v in sample.items() if isinstance(v, torch.Tensor)}
    for axes in ([], [0], [1], [0, 1]):
        moved = {k: v.clone() for k, v in before.items()}
        matrix = flip_bev(moved, axes)
        # the centre of every voxel lands where its label does
        size = torch.tensor(GRID)
        index = torch.cartesian_prod(*map(torch.arange, GRID))
        centred = index + 0.5 - size / 2
        target = (centred @ matrix.T + size / 2 - 0.5).round().long()
        assert torch.equal(
            moved['gt_semantics'][tuple(target.T)], before['gt_semantics'][tuple(index.T)]
        )
        flow = before['gt_flow'][tuple(index.T)] @ matrix[:2, :2].T
        assert torch.equal(moved['gt_flow'][tuple(target.T)], flow)
        flip_bev(moved, axes)
        assert all(torch.equal(moved[k], before[k]) for k in before)


def test_drawn_flips(tree):
    dataset = build(tree, {'type': 'LoadOccupancy'}, {'type': 'RandomFlipBEV'})
    signs = set()
    for epoch in range(4):
        dataset.set_epoch(epoch)
        signs |= {tuple(torch.diag(dataset[n]['bev_rotation']).tolist()) for n in range(12)}
    assert signs == {(x, y, 1.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0)}


def pack(tree, **kwargs):
    steps = [IMAGES, DEPTH, {'type': 'LoadOccupancy'}, {'type': 'PackOccupancy'}]
    return build(tree, *steps, lidar_seg_root=str(tree / 'lidar_seg'), **kwargs)


def test_packed_sample(tree):
    packed = pack(tree, labels='openocc', ray_mask_root=str(tree / 'openocc_v2_ray_mask'))[5]
    sample = packed['data_samples']
    assert isinstance(sample, OccupancySample)
    assert list(packed['inputs']) == ['images', 'previous_images']
    assert sample.gt_semantics.shape == GRID and sample.gt_flow.shape == (*GRID, 2)
    assert sample.ray_mask.dtype == torch.bool and sample.image_semantics.shape == (6, 4, 8)
    assert sample.ego2global.dtype == torch.float64 and sample.intrinsics.dtype == torch.float32
    assert (
        sample.lidar_ego2global[0, 3] == 101 and sample.bev_rotation.tolist() == np.eye(3).tolist()
    )
    assert sample.key_ego2global[0, 3] == pytest.approx(100.9)
    assert (sample.sample_token, sample.scene_name) == ('sample11', 'scene-0001')
    assert sample.has_previous and not sample.starts_sequence and sample.sample_index == 5
    assert sample.ray_origins.shape == (4, 3)


@pytest.mark.parametrize('order', ['released', 'rgb', 'bgr'])
def test_preprocessor(tree, order):
    dataset, preprocessor = pack(tree), OccupancyPreprocessor(channel_order=order)
    items = [dataset[n] for n in (1, 6)]
    data = {key: [item[key] for item in items] for key in items[0]}
    batch = preprocessor(data)
    images = batch['inputs']['images']
    assert images.shape == (2, 6, 3, 16, 32) and images.dtype == torch.float32
    mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])
    channels = {'released': (2, 1, 0), 'rgb': (0, 1, 2), 'bgr': (2, 1, 0)}[order]
    for place, channel in enumerate(channels):
        # released: BGR values with the numbers of RGB
        statistic = channel if order == 'bgr' else place
        expected = items[1]['inputs']['previous_images'][4, channel].float()
        torch.testing.assert_close(
            batch['inputs']['previous_images'][1, 4, place],
            (expected - mean[statistic]) / std[statistic],
        )
    assert [each.sample_token for each in batch['data_samples']] == ['sample01', 'sample12']
    stacked = {k: torch.stack([i['inputs'][k] for i in items]) for k in items[0]['inputs']}
    again = preprocessor({'inputs': stacked, 'data_samples': data['data_samples']})
    assert torch.equal(again['inputs']['images'], images)


def test_preprocessor_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match='channel_order'):
        OccupancyPreprocessor(channel_order='hsv')
    inputs = [{'images': torch.zeros(6, 3, 4, side)} for side in (4, 5)]
    with pytest.raises(ValueError, match='different shapes'):
        OccupancyPreprocessor()({'inputs': inputs, 'data_samples': []})
