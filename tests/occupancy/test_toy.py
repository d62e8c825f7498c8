"""The toy world: its files, its geometry, and that it has what occupancy models live on."""

import hashlib

import numpy as np
import pytest

from mmvl.cli.main import main
from mmvl.occupancy.datasets import NuScenesOccupancyDataset
from mmvl.occupancy.datasets.classes import OCC3D, OCC3D_TO_OPENOCC
from mmvl.occupancy.datasets.points import read_point_classes, read_points
from mmvl.occupancy.toy import GRID, LOWER, VOXEL_SIZE, write_world
from mmvl.occupancy.toy.render import SKY, cast
from mmvl.occupancy.toy.street import (
    PLOT,
    START,
    Boxes,
    Ground,
    draw_street,
    ego_pose,
    pose_about_z,
)
from mmvl.occupancy.toy.world import camera_poses, voxel_centres

FREE = OCC3D.index('free')
MASKS = ('mask_occluded', 'mask_remembered')
FRAMES = 5
ROAD = OCC3D.index('driveable_surface')

# two plots at the right and two at the left
GROUND = Ground(np.array([[OCC3D.index('terrain')] * 2, [OCC3D.index('terrain'), ROAD]]))


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, seed=1, num_train=1, num_val=1, num_frames=FRAMES)
    return folder


@pytest.fixture(scope='module')
def samples(world):
    """The packed frames of the training scene."""
    pipeline = [
        {'type': 'LoadSurroundImages', 'size': (64, 176)},
        {'type': 'LoadLiDARDepth', 'near': 1.0, 'far': 21.0},
        {'type': 'LoadOccupancy', 'extra_masks': MASKS},
        {'type': 'PackOccupancy'},
    ]
    dataset = NuScenesOccupancyDataset(
        data_root=str(world),
        ann_file='toy_infos_train.pkl',
        version='v1.0-toy',
        grid=GRID,
        lidar_seg_root=str(world / 'lidar_seg'),
        origin_limit=12.0,
        pipeline=pipeline,
        serialize_data=False,
    )
    return [dataset[number] for number in range(FRAMES)]


def one_box(label='bus', centre=(8.0, 0.0), size=(2.0, 4.0, 3.0), yaw=0.0):
    return Boxes(
        centre=np.array([centre]),
        size=np.array([size]),
        yaw=np.array([yaw]),
        label=np.array([OCC3D.index(label)]),
        velocity=np.array([[1.0, 0.0]]),
        shade=np.ones(1),
    )


def test_rays_meet_faces_the_ground_and_the_sky():
    ways = np.array([[1.0, 0, 0], [0.8, 0, -0.6], [0, 1, 0], [-0.8, 0, 0.6]])
    hits = cast(one_box(), GROUND, np.array([0.0, 0.0, 1.5]), ways)
    np.testing.assert_allclose(hits.distance, [7, 2.5, np.inf, np.inf], rtol=1e-6)
    assert hits.label.tolist() == [OCC3D.index('bus'), ROAD, SKY, SKY]
    np.testing.assert_allclose(hits.normal[:2], [[-1, 0, 0], [0, 0, 1]], atol=1e-12)
    # turned by 90 degrees the long side lies along the ray
    turned = cast(one_box(yaw=np.pi / 2), GROUND, np.array([0.0, 0.0, 1.5]), ways[:1])
    assert turned.distance[0] == pytest.approx(6, rel=1e-5)


def test_boxes_contain_points_and_move():
    boxes = one_box()
    points = np.array(
        [[7.0, -2.0, 0.0], [8.99, 1.99, 2.99], [9.0, 0, 1], [8, 0, 3.0], [8, 0, -0.1]]
    )
    assert boxes.contain(points).tolist() == [0, 0, -1, -1, -1]
    assert boxes.at(2.0).centre.tolist() == [[10.0, 0.0]]
    assert boxes.select(np.zeros(1, bool)).contain(points).tolist() == [-1] * 5
    assert len(boxes.moving().label) == 1


def test_ground_is_road_pavement_and_plots():
    points = [[0, 5.5], [0, -5.7], [START, 9.0], [START + PLOT, 9], [START + PLOT, -9], [90, 9]]
    names = [OCC3D[label] for label in GROUND.classes(np.array(points))]
    assert names[:2] == ['driveable_surface', 'sidewalk']
    assert names[2:] == ['terrain', 'driveable_surface', 'terrain', 'driveable_surface']


