"""The last transform of a key frame."""

from typing import Any

import torch
from mmcv.transforms import BaseTransform

from mmvl.occupancy.structures import OccupancySample
from mmvl.registry import TRANSFORMS

from .labels import GRIDS, identity_bev

META_KEYS = (
    *('sample_token', 'scene_token', 'scene_name', 'sample_index', 'starts_sequence'),
    *('has_previous', 'ray_origins', 'occ_path', 'image_paths'),
)
POSES = (
    *('sensor2ego', 'ego2global', 'previous_sensor2ego', 'previous_ego2global'),
    *('key_ego2global', 'lidar_ego2global'),
)
OPTIONAL = ('depth_map', 'image_semantics')


@TRANSFORMS.register_module()
class PackOccupancy(BaseTransform):
    """Turn a sample into what a model takes.

    Gives ``inputs``, ``images`` and, where they were read, ``previous_images`` (N, 3, H, W) uint8
    RGB, and ``data_samples``, an :class:`OccupancySample`.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack."""
        sample = OccupancySample(metainfo={key: results[key] for key in META_KEYS})
        sample.intrinsics = torch.from_numpy(results['intrinsics']).float()
        for key in ('image_rotation', 'image_translation'):
            setattr(sample, key, results[key])
        for key in POSES:
            setattr(sample, key, torch.from_numpy(results[key]))
        sample.bev_rotation = results.get('bev_rotation', identity_bev())
        for key in [*OPTIONAL, *(key for key in results if key.startswith(GRIDS))]:
            if isinstance(results.get(key), torch.Tensor):
                setattr(sample, key, results[key])
        names = [name for name in ('images', 'previous_images') if name in results]
        return {'inputs': {name: results[name] for name in names}, 'data_samples': sample}
