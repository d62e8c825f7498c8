"""Info files of BEVDet and of OpenOcc, read into one form.

Both are pickles of ``{'infos': [...], 'metadata': {'version': ...}}``, written by the converters of
mmdetection3d before 1.0. They differ in what names the scene: BEVDet's have ``scene_token`` and
``scene_name``, OpenOcc's only the path of the labels.

Source: BEVDet's ``create_data_bevdet.py`` and OccNet's released info files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmvl.engine.annotation_files import SEE_CHECK, AnnotationError, Handler, existing, fault, shown
from mmvl.engine.pickles import PickleError, read_pickle

from .fields import get, numbers, pose, text

CAMERAS = (
    *('CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT'),
    *('CAM_BACK_LEFT', 'CAM_BACK', 'CAM_BACK_RIGHT'),
)
"""In the order of the released configs, which that of the network's output follows."""

KEY_CAMERA = 'CAM_FRONT'
"""Its ego pose is the key ego frame."""

LABEL_TREES = ('openocc_v2', 'gts')
SENSOR_FOLDERS = ('samples', 'sweeps')
LAYOUT = (
    '<data_root>/bevdetv2-nuscenes_infos_{train,val}.pkl, <data_root>/samples/... and '
    '<data_root>/gts/<scene>/<sample>/labels.npz'
)

# the infos of all 28,130 training samples
MAX_BYTES = 2 << 30
MAX_ITEMS = 400_000_000


@dataclass
class Frame:
    """One key frame; poses are (4, 4) float64 and map from the first named frame to the second.

    Attributes:
        token: of the sample.
        scene_token: of its scene; its name where the file has no token.
        scene_name: name of the folder with the labels.
        timestamp: microseconds.
        previous_token: of the sample before in the scene, '' for the first, None if not said.
        images: paths of the N images below the root of the data, or absolute.
        intrinsics: (N, 3, 3) float64.
        sensor2ego: (N, 4, 4).
        ego2global: (N, 4, 4), at the time stamps of the cameras.
        key_ego2global: (4, 4), of the front camera.
        lidar_path: of the point cloud, likewise.
        lidar_token: of the point cloud, '' if not said.
        lidar2ego: (4, 4).
        lidar_ego2global: (4, 4), at the time stamp of the LiDAR.
        where: its place in the file.
    """

    token: str
    scene_token: str
    scene_name: str
    timestamp: int
    previous_token: str | None
    images: list[str]
    intrinsics: np.ndarray
    sensor2ego: np.ndarray
    ego2global: np.ndarray
    key_ego2global: np.ndarray
    lidar_path: str
    lidar_token: str
    lidar2ego: np.ndarray
    lidar_ego2global: np.ndarray
    where: str


def read_infos(
    path: str | Path, cameras: Sequence[str], version: str | None, handler: Handler
) -> list[Frame]:
    """Read an info file; scenes in the order of their first frames, frames in that of time.

    Args:
        path: the pickle, which is read without running what is in it.
        cameras: names of the N cameras, which every frame must have.
        version: that the file must be of, such as 'v1.0-trainval'; None takes any.
        handler: what happens with a faulty frame.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: the file as a whole cannot be used.
    """
    infos = _load(path, version)
    frames = []
    for number, info in enumerate(infos):
        try:
            frames.append(_frame(info, cameras, path, f'infos[{number}]'))
        except AnnotationError as error:
            handler(error)
    return in_order(frames, path, handler)


def _load(path: str | Path, version: str | None) -> list[Any]:
    file = existing(path, LAYOUT)
    try:
        content = read_pickle(file, arrays=True, max_bytes=MAX_BYTES, max_items=MAX_ITEMS)
    except PickleError as error:
        raise fault(
            'unreadable annotation', path, '', str(error).splitlines()[0], 'fetch it again'
        ) from error
    if isinstance(content, dict) and 'data_list' in content:
        detail = 'infos in the form of mmdetection3d 1.x (data_list)'
        remedy = "use BEVDet's or OpenOcc's info files, which have the key 'infos'"
        raise fault('other version', path, '', detail, remedy)
    infos = get(content, 'infos', path, '')
    metadata = get(content, 'metadata', path, '')
    found = get(metadata, 'version', path, 'metadata')
    if version is not None and found != version:
        detail = f'infos of version {shown(found)}, expected {version!r}'
        remedy = f'use the right file, or set version={found!r} in the dataset'
        raise fault('other version', path, 'metadata.version', detail, remedy)
    if not isinstance(infos, list) or not infos:
        raise fault('unreadable annotation', path, 'infos', 'there is no sample', SEE_CHECK)
    return infos


