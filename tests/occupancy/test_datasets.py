"""Info files of both forms, the label trees, previous frames, sequences and ray origins."""

import numpy as np
import pytest
from mmengine.config import Config

from mmvl.occupancy.datasets import CAMERAS, NuScenesOccupancyDataset, read_labels, sequence_starts
from mmvl.occupancy.datasets.classes import OCC3D, OCC3D_TO_OPENOCC, OPENOCC, OPENOCC_TO_OCC3D
from mmvl.occupancy.datasets.fields import rotation
from mmvl.occupancy.datasets.infos import below_root
from mmvl.registry import DATASETS

GRID = (8, 6, 4)


def build(tree, ann_file='bevdet.pkl', **kwargs):
    return NuScenesOccupancyDataset(
        data_root=str(tree), ann_file=ann_file, grid=GRID, serialize_data=False, **kwargs
    )


def test_both_forms_of_infos_give_the_same_frames(tree):
    first, second = build(tree), build(tree, 'openocc.pkl', labels='openocc')
    assert len(first) == len(second) == 12
    for number in range(12):
        ours, theirs = first[number], second[number]
        assert ours['sample_token'] == theirs['sample_token'] == f'sample{number // 4}{number % 4}'
        assert ours['scene_name'] == theirs['scene_name'] == f'scene-{number // 4:04d}'
        np.testing.assert_array_equal(ours['ray_origins'], theirs['ray_origins'])
        assert ours['sample_index'] == number
    # without a token the name stands for it
    assert first[0]['scene_token'] == 'scene-token-0' and theirs['scene_token'] == 'scene-0002'
    assert first.metainfo['classes'] == OCC3D and second.metainfo['classes'] == OPENOCC


