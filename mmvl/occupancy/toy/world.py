"""The toy world on disk, in the folders and files of nuScenes, Occ3D and OpenOcc.

Letters in shapes: N cameras, V voxels, T frames of a scene, H x W pixels.
"""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from mmvl.occupancy.datasets.classes import OCC3D, OCC3D_TO_OPENOCC, OPENOCC
from mmvl.occupancy.datasets.infos import CAMERAS

from .render import photograph, pixel_ways, scan
from .street import Boxes, Ground, draw_street, ego_pose, pose_about_z

GRID: Final = (32, 32, 8)
VOXEL_SIZE: Final = 0.8
LOWER: Final = (-12.8, -12.8, -0.8)
"""Corner of the grid in the ego frame, metres; the ground fills the lowest layer."""

GRID_REACH: Final = float(np.linalg.norm(LOWER))
"""Metres from the ego vehicle to the corner of the grid, about."""

SIZE: Final = (80, 176)
"""Height and width of the images."""

YAWS: Final = {
    'CAM_FRONT_LEFT': 60,
    'CAM_FRONT': 0,
    'CAM_FRONT_RIGHT': -60,
    'CAM_BACK_LEFT': 120,
    'CAM_BACK': 180,
    'CAM_BACK_RIGHT': -120,
}
"""Where each camera looks, degrees to the left."""

FIELD_OF_VIEW: Final = 70.0
INTERVAL: Final = 0.5
REACH: Final = 25.0
BEHIND: Final = 0.05
"""How far behind a surface a point is certainly in the voxel of the thing, metres."""

VERSION: Final = 'v1.0-toy'
FREE: Final = len(OCC3D) - 1
MASKS: Final = ('mask_camera', 'mask_lidar', 'mask_occluded', 'mask_remembered')


def write_world(
    folder: str | Path, seed: int = 0, num_train: int = 18, num_val: int = 6, num_frames: int = 16
) -> None:
    """Write a world.

    Every scene is a drive through a street of its own. Label files have, beside Occ3D's arrays,
    ``flow`` and two more masks: ``mask_occluded``, voxels in the view of a camera and behind
    something; and ``mask_remembered``, those of them that were to be seen in an earlier frame,
    where nothing moved or moves.
    ``mask_lidar`` are the voxels that are to be seen in any frame.

    Args:
        folder: gets ``toy_infos_{train,val}.pkl``, ``samples``, ``lidar_seg``, ``gts``,
            ``openocc_v2`` and ``openocc_v2_ray_mask``.
        seed: same seed, same files.
        num_train: scenes to train on.
        num_val: scenes to measure.
        num_frames: key frames of a scene, half a second apart.
    """
    folder = Path(folder)
    number = 0
    for split, count in (('train', num_train), ('val', num_val)):
        infos: list[dict[str, Any]] = []
        for _ in range(count):
            infos += _Drive(folder, number, seed, num_frames).write()
            number += 1
        content = {'infos': infos, 'metadata': {'version': VERSION}}
        with open(folder / f'toy_infos_{split}.pkl', 'wb') as file:
            pickle.dump(content, file, protocol=4)


@dataclass
class _Moment:
    """One frame of a drive, in the frame of the street.

    Attributes:
        time: seconds.
        boxes: what there is.
        ego: (4, 4), pose of the vehicle.
        cameras: (N, 4, 4), poses of the cameras.
        depths: (N, H, W), infinite for sky.
        surfaces: (P, 3), points just behind the surfaces that pixels show.
    """

    time: float
    boxes: Boxes
    ego: np.ndarray
    cameras: np.ndarray
    depths: np.ndarray
    surfaces: np.ndarray


