"""Key frames of nuScenes with occupancy labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvl.engine.annotation_files import SEE_CHECK, Handler, stop
from mmvl.engine.data_check import Report
from mmvl.engine.images import missing_files
from mmvl.engine.seeded_dataset import SeededDataset
from mmvl.registry import DATASETS, TRANSFORMS

from .check import check_occupancy
from .infos import CAMERAS, LAYOUT, Frame, read_infos
from .labels import FORMS, Grid, label_path
from .origins import LIMIT, MOST, ray_origins

Sample = dict[str, Any]


@DATASETS.register_module()
class NuScenesOccupancyDataset(SeededDataset):
    """Key frames with their cameras, LiDAR, labels and the key frame before.

    Frames of a scene stand together, in the order of time. A sample holds, before the pipeline:

    * ``sample_token``, ``scene_token``, ``scene_name``, ``sample_index``, ``starts_sequence``
      (first frame of a sequence: of a scene, or of one of its parts), ``has_previous``, ``rng``;
    * ``image_paths`` (N), ``intrinsics`` (N, 3, 3), ``sensor2ego`` and ``ego2global`` (N, 4, 4),
      ``key_ego2global`` and ``lidar_ego2global`` (4, 4): the ego pose at the time of the front
      camera and of the LiDAR; all float64;
    * ``previous_image_paths``, ``previous_sensor2ego`` and ``previous_ego2global``, of the key
      frame before, or of this one where it is the first of its scene;
    * ``lidar_path``, ``lidar2ego`` (4, 4), ``lidar_seg_path``;
    * ``occ_path``, the file of the labels, ``ray_mask_path``, ``labels`` and ``grid``;
    * ``ray_origins`` (O, 3) float64, see :func:`.ray_origins`.

    Where there is a pipeline, all images must exist when the dataset is built.

    Args:
        ann_file: info file in BEVDet's or OpenOcc's form, see :func:`.read_infos`.
        data_root: folder with ``samples``; paths of the info file are taken from there on.
        labels: 'occ3d', 'openocc', 'surroundocc' or 'openoccupancy', see :data:`.FORMS`.
        label_root: folder of the labels; by default below ``data_root``, as they are released.
        ray_mask_root: folder with OpenOcc's ray masks, or None.
        lidar_seg_root: folder with the classes of LiDAR points, or None.
        grid: (X, Y, Z), voxels that the labels must have.
        cameras: names of the N cameras.
        version: that the info file must be of, or None.
        load_interval: take every n-th frame, counted over the frames in the order of time.
        sequence_parts: how many sequences a scene is cut into; the released training has two.
        origin_limit: |x| and |y| of ray origins, metres.
        max_origins: how many ray origins a sample has at most; fewer make RayIoU faster, and
            another number.
        pipeline: transforms, or configs of transforms in the registry of mmvl.
        **kwargs: as in :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: the info file or images are missing.
        AnnotationError: the info file is damaged, or of another form or version.
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        *,
        labels: str = 'occ3d',
        label_root: str | None = None,
        ray_mask_root: str | None = None,
        lidar_seg_root: str | None = None,
        grid: Sequence[int] = (200, 200, 16),
        cameras: Sequence[str] = CAMERAS,
        version: str | None = None,
        load_interval: int = 1,
        sequence_parts: int = 1,
        origin_limit: float = LIMIT,
        max_origins: int = MOST,
        data_root: str = '',
        pipeline: list | tuple = (),
        **kwargs: Any,
    ) -> None:
        if labels not in FORMS:
            raise ValueError(f'labels is one of {", ".join(FORMS)}, got {labels!r}')
        if load_interval < 1 or sequence_parts < 1:
            raise ValueError('load_interval and sequence_parts must be at least 1')
        if len(grid) != 3:
            raise ValueError(f'grid has three sizes, got {tuple(grid)}')
        self.labels, self.cameras, self.version = labels, tuple(cameras), version
        self.grid: Grid = (int(grid[0]), int(grid[1]), int(grid[2]))
        self.label_root = Path(label_root or Path(data_root) / FORMS[labels].folder)
        self.ray_mask_root = ray_mask_root and Path(ray_mask_root)
        self.lidar_seg_root = lidar_seg_root and Path(lidar_seg_root)
        self.load_interval, self.sequence_parts = load_interval, sequence_parts
        self.origin_limit, self.max_origins = origin_limit, max_origins
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        metainfo = {'classes': FORMS[labels].classes, **(kwargs.pop('metainfo', None) or {})}
        super().__init__(data_root=data_root, pipeline=steps, metainfo=metainfo, **kwargs)

    def frames(self, handler: Handler) -> list[Frame]:
        """Read the info file, and take every ``load_interval``-th frame."""
        frames = read_infos(self.ann_file, self.cameras, self.version, handler)
        if self.load_interval == 1:
            return frames
        times = np.argsort([frame.timestamp for frame in frames], kind='stable')
        kept = set(times[:: self.load_interval].tolist())
        return [frame for number, frame in enumerate(frames) if number in kept]

    def load_data_list(self) -> list[Sample]:
        """Read the info file.

        Raises:
            FileNotFoundError: it is missing, or images are.
            AnnotationError: something in it is malformed.
        """
        frames = self.frames(stop)
        if self.pipeline.transforms:
            self._require_images(frames)
        starts = sequence_starts([frame.scene_token for frame in frames], self.sequence_parts)
        samples = []
        for number, frame in enumerate(frames):
            before = frames[max(number - 1, 0)]
            has_previous = number > 0 and before.scene_token == frame.scene_token
            samples.append(self._sample(frame, before if has_previous else frame))
            samples[-1]['has_previous'] = has_previous
            samples[-1]['starts_sequence'] = bool(starts[number])
            samples[-1]['sample_index'] = number
        return samples

    def _sample(self, frame: Frame, before: Frame) -> Sample:
        label_file = label_path(frame, self.labels, self.label_root)
        sample = {
            'sample_token': frame.token,
            'scene_token': frame.scene_token,
            'scene_name': frame.scene_name,
            'image_paths': self.image_files(frame),
            'previous_image_paths': self.image_files(before),
            'previous_sensor2ego': before.sensor2ego,
            'previous_ego2global': before.ego2global,
            'lidar_path': self._file(frame.lidar_path),
            'lidar_seg_path': None,
            'occ_path': str(label_file),
            'ray_mask_path': None,
            'labels': self.labels,
            'grid': self.grid,
        }
        if self.lidar_seg_root:
            # up to the first dot, as in the released code: the suffix is .pcd.bin
            stem = Path(frame.lidar_path).name.split('.')[0]
            sample['lidar_seg_path'] = str(self.lidar_seg_root / f'{stem}.npz')
        if self.ray_mask_root:
            mask = label_path(frame, self.labels, self.ray_mask_root)
            sample['ray_mask_path'] = str(mask)
        for key in ('intrinsics', 'sensor2ego', 'ego2global', 'key_ego2global'):
            sample[key] = getattr(frame, key)
        return {**sample, 'lidar2ego': frame.lidar2ego, 'lidar_ego2global': frame.lidar_ego2global}

    def image_files(self, frame: Frame) -> list[str]:
        """Paths of the N images of a frame."""
        return [self._file(path) for path in frame.images]

    def lidar_file(self, frame: Frame) -> str:
        """Path of the point cloud of a frame."""
        return self._file(frame.lidar_path)

    def _file(self, path: str) -> str:
        return str(Path(self.data_root or '') / path)

    def _require_images(self, frames: Sequence[Frame]) -> None:
        files = [file for frame in frames for file in self.image_files(frame)]
        gone = [files[i] for i in missing_files(files)]
        if gone:
            more = ', ...' if len(gone) > 3 else ''
            raise FileNotFoundError(
                f'{self.ann_file}: {len(gone)} of {len(files)} images are missing: '
                f'{", ".join(gone[:3])}{more}\n'
                f'What to do: set data_root; expected {LAYOUT}; {SEE_CHECK}.'
            )

    def full_init(self) -> None:
        """Load, and keep the poses of all frames, from which rays start."""
        if self._fully_initialized:
            return
        super().full_init()
        infos = [self.get_data_info(index) for index in range(len(self))]
        poses = [info['lidar_ego2global'] @ info['lidar2ego'] for info in infos]
        self._lidar2global = np.stack(poses) if poses else np.empty((0, 4, 4))
        scenes = np.array([info['scene_token'] for info in infos])
        self.scene_numbers = np.cumsum(np.r_[False, scenes[1:] != scenes[:-1]])
        self.sequence_numbers = np.cumsum([info['starts_sequence'] for info in infos]) - 1

    def prepare_data(self, idx: int) -> Any:
        """Give the sample its generator and its ray origins, and go on."""
        sample = self.get_data_info(idx)
        sample['rng'] = self.generator(sample)
        sample['ray_origins'] = self.ray_origins(idx, sample['lidar2ego'])
        return self.pipeline(sample)

    def ray_origins(self, idx: int, lidar2ego: np.ndarray) -> np.ndarray:
        """Ray origins of a sample, (O, 3) float64 in its ego frame."""
        members = np.flatnonzero(self.scene_numbers == self.scene_numbers[idx])
        return ray_origins(
            self._lidar2global[members],
            int(idx - members[0]),
            lidar2ego,
            self.origin_limit,
            self.max_origins,
        )

    def __getitem__(self, idx: int) -> Any:
        """Give the sample of an index; MMEngine's retries would draw outside of ``rng``."""
        if not self._fully_initialized:
            self.full_init()
        return self.prepare_data(idx)

    @classmethod
    def check(cls, images: bool = True, **config: Any) -> Report:
        """List all that is wrong with the files of a dataset, which need not be loadable.

        Args:
            images: also look for images, point clouds and labels, and decode them.
            **config: as in a config; a pipeline is not needed.
        """
        return check_occupancy(cls(**{**config, 'pipeline': (), 'lazy_init': True}), images)


def sequence_starts(scenes: Sequence[str], parts: int) -> np.ndarray:
    """Which frames start a sequence, (T,) bool.

    Args:
        scenes: scene of each of T frames, one at least; those of a scene stand together.
        parts: how many sequences a scene is cut into, all but the last of equal length.
    """
    names = np.array(scenes)
    first = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    starts = np.zeros(len(names), np.bool_)
    for begin, end in zip(first, [*first[1:], len(names)], strict=True):
        starts[begin : end : -(-(end - begin) // parts)] = True
    return starts