def test_cameras_look_around():
    axes = camera_poses()[:, :3, 2]
    assert np.rad2deg(np.arctan2(axes[:, 1], axes[:, 0])).round().tolist() == [
        *(60, 0, -60),
        *(120, 180, -120),
    ]
    centres = voxel_centres().reshape(*GRID, 3)
    np.testing.assert_allclose(centres[0, 0, 0], np.array(LOWER) + VOXEL_SIZE / 2)
    np.testing.assert_allclose(centres[3, 1, 2] - centres[0, 0, 0], [2.4, 0.8, 1.6])


def test_nobody_is_driven_into():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        speed = rng.uniform(4.0, 5.6)
        boxes, _ = draw_street(60.0, speed, rng)
        for time in np.arange(0, 8, 0.5):
            ego = ego_pose(time, speed, sway=0.5, phase=seed)
            near = np.array([[x, y, 0.5] for x in (-1, 1, 2.4) for y in (-0.9, 0, 0.9)])
            around = near @ ego[:3, :3].T + ego[:3, 3]
            assert (boxes.at(time).contain(around) == -1).all()


def test_same_seed_same_files(world, tmp_path):
    write_world(tmp_path, seed=1, num_train=1, num_val=0, num_frames=FRAMES)
    names = ['samples', 'gts', 'lidar_seg', 'openocc_v2', 'openocc_v2_ray_mask']
    files = sorted(f for name in names for f in (tmp_path / name).rglob('*') if f.is_file())
    images = [f for f in files if f.suffix == '.jpg']
    assert len(images) == 6 * FRAMES and len(files) == (6 + 5) * FRAMES
    for file in files:
        same = world / file.relative_to(tmp_path)
        assert hashlib.md5(file.read_bytes()).digest() == hashlib.md5(same.read_bytes()).digest()
    write_world(tmp_path / 'other', seed=2, num_train=1, num_val=0, num_frames=1)
    other = next((tmp_path / 'other').rglob('*.jpg'))
    assert other.read_bytes() != (world / other.relative_to(tmp_path / 'other')).read_bytes()


def test_points_lie_in_voxels_of_their_class(world, samples):
    """LiDAR points, taken to the ego frame, are where the labels say."""
    for each in samples[:3]:
        sample = each['data_samples']
        name = next((world / 'samples/CAM_FRONT').glob('*')).name
        assert name.startswith(sample.scene_name)
        stem = sample.image_paths[1].split('__')[-1].removesuffix('.jpg')
        path = next((world / 'samples/LIDAR_TOP').glob(f'{sample.scene_name}*{stem}*'))
        points = read_points(path)
        labels = read_point_classes(
            world / 'lidar_seg' / f'{path.name.split(".")[0]}.npz', len(points)
        )
        ego = points[:, :3] @ pose_about_z(-np.pi / 2, (0, 0, 0))[:3, :3].T
        ego = ego + (0.94, 0.0, 1.84)
        # half a voxel further along the ray, to be inside
        ways = points[:, :3] / np.linalg.norm(points[:, :3], axis=1, keepdims=True)
        ego = ego + 0.4 * ways @ pose_about_z(-np.pi / 2, (0, 0, 0))[:3, :3].T
        place = np.floor((ego - LOWER) / VOXEL_SIZE).astype(int)
        inside = ((place >= 0) & (place < GRID)).all(1)
        around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing='ij'), -1).reshape(-1, 1, 3)
        around = (place[inside] + around).clip(0, np.array(GRID) - 1)
        found = sample.gt_semantics.numpy()[tuple(np.moveaxis(around, -1, 0))] == labels[inside]
        # edges of boxes cut voxels, whose centre decides; it is no further away than one
        assert found[13].mean() > 0.75 and found.any(0).all()
        assert inside.sum() > 1000