class _Drive:
    """One scene.

    Args:
        folder: of the world.
        number: of the scene.
        seed: of the world.
        num_frames: T.
    """

    def __init__(self, folder: Path, number: int, seed: int, num_frames: int) -> None:
        self.folder, self.num_frames = folder, num_frames
        self.name = f'scene-{number + 1:04d}'
        self.rng = np.random.default_rng((seed, number))
        self.token = self._token('scene')
        self.start = 1_500_000_000_000_000 + number * 100_000_000
        speed = self.rng.uniform(4.0, 5.6)
        sway, phase = self.rng.uniform(0, 0.5), self.rng.uniform(0, 2 * np.pi)
        self.motion = {'speed': speed, 'sway': sway, 'phase': phase}
        self.boxes, self.ground = draw_street(num_frames * INTERVAL * speed + 20, speed, self.rng)
        # the street lies anywhere on the map, in any direction
        yaw = self.rng.uniform(-np.pi, np.pi)
        self.street2global = pose_about_z(yaw, (*self.rng.uniform(300, 1500, 2).tolist(), 0.0))
        self.intrinsics = camera_intrinsics()
        self.camera2ego = camera_poses()
        self.lidar2ego = pose_about_z(-np.pi / 2, (0.94, 0.0, 1.84))

    def _token(self, name: str) -> str:
        text = f'{self.name}/{name}/{self.rng.bit_generator.seed_seq.entropy}'  # type: ignore[attr-defined]
        return hashlib.md5(text.encode()).hexdigest()

    def write(self) -> list[dict[str, Any]]:
        """Write all files of the scene; gives the infos of its frames."""
        moments, infos = [], []
        for number in range(self.num_frames):
            moment, images = self._take(number * INTERVAL)
            moments.append(moment)
            infos.append(self._info(number, moment))
            for name, image in zip(CAMERAS, images, strict=True):
                path = self.folder / infos[-1]['cams'][name]['data_path']
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            self._write_points(self.folder / infos[-1]['lidar_path'], moment)
        for number, info in enumerate(infos):
            self._write_labels(info['token'], moments, number)
        return infos

    def _take(self, time: float) -> tuple[_Moment, list[np.ndarray]]:
        boxes, ego = self.boxes.at(time), ego_pose(time, **self.motion)
        cameras = ego @ self.camera2ego
        scene = boxes, self.ground
        shots = [photograph(*scene, pose, self.intrinsics, SIZE, self.rng) for pose in cameras]
        depths = np.stack([depth for _, depth in shots])
        surfaces = _surfaces(cameras, depths, self.intrinsics)
        return _Moment(time, boxes, ego, cameras, depths, surfaces), [image for image, _ in shots]

    def _write_points(self, path: Path, moment: _Moment) -> None:
        pose = moment.ego @ self.lidar2ego
        points, classes = scan(moment.boxes, self.ground, pose, REACH, self.rng)
        path.parent.mkdir(parents=True, exist_ok=True)
        points.tofile(path)
        target = self.folder / 'lidar_seg' / f'{path.name.split(".")[0]}.npz'
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(target, lidar_seg=classes.astype(np.uint8)[:, None])

    def _write_labels(self, token: str, moments: list[_Moment], number: int) -> None:
        moment = moments[number]
        semantics, flow = voxelise(moment.boxes, self.ground, moment.ego)
        centres = places(moment.ego)
        seen = [self._visible(centres, moment.ego, each) for each in moments]
        visible, in_view = seen[number]
        always = np.any([each for each, _ in seen], axis=0)
        occluded = in_view & ~visible
        near = moment.ego[:3, 3], GRID_REACH
        moving = [
            each.boxes.moving().near(*near).contain(centres) >= 0 for each in moments[: number + 1]
        ]
        before = np.zeros_like(visible)
        for moved, (shown, _) in zip(moving[:number], seen[:number], strict=True):
            before |= shown & ~moved
        remembered = occluded & before & ~moving[number]
        masks = zip(MASKS, (visible, always, occluded, remembered), strict=True)
        arrays = {name: mask.reshape(GRID).astype(np.uint8) for name, mask in masks}
        arrays['flow'] = flow
        self._save('gts', token, semantics=semantics, **arrays)
        # there is no class for others, which the street does not have
        opened = np.array(OCC3D_TO_OPENOCC, np.uint8)[semantics]
        self._save('openocc_v2', token, semantics=opened, flow=flow)
        ray_mask = visible.reshape(GRID) | (opened != len(OPENOCC) - 1) & always.reshape(GRID)
        self._save('openocc_v2_ray_mask', token, ray_mask2=ray_mask)

    def _save(self, tree: str, token: str, **arrays: np.ndarray) -> None:
        path = self.folder / tree / self.name / token / 'labels.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    def _visible(
        self, centres: np.ndarray, ego: np.ndarray, moment: _Moment
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which voxels around an ego pose are to be seen at a moment, and which are in the view.

        ``centres`` (V, 3) are theirs, see :func:`places`. To be seen are those whose centre nothing
        hides, and those with a surface that a pixel shows. Both are (V,) bool.
        """
        visible, in_view = np.zeros((2, len(centres)), np.bool_)
        for pose, depth in zip(moment.cameras, moment.depths, strict=True):
            local = (centres - pose[:3, 3]) @ pose[:3, :3]
            front = np.flatnonzero(local[:, 2] > 0.1)
            pixels = local[front] @ self.intrinsics.T
            x, y = np.round(pixels[:, :2] / pixels[:, 2:]).astype(np.int64).T
            inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])
            rows = front[inside]
            in_view[rows] = True
            visible[rows] |= local[rows, 2] < depth[y[inside], x[inside]]
        local = (moment.surfaces - ego[:3, 3]) @ ego[:3, :3] - LOWER
        place = np.floor(local / VOXEL_SIZE).astype(np.int64)
        place = place[((place >= 0) & (place < GRID)).all(1)]
        visible[np.ravel_multi_index(tuple(place.T), GRID)] = True
        return visible, in_view | visible

    def _info(self, number: int, moment: _Moment) -> dict[str, Any]:
        stamp = self.start + round(moment.time * 1e6)
        ego = _pose_fields('ego2global', self.street2global @ moment.ego)
        lidar = f'samples/LIDAR_TOP/{self.name}__LIDAR_TOP__{stamp}.pcd.bin'
        cams = {
            name: {
                'data_path': f'samples/{name}/{self.name}__{name}__{stamp}.jpg',
                'type': name,
                'sample_data_token': self._token(f'{name}{number}'),
                'timestamp': stamp,
                'cam_intrinsic': self.intrinsics,
                **_pose_fields('sensor2ego', pose),
                **ego,
            }
            for name, pose in zip(CAMERAS, self.camera2ego, strict=True)
        }
        return {
            'token': self._token(f'sample{number}'),
            'prev': self._token(f'sample{number - 1}') if number else '',
            'scene_token': self.token,
            'scene_name': self.name,
            'occ_path': f'./gts/{self.name}/{self._token(f"sample{number}")}',
            'timestamp': stamp,
            'lidar_path': lidar,
            'lidar_token': self._token(f'lidar{number}'),
            'sweeps': [],
            'cams': cams,
            **_pose_fields('lidar2ego', self.lidar2ego),
            **ego,
        }


def _surfaces(cameras: np.ndarray, depths: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Points (P, 3) just behind the surfaces that every second pixel of a row and column shows."""
    rays = pixel_ways(intrinsics, SIZE).reshape(*SIZE, 3)[::2, ::2].reshape(-1, 3)
    depths = depths[:, ::2, ::2].reshape(len(cameras), -1, 1)
    near = depths[..., 0] < REACH
    ends = rays * (
        np.where(near[..., None], depths, 0) + BEHIND / np.linalg.norm(rays, axis=1)[:, None]
    )
    turned = ends @ cameras[:, :3, :3].transpose(0, 2, 1) + cameras[:, None, :3, 3]
    return turned[near]


