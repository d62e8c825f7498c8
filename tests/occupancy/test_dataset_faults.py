"""What is wrong in a file is refused by name: file, place, and what to do."""

import os
import pickle
import shutil

import numpy as np
import pytest

from mmvl.cli.errors import describe
from mmvl.occupancy.datasets import AnnotationError, NuScenesOccupancyDataset, read_labels
from mmvl.occupancy.datasets.points import read_point_classes, read_points

GRID = (8, 6, 4)


def build(tree, ann_file, **kwargs):
    return NuScenesOccupancyDataset(data_root=str(tree), ann_file=ann_file, grid=GRID, **kwargs)


def drop_camera(info):
    del info['cams']['CAM_BACK']


def no_quaternion(info):
    info['cams']['CAM_FRONT']['sensor2ego_rotation'] = [0.5, -0.5, 0.5]


def long_quaternion(info):
    info['ego2global_rotation'] = [1.0, 0.1, 0.0, 0.0]


def nan_quaternion(info):
    info['lidar2ego_rotation'] = [float('nan'), 0.0, 0.0, 0.0]


def bad_intrinsics(info):
    info['cams']['CAM_FRONT']['cam_intrinsic'] = np.eye(4)


def no_scene(info):
    del info['scene_name']
    info['occ_path'] = './somewhere/else'


def escape(info):
    info['scene_name'] = '../../etc'


def no_token(info):
    del info['token']


def no_path(info):
    info['lidar_path'] = None


def no_time(info):
    info['timestamp'] = 'yesterday'


def same_time(info):
    info['timestamp'] -= 500_000


def same_token(info):
    info['token'] = 'sample11'


FAULTS = {
    drop_camera: (
        'missing camera',
        r'infos\[6\] \(sample12\).cams: no camera CAM_BACK; found CAM_',
    ),
    no_quaternion: ('broken quaternion', r'cams.CAM_FRONT.sensor2ego_rotation: expected a quatern'),
    long_quaternion: ('broken quaternion', r'ego2global_rotation: .*length 1, got \[1.0, 0.1,'),
    nan_quaternion: ('broken quaternion', r'lidar2ego_rotation: .*got \[nan'),
    bad_intrinsics: ('malformed entry', r'cam_intrinsic: expected 3 x 3 finite numbers'),
    no_scene: ('malformed entry', r'no scene: .*somewhere/else'),
    escape: ('malformed entry', r'no scene'),
    no_token: ('malformed entry', r"infos\[6\]: key 'token' is missing"),
    no_path: ('malformed entry', r'lidar_path: expected text, got None'),
    no_time: ('malformed entry', r"timestamp: expected microseconds, got 'yesterday'"),
    same_time: ('repeated time', r'the same time as sample sample11'),
    same_token: ('repeated sample', r'sample sample11 again'),
}


@pytest.mark.parametrize('change', FAULTS)
def test_a_faulty_frame_is_named(tree, make_infos, change):
    kind, message = FAULTS[change]
    file = make_infos(change)
    with pytest.raises(AnnotationError, match=message) as caught:
        build(tree, file)
    assert caught.value.kind == kind and str(caught.value).startswith(f'{file}, infos[')
    assert '\nWhat to do: ' in describe(caught.value)
    report = NuScenesOccupancyDataset.check(
        images=False, data_root=str(tree), ann_file=file, grid=GRID
    )
    assert kind in [problem.kind for problem in report.problems] and report.counts['samples'] == 11


def test_infos_of_another_version(tree, tmp_path):
    with pytest.raises(AnnotationError, match="version 'v1.0-test', expected 'v1.0-trainval'"):
        build(tree, 'bevdet.pkl', version='v1.0-trainval')
    newer = tmp_path / 'newer.pkl'
    newer.write_bytes(pickle.dumps({'data_list': [], 'metainfo': {}}))
    with pytest.raises(AnnotationError, match='mmdetection3d 1.x') as caught:
        build(tree, str(newer))
    assert caught.value.kind == 'other version'
    report = NuScenesOccupancyDataset.check(ann_file=str(newer))
    assert [problem.kind for problem in report.problems] == ['other version']


class Evil:
    def __reduce__(self):
        return os.system, ('touch /tmp/mmvl_was_here',)


def test_info_files_run_nothing(tree, tmp_path):
    file = tmp_path / 'evil.pkl'
    file.write_bytes(pickle.dumps({'infos': [Evil()], 'metadata': {}}))
    with pytest.raises(AnnotationError, match='which is code and not data'):
        build(tree, str(file))


def test_missing_files_are_named(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match='bevdetv2-nuscenes_infos'):
        build(tree, 'nothing.pkl')
    file = shutil.copy(tree / 'bevdet.pkl', tmp_path)
    with pytest.raises(FileNotFoundError, match='72 of 72 images are missing: .*sample00.png'):
        NuScenesOccupancyDataset(
            data_root=str(tmp_path), ann_file=file, grid=GRID, pipeline=[{'type': 'PackOccupancy'}]
        )