def test_depth_agrees_with_labels_in_global_poses(samples):
    """Pixels with depth, through the calibration of the sample, land in occupied voxels."""
    sample = samples[2]['data_samples']
    shares = []
    for camera in range(6):
        rows, columns = np.nonzero(sample.depth_map[camera].numpy())
        depth = sample.depth_map[camera].numpy()[rows, columns] + 0.25
        pixels = np.stack((columns, rows, np.ones_like(rows)), -1).astype(float)
        rotation = sample.image_rotation[camera].double().numpy()
        shift = sample.image_translation[camera].double().numpy()
        rays = (pixels - shift) @ np.linalg.inv(rotation).T * depth[:, None]
        rays = rays @ np.linalg.inv(sample.intrinsics[camera].double().numpy()).T
        pose = (
            np.linalg.inv(sample.key_ego2global.numpy())
            @ sample.ego2global[camera].numpy()
            @ sample.sensor2ego[camera].numpy()
        )
        points = rays @ pose[:3, :3].T + pose[:3, 3]
        place = np.floor((points - LOWER) / VOXEL_SIZE).astype(int)
        place = place[((place >= 0) & (place < GRID)).all(1)]
        shares.append((sample.gt_semantics.numpy()[tuple(place.T)] != FREE).mean())
        assert len(place) > 30
    # boxes cut voxels, whose centre decides
    assert min(shares) > 0.5 and np.mean(shares) > 0.75


def test_labels_move_with_the_vehicle(samples):
    """Static voxels of one frame, taken to the next by the poses, meet the same class there."""
    first, second = (samples[n]['data_samples'] for n in (1, 2))
    relative = np.linalg.inv(second.lidar_ego2global.numpy()) @ first.lidar_ego2global.numpy()
    assert 1.9 < -relative[0, 3] < 2.9
    points = voxel_centres() @ relative[:3, :3].T + relative[:3, 3]
    place = np.floor((points - LOWER) / VOXEL_SIZE).astype(int)
    inside = ((place >= 0) & (place < GRID)).all(1)
    there = second.gt_semantics.numpy()[tuple(place[inside].T)]
    labels = first.gt_semantics.numpy().reshape(-1)[inside]
    assert (there == labels).mean() > 0.93
    solid = np.isin(labels, [OCC3D.index(n) for n in ('manmade', 'bus', 'truck', 'sidewalk')])
    assert (there == labels)[solid].mean() > 0.75


def test_what_was_seen_before_is_worth_remembering(samples):
    """Behind things there is much, most of it solid or not to be guessed; some was seen before."""
    first, last = samples[0]['data_samples'], samples[-1]['data_samples']
    assert not first.gt_mask_remembered.any() and last.gt_mask_remembered.sum() > 300
    for sample in (first, last):
        assert not (sample.gt_mask_occluded & sample.gt_mask_camera).any()
        assert not (sample.gt_mask_remembered & ~sample.gt_mask_occluded).any()
        solid = sample.gt_semantics != FREE
        hidden, seen = sample.gt_mask_occluded & solid, sample.gt_mask_camera & solid
        assert hidden.sum() > seen.sum() > 150
    barriers = last.gt_semantics == OCC3D.index('barrier')
    assert (barriers & last.gt_mask_remembered).sum() >= 2


def test_the_trees_agree(world):
    files = sorted((world / 'gts').rglob('labels.npz'))
    assert len(files) == 2 * FRAMES
    moving = 0
    for file in files:
        place = file.relative_to(world / 'gts')
        ours, opened, rays = (
            np.load(world / tree / place) for tree in ('gts', 'openocc_v2', 'openocc_v2_ray_mask')
        )
        expected = np.array(OCC3D_TO_OPENOCC)[ours['semantics']]
        np.testing.assert_array_equal(opened['semantics'], expected)
        assert rays['ray_mask2'].dtype == bool and rays['ray_mask2'].any()
        speed = np.linalg.norm(opened['flow'], axis=-1)
        assert (speed[ours['semantics'] == OCC3D.index('manmade')] == 0).all()
        moving += int((speed > 3).sum())
    assert moving > 20


def test_command(tmp_path, monkeypatch):
    import mmvl.occupancy.toy as toy

    called = []
    monkeypatch.setattr(toy, 'write_world', lambda *args: called.append(args))
    assert main(['toy', 'occupancy', str(tmp_path), '--seed', '3']) == 0
    assert called == [(str(tmp_path), 3)]
