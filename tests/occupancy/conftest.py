"""A mini tree of nuScenes, Occ3D and OpenOcc: three scenes of four frames, tiny images, grids."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmvl.occupancy.datasets import CAMERAS
from mmvl.occupancy.datasets.classes import OCC3D, OCC3D_TO_OPENOCC

GRID = (8, 6, 4)
SCENES, FRAMES = 3, 4
SIZE = (20, 32)


def mini_info(scene: int, frame: int) -> dict[str, Any]:
    """Info of a frame in BEVDet's form; the vehicle drives 1 m a frame along x."""
    token = f'sample{scene}{frame}'
    cams = {
        name: {
            'data_path': f'./data/nuscenes/samples/{name}/{token}.png',
            'cam_intrinsic': np.array([[16.0, 0, 15.5], [0, 16.0, 9.5], [0, 0, 1]]),
            'sensor2ego_rotation': [0.5, -0.5, 0.5, -0.5],
            'sensor2ego_translation': [0.1 * number, 0.0, 1.5],
            'ego2global_rotation': [1.0, 0.0, 0.0, 0.0],
            'ego2global_translation': [100.0 + frame - 0.1, 50.0 * scene, 0.0],
        }
        for number, name in enumerate(CAMERAS)
    }
    return {
        'token': token,
        'timestamp': 10**15 + scene * 10**9 + frame * 500_000,
        'prev': f'sample{scene}{frame - 1}' if frame else '',
        'scene_token': f'scene-token-{scene}',
        'scene_name': f'scene-{scene:04d}',
        'lidar_path': f'./data/nuscenes/samples/LIDAR_TOP/{token}.pcd.bin',
        'lidar_token': f'lidar{scene}{frame}',
        'lidar2ego_rotation': [1.0, 0.0, 0.0, 0.0],
        'lidar2ego_translation': [0.0, 0.0, 1.8],
        'ego2global_rotation': [1.0, 0.0, 0.0, 0.0],
        'ego2global_translation': [100.0 + frame, 50.0 * scene, 0.0],
        'occ_path': f'./data/nuscenes/openocc_v2/scene-{scene:04d}/{token}',
        'gt_names': np.array(['car']),
        'gt_boxes': np.zeros((1, 7)),
        'cams': cams,
    }


def mini_labels(scene: int, frame: int) -> dict[str, np.ndarray]:
    """Occ3D's arrays of a frame, and flow."""
    rng = np.random.default_rng((scene, frame))
    semantics = rng.integers(1, len(OCC3D), GRID).astype(np.uint8)
    return {
        'semantics': semantics,
        'mask_camera': (rng.random(GRID) < 0.5).astype(np.uint8),
        'mask_lidar': (rng.random(GRID) < 0.8).astype(np.uint8),
        'flow': rng.normal(0, 3, (*GRID, 2)).astype(np.float32),
        'ray_mask2': rng.random(GRID) < 0.3,
    }


def save_infos(path: Path, infos: list[dict[str, Any]], version: str = 'v1.0-test') -> Path:
    """Write an info file."""
    with open(path, 'wb') as file:
        pickle.dump({'infos': infos, 'metadata': {'version': version}}, file)
    return path


def write_frame(root: Path, scene: int, frame: int) -> None:
    """Write images, points and labels of a frame."""
    info, labels = mini_info(scene, frame), mini_labels(scene, frame)
    rng = np.random.default_rng((scene, frame, 1))
    for name in CAMERAS:
        path = root / 'samples' / name / f'{info["token"]}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(path)
    points = rng.uniform((2, -9, -2), (9, 9, 2), (200, 3))
    points = np.concatenate((points, rng.uniform(0, 30, (200, 2))), 1).astype(np.float32)
    path = root / 'samples/LIDAR_TOP' / f'{info["token"]}.pcd.bin'
    path.parent.mkdir(parents=True, exist_ok=True)
    points.tofile(path)
    (root / 'lidar_seg').mkdir(exist_ok=True)
    classes = rng.integers(0, 17, (200, 1)).astype(np.uint8)
    np.savez(root / 'lidar_seg' / f'{info["token"]}.npz', lidar_seg=classes)
    place = f'{info["scene_name"]}/{info["token"]}'
    occ3d = {name: labels[name] for name in ('semantics', 'mask_camera', 'mask_lidar')}
    opened = np.array(OCC3D_TO_OPENOCC, np.uint8)[labels['semantics']]
    # OpenOcc's arrays are flattened in some releases
    flat = {'semantics': opened.ravel(), 'flow': labels['flow'].reshape(-1, 2)}
    rays = {'ray_mask2': labels['ray_mask2']}
    for tree, arrays in (('gts', occ3d), ('openocc_v2', flat), ('openocc_v2_ray_mask', rays)):
        (root / tree / place).mkdir(parents=True, exist_ok=True)
        np.savez(root / tree / place / 'labels.npz', **arrays)
    rows = np.argwhere(labels['semantics'] < 17)
    classes = labels['semantics'][tuple(rows.T)].astype(np.int64)
    (root / 'gts_surroundocc/samples').mkdir(parents=True, exist_ok=True)
    table = np.column_stack((rows, classes))
    np.save(root / 'gts_surroundocc/samples' / f'{info["token"]}.pcd.bin.npy', table)
    folder = root / f'nuScenes-Occupancy-v0.1/scene_{info["scene_token"]}/occupancy'
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f'{info["lidar_token"]}.npy', table[:, [2, 1, 0, 3]])


@pytest.fixture(scope='session')
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the mini tree; not to be changed."""
    root = tmp_path_factory.mktemp('nuscenes')
    infos = []
    for scene in range(SCENES):
        for frame in range(FRAMES):
            write_frame(root, scene, frame)
            infos.append(mini_info(scene, frame))
    # files are in no order
    save_infos(root / 'bevdet.pkl', infos[::-1])
    opened = [{k: v for k, v in info.items() if not k.startswith('scene')} for info in infos]
    save_infos(root / 'openocc.pkl', opened)
    return root


@pytest.fixture
def make_infos(tmp_path: Path) -> Callable[..., str]:
    """Write an info file of the mini tree with one frame changed; gives its path."""

    def make(change: Callable[[dict[str, Any]], Any], scene: int = 1, frame: int = 2) -> str:
        infos = [mini_info(s, f) for s in range(SCENES) for f in range(FRAMES)]
        change(infos[scene * FRAMES + frame])
        return str(save_infos(tmp_path / 'changed.pkl', infos))

    return make