def test_labels_of_another_grid(tree):
    path = tree / 'gts/scene-0001/sample12/labels.npz'
    with pytest.raises(AnnotationError, match='another grid: 8 x 6 x 4 voxels, .* 200 x 200 x 1'):
        read_labels(path, 'occ3d', (200, 200, 16))
    # the same number of voxels in another order is another grid too
    with pytest.raises(AnnotationError) as caught:
        read_labels(path, 'occ3d', (6, 8, 4))
    assert caught.value.kind == 'other grid' and "set 'grid'" in str(caught.value)
    listed = tree / 'gts_surroundocc/samples/sample12.pcd.bin.npy'
    with pytest.raises(AnnotationError, match='another grid: 8 x 6 x 4'):
        read_labels(listed, 'surroundocc', (4, 6, 4))


def test_labels_of_another_kind(tree, tmp_path):
    with pytest.raises(AnnotationError, match="no array 'flow'; found semantics"):
        read_labels(tree / 'gts/scene-0001/sample12/labels.npz', 'openocc', GRID)
    with pytest.raises(AnnotationError, match='there is no such file') as caught:
        read_labels(tmp_path / 'labels.npz', 'occ3d', GRID)
    assert caught.value.kind == 'missing labels'
    (tmp_path / 'cut.npz').write_bytes(
        (tree / 'gts/scene-0001/sample12/labels.npz').read_bytes()[:200]
    )
    with pytest.raises(AnnotationError, match='damaged'):
        read_labels(tmp_path / 'cut.npz', 'occ3d', GRID)
    masks = {'mask_camera': np.ones(GRID), 'mask_lidar': np.ones(GRID)}
    np.savez(tmp_path / 'classes.npz', semantics=np.full(GRID, 40, np.uint8), **masks)
    with pytest.raises(AnnotationError, match='class 40, expected 0 to 17 or 255'):
        read_labels(tmp_path / 'classes.npz', 'occ3d', GRID)
    np.savez(tmp_path / 'pickle.npz', semantics=np.array([Evil()], object), **masks)
    with pytest.raises(AnnotationError, match='damaged'):
        read_labels(tmp_path / 'pickle.npz', 'occ3d', GRID)


def test_point_clouds(tree, tmp_path):
    good = tree / 'samples/LIDAR_TOP/sample00.pcd.bin'
    assert read_points(good).shape == (200, 5)
    (tmp_path / 'empty.bin').touch()
    with pytest.raises(AnnotationError, match='empty.bin: the point cloud is empty') as caught:
        read_points(tmp_path / 'empty.bin')
    assert caught.value.kind == 'empty point cloud'
    (tmp_path / 'cut.bin').write_bytes(good.read_bytes()[:-4])
    with pytest.raises(AnnotationError, match='3,996 bytes are no whole number of points'):
        read_points(tmp_path / 'cut.bin')
    np.full((3, 5), np.nan, np.float32).tofile(tmp_path / 'nan.bin')
    with pytest.raises(AnnotationError, match='not finite'):
        read_points(tmp_path / 'nan.bin')
    with pytest.raises(AnnotationError, match='no such file.\nWhat to do: set data_root'):
        read_points(tmp_path / 'gone.bin')
    with pytest.raises(AnnotationError, match='200 values of uint8, expected 7 integers'):
        read_point_classes(tree / 'lidar_seg/sample00.npz', 7)


def test_data_check_lists_what_is_wrong_with_files(tree, tmp_path):
    root = tmp_path / 'tree'
    shutil.copytree(tree, root)
    (root / 'samples/CAM_BACK/sample01.png').unlink()
    (root / 'samples/CAM_FRONT/sample10.png').write_bytes(b'no image')
    (root / 'samples/LIDAR_TOP/sample02.pcd.bin').write_bytes(b'')
    shutil.rmtree(root / 'gts/scene-0002/sample21')
    report = NuScenesOccupancyDataset.check(
        data_root=str(root), ann_file='bevdet.pkl', grid=GRID, labels='occ3d'
    )
    kinds = sorted(problem.kind for problem in report.problems)
    assert kinds == ['damaged image', 'empty point cloud', 'missing image', 'missing labels']


def test_gaps_in_a_scene_are_noted(tree, tmp_path):
    with open(tree / 'bevdet.pkl', 'rb') as file:
        content = pickle.load(file)
    content['infos'] = [each for each in content['infos'] if each['token'] != 'sample11']
    (tmp_path / 'gap.pkl').write_bytes(pickle.dumps(content))
    report = NuScenesOccupancyDataset.check(
        images=False, data_root=str(tree), ann_file=str(tmp_path / 'gap.pkl'), grid=GRID
    )
    assert [(p.kind, p.is_error) for p in report.problems] == [('gap in a scene', False)]
    assert 'after sample sample10' in report.problems[0].detail


@pytest.mark.parametrize(
    'options',
    [{'labels': 'kitti'}, {'load_interval': 0}, {'sequence_parts': 0}, {'grid': (2, 2)}],
)
def test_options_out_of_range(tree, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NuScenesOccupancyDataset(
            data_root=str(tree), ann_file='bevdet.pkl', **{'grid': GRID, **options}
        )