def _frame(info: Any, cameras: Sequence[str], file: str | Path, where: str) -> Frame:
    token = text(info, 'token', file, where)
    where = f'{where} ({token})'
    sensors = get(info, 'cams', file, where)
    if not isinstance(sensors, dict):
        raise fault('malformed entry', file, f'{where}.cams', f'expected cameras, got {sensors!r}')
    gone = [name for name in cameras if name not in sensors]
    if gone:
        detail = f'no camera {", ".join(gone)}; found {", ".join(map(str, sensors)) or "none"}'
        remedy = f"make the infos again with all cameras, or change 'cameras'; {SEE_CHECK}"
        raise fault('missing camera', file, f'{where}.cams', detail, remedy)
    found = [(sensors[name], f'{where}.cams.{name}') for name in cameras]
    time = get(info, 'timestamp', file, where)
    if not isinstance(time, int | float | np.integer) or isinstance(time, bool):
        detail = f'expected microseconds, got {shown(time)}'
        raise fault('malformed entry', file, f'{where}.timestamp', detail)
    scene_name, scene_token = _scene(info, file, where)
    key = get(sensors, KEY_CAMERA, file, f'{where}.cams')
    previous = info.get('prev')
    return Frame(
        token=token,
        scene_token=scene_token,
        scene_name=scene_name,
        timestamp=int(time),
        previous_token=previous if isinstance(previous, str) else None,
        images=[below_root(text(sensor, 'data_path', file, at)) for sensor, at in found],
        intrinsics=np.stack([numbers(s, 'cam_intrinsic', (3, 3), file, at) for s, at in found]),
        sensor2ego=np.stack([pose(sensor, 'sensor2ego', file, at) for sensor, at in found]),
        ego2global=np.stack([pose(sensor, 'ego2global', file, at) for sensor, at in found]),
        key_ego2global=pose(key, 'ego2global', file, f'{where}.cams.{KEY_CAMERA}'),
        lidar_path=below_root(text(info, 'lidar_path', file, where)),
        lidar_token=str(info.get('lidar_token') or ''),
        lidar2ego=pose(info, 'lidar2ego', file, where),
        lidar_ego2global=pose(info, 'ego2global', file, where),
        where=where,
    )


def _scene(info: dict[str, Any], file: str | Path, where: str) -> tuple[str, str]:
    """Name and token of the scene; the folder of the labels names it where nothing else does."""
    name = info.get('scene_name')
    if not name:
        parts = PurePosixPath(text(info, 'occ_path', file, where)).parts
        name = next(
            (
                parts[i + 1]
                for tree in LABEL_TREES
                for i in range(len(parts) - 1)
                if parts[i] == tree
            ),
            '',
        )
    if not isinstance(name, str) or not name or '/' in name or name in ('.', '..'):
        detail = f"no scene: 'scene_name' and 'occ_path' name none ({shown(info.get('occ_path'))})"
        raise fault('malformed entry', file, where, detail)
    token = info.get('scene_token')
    return name, token if isinstance(token, str) and token else name


def below_root(path: str) -> str:
    """The part of a path from 'samples' or 'sweeps' on, whatever root the infos were made with."""
    parts = PurePosixPath(path.replace('\\', '/')).parts
    starts = [i for i, part in enumerate(parts) if part in SENSOR_FOLDERS]
    return str(PurePosixPath(*parts[starts[-1] :])) if starts else path


def in_order(frames: Sequence[Frame], file: str | Path, handler: Handler) -> list[Frame]:
    """Sort frames by time, with each scene in one piece.

    Other than in the released code, which sorts by time alone, a scene is not torn where another
    one was recorded at the same time.

    Args:
        frames: in any order.
        file: for messages.
        handler: what happens with a frame whose token or time its scene has already.
    """
    scenes: dict[str, list[Frame]] = {}
    seen: set[str] = set()
    for frame in sorted(frames, key=lambda each: each.timestamp):
        members = scenes.setdefault(frame.scene_token, [])
        if frame.token in seen:
            handler(fault('repeated sample', file, frame.where, f'sample {frame.token} again'))
            continue
        if members and members[-1].timestamp == frame.timestamp:
            detail = f'the same time as sample {members[-1].token} of its scene'
            handler(fault('repeated time', file, frame.where, detail))
            continue
        seen.add(frame.token)
        members.append(frame)
    return [frame for members in scenes.values() for frame in members]