def test_cameras_are_in_the_released_order(tree):
    sample = build(tree)[5]
    names = [path.split('/')[-2] for path in sample['image_paths']]
    assert names == list(CAMERAS) and names[1] == 'CAM_FRONT' and names[3] == 'CAM_BACK_LEFT'
    assert sample['image_paths'][0] == str(tree / 'samples/CAM_FRONT_LEFT/sample11.png')
    # sensor2ego of the second camera: its axes x right, y down, z forward become -y, -z, x
    np.testing.assert_allclose(
        sample['sensor2ego'][1], [[0, 0, 1, 0.1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]
    )
    assert sample['ego2global'][2, 0, 3] == pytest.approx(100.9)
    # the front camera is earlier than the LiDAR
    assert sample['key_ego2global'][0, 3] == pytest.approx(100.9)
    assert sample['lidar_ego2global'][0, 3] == 101


def test_previous_frame_stays_in_its_scene(tree):
    dataset = build(tree)
    first, second = dataset[4], dataset[5]
    assert first['starts_sequence'] and not first['has_previous']
    assert first['previous_image_paths'] == first['image_paths']
    np.testing.assert_array_equal(first['previous_ego2global'], first['ego2global'])
    assert second['has_previous'] and second['previous_image_paths'] == first['image_paths']
    np.testing.assert_array_equal(second['previous_ego2global'], first['ego2global'])


def test_half_scenes_still_see_the_frame_before(tree):
    dataset = build(tree, sequence_parts=2)
    starts = [dataset[number]['starts_sequence'] for number in range(12)]
    assert starts == [True, False] * 6
    assert [dataset[number]['has_previous'] for number in range(4)] == [False, True, True, True]
    assert dataset.sequence_numbers.tolist() == np.repeat(range(6), 2).tolist()
    assert dataset.scene_numbers.tolist() == np.repeat(range(3), 4).tolist()


def test_parts_are_of_equal_length_but_for_the_last():
    found = sequence_starts(['a'] * 5 + ['b'] + ['c'] * 4, 2)
    assert np.flatnonzero(found).tolist() == [0, 3, 5, 6, 8]
    assert sequence_starts(['a', 'a'], 1).tolist() == [True, False]


def test_scenes_that_were_recorded_at_once_are_not_torn(make_infos, tree):
    """A sequence that jumps to another scene and back is put together again."""

    def early(info):
        info['timestamp'] = 10**15 + 750_000  # between two frames of scene 0

    dataset = build(tree, make_infos(early, scene=1, frame=0))
    tokens = [dataset[number]['scene_token'] for number in range(12)]
    assert tokens == [f'scene-token-{number // 4}' for number in range(12)]
    assert dataset[4]['sample_token'] == 'sample10'
    assert [n for n in range(12) if dataset[n]['starts_sequence']] == [0, 4, 8]


def test_every_third_frame(tree):
    dataset = build(tree, load_interval=3)
    assert [dataset[n]['sample_token'] for n in range(4)] == [
        'sample00',
        'sample03',
        'sample12',
        'sample21',
    ]
    assert dataset[1]['previous_image_paths'] == dataset[0]['image_paths']
    assert not dataset[2]['has_previous']


def test_ray_origins_are_in_the_current_ego_frame(tree):
    dataset = build(tree, origin_limit=1.5, max_origins=8)
    # one metre a frame; those beyond 1.5 m drop out
    np.testing.assert_allclose(dataset[0]['ray_origins'], [[0, 0, 1.8], [1, 0, 1.8]], atol=1e-6)
    np.testing.assert_allclose(dataset[1]['ray_origins'][:, 0], [-1, 0, 1], atol=1e-6)
    few = build(tree, max_origins=2)[2]['ray_origins']
    np.testing.assert_allclose(few[:, 0], [-2, 1], atol=1e-6)
    assert few.dtype == np.float64


def test_quaternions():
    half = np.pi / 6
    matrix = rotation(np.array([np.cos(half), 0, 0, np.sin(half)]))
    np.testing.assert_allclose(
        matrix, [[0.5, -(0.75**0.5), 0], [0.75**0.5, 0.5, 0], [0, 0, 1]], atol=1e-15
    )


def test_paths_below_any_root():
    assert below_root('./data/nuscenes/samples/CAM/a.jpg') == 'samples/CAM/a.jpg'
    assert below_root('C:\\samples\\x\\sweeps\\a.bin') == 'sweeps/a.bin'
    assert below_root('/elsewhere/a.jpg') == '/elsewhere/a.jpg'


def test_class_maps_go_there_and_back():
    assert OPENOCC_TO_OCC3D == (4, 10, 9, 3, 5, 2, 6, 7, 8, 1, 11, 12, 13, 14, 15, 16, 17)
    assert [OCC3D_TO_OPENOCC[i] for i in OPENOCC_TO_OCC3D] == list(range(17))
    assert OCC3D_TO_OPENOCC[0] == 255


@pytest.mark.parametrize('form', ['surroundocc', 'openoccupancy'])
def test_lists_of_voxels_equal_the_dense_form(tree, form):
    dense, listed = build(tree), build(tree, labels=form)
    for number in (0, 7):
        wanted = read_labels(dense[number]['occ_path'], 'occ3d', GRID)
        found = read_labels(listed[number]['occ_path'], form, GRID)
        np.testing.assert_array_equal(found['gt_semantics'], wanted['gt_semantics'])
        assert found['gt_mask_camera'].all() and found['gt_mask_lidar'].all()


def test_flattened_labels(tree):
    dense, flat = build(tree), build(tree, labels='openocc')
    wanted = read_labels(dense[3]['occ_path'], 'occ3d', GRID)['gt_semantics']
    found = read_labels(flat[3]['occ_path'], 'openocc', GRID)
    np.testing.assert_array_equal(np.array(OPENOCC_TO_OCC3D)[found['gt_semantics']], wanted)
    assert found['gt_flow'].shape == (*GRID, 2) and found['gt_flow'].dtype == np.float32


@pytest.mark.parametrize('name', ['occ3d', 'openocc', 'toy_occ'])
def test_base_configs_build(tree, name):
    config = Config.fromfile(f'configs/_base_/datasets/{name}.py')
    for loader in (config.train_dataloader, config.val_dataloader):
        change = {'data_root': str(tree), 'ann_file': 'bevdet.pkl', 'version': None, 'grid': GRID}
        change |= {'lidar_seg_root': None, 'serialize_data': False}
        dataset = DATASETS.build({**loader.dataset, **change})
        assert len(dataset) == 12
    assert dataset.metainfo['classes'][-1] == 'free'


def test_random_numbers_depend_on_seed_epoch_and_sample_alone(tree):
    dataset = build(tree)
    dataset.set_seed(3)
    drawn = dataset[2]['rng'].random(4)
    dataset[5]
    np.testing.assert_array_equal(dataset[2]['rng'].random(4), drawn)
    dataset.set_epoch(1)
    assert (dataset[2]['rng'].random(4) != drawn).all()


def test_data_check_finds_nothing_in_a_good_tree(tree):
    report = NuScenesOccupancyDataset.check(
        data_root=str(tree), ann_file='bevdet.pkl', grid=GRID, labels='occ3d'
    )
    assert report.errors == 0 and not report.problems
    assert report.counts == {'samples': 12, 'scenes': 3, 'cameras': 6}
    assert sum(report.classes['voxels'].values()) == 12 * 8 * 6 * 4