def camera_intrinsics() -> np.ndarray:
    """Intrinsics (3, 3) of all cameras."""
    height, width = SIZE
    focal = width / 2 / np.tan(np.deg2rad(FIELD_OF_VIEW) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, height / 2], [0, 0, 1]])


def camera_poses() -> np.ndarray:
    """Poses (N, 4, 4) of the cameras in the ego frame, on a ring around its middle."""
    # x right, y down, z forward, in x forward, y left, z up
    axes = np.eye(4)
    axes[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    poses = []
    for name in CAMERAS:
        yaw = np.deg2rad(YAWS[name])
        place = (0.6 + 0.5 * np.cos(yaw), 0.5 * np.sin(yaw), 1.6)
        poses.append(pose_about_z(yaw, place) @ axes)
    return np.stack(poses)


def voxel_centres() -> np.ndarray:
    """Centres (V, 3) of all voxels in the ego frame, in the order X, Y, Z."""
    places = np.stack(np.meshgrid(*map(np.arange, GRID), indexing='ij'), -1).reshape(-1, 3)
    return np.array(LOWER) + (places + 0.5) * VOXEL_SIZE


def places(ego: np.ndarray) -> np.ndarray:
    """Centres (V, 3) of all voxels around an ego pose (4, 4), in the frame of the street."""
    return voxel_centres() @ ego[:3, :3].T + ego[:3, 3]


def voxelise(boxes: Boxes, ground: Ground, ego: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a moment.

    Args:
        boxes: in the frame of the street.
        ground: between them.
        ego: pose (4, 4) of the ego vehicle in it.

    Returns:
        Semantics (X, Y, Z) uint8, and velocity (X, Y, Z, 2) float32 m/s along the axes of the ego
        frame.
    """
    points = places(ego)
    boxes = boxes.near(ego[:3, 3], GRID_REACH)
    box = boxes.contain(points)
    below = np.where(points[:, 2] < 0, ground.classes(points), FREE)
    semantics = np.where(box >= 0, boxes.label[box], below).astype(np.uint8)
    flow = np.where((box >= 0)[:, None], boxes.velocity[box] @ ego[:2, :2], 0)
    return semantics.reshape(GRID), flow.astype(np.float32).reshape(*GRID, 2)


def _pose_fields(name: str, pose: np.ndarray) -> dict[str, list[float]]:
    quaternion = _quaternion(pose[:3, :3]).tolist()
    return {f'{name}_rotation': quaternion, f'{name}_translation': pose[:3, 3].tolist()}


def _quaternion(matrix: np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z) of a rotation matrix (3, 3)."""
    # the four are found up to sign from the diagonal; the largest gives the signs of the others
    signs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    size = np.sqrt(np.maximum(1 + signs @ np.diag(matrix), 0)) / 2
    m = matrix
    products = np.array(
        [
            [0, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], 0, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 0, m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 0],
        ]
    )
    best = int(size.argmax())
    found = products[best] / (4 * size[best])
    found[best] = size[best]
    return found / np.linalg.norm(found)
