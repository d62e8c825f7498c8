"""ALOcc: images of six cameras, and what was there before, become a semantic occupancy grid.

Letters in shapes: B samples, N cameras, C channels, D depth bins, h x w cells of stride 16, H x W
pixels, Q queries, X Y Z voxels. Volumes inside are (B, C, Y, X, Z), or (B, C, Y, X) in the 2-D
variants; what samples hold is (X, Y, Z).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmvl.occupancy.preprocessing import OccupancyPreprocessor
from mmvl.occupancy.structures import OccupancySample
from mmvl.registry import MODELS

from .cameras import Cameras
from .convert import LAYOUTS
from .depth_net import DepthPrediction
from .image_encoder import first_stage

Inputs = dict[str, Tensor]


@dataclass
class SceneFeatures:
    """What ALOcc knows of a batch before its head.

    Attributes:
        volume: (B, C, Y, X, Z) decoded features.
        prediction: of the depth net; its context is (B, N, C, h, w).
        depth_bins: (B, N, h, w) int64 bins of LiDAR points, -1 without; None without depth maps.
    """

    volume: Tensor
    prediction: DepthPrediction
    depth_bins: Tensor | None


@MODELS.register_module()
class ALOcc(BaseModel):
    """Occupancy with occlusion-aware lifting (Chen et al., ICCV 2025, arXiv 2411.07725).

    It keeps what it saw: a batch goes on where the last one was, place by place, unless a sample
    says ``starts_sequence``. Training and evaluation have memories of their own, so a validation
    does not disturb the training.

    Args:
        img_backbone: config of a ResNet of mmdet; its last two maps go to the neck, the first one
            of three is compared with that of the previous key frame.
        img_neck: config of a :class:`CustomFPN`.
        depth_net: config of an :class:`ALOccDepthNet`.
        lift: config of an :class:`AdaptiveLift`.
        history: config of a :class:`TemporalFusion`; None for single frames.
        voxel_encoder: config of a :class:`VoxelResNet` or :class:`BEVResNet`.
        voxel_neck: config of a :class:`VoxelFPN` or :class:`BEVHeightFPN`.
        head: config of an :class:`ALOccHead`.
        pre_process: config of an encoder before the history; None for none.
        data_preprocessor: config; stacks and normalises.
    """

    layouts: ClassVar[dict[str, tuple[str, ...]]] = LAYOUTS

    def __init__(
        self,
        img_backbone: dict[str, Any],
        img_neck: dict[str, Any],
        depth_net: dict[str, Any],
        lift: dict[str, Any],
        voxel_encoder: dict[str, Any],
        voxel_neck: dict[str, Any],
        head: dict[str, Any],
        history: dict[str, Any] | None = None,
        pre_process: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or {'type': OccupancyPreprocessor}))
        self.img_backbone = MODELS.build(img_backbone)
        self.img_neck = MODELS.build(img_neck)
        self.depth_net = MODELS.build(depth_net)
        self.lift = MODELS.build(lift)
        self.pre_process = MODELS.build(pre_process) if pre_process else None
        self.history = MODELS.build(history) if history else None
        self.voxel_encoder = MODELS.build(voxel_encoder)
        self.voxel_neck = MODELS.build(voxel_neck)
        self.head = MODELS.build(head)
        # what each place of the batch was of, in training and in evaluation
        self._scenes: dict[bool, list[str | None]] = {True: [], False: []}

    def forward(
        self, inputs: Inputs, data_samples: list[OccupancySample], mode: str = 'tensor'
    ) -> Mapping[str, Tensor | None] | list[OccupancySample]:
        """Run the model on the next frame of each sequence.

        Args:
            inputs: ``images`` (B, N, 3, H, W) float32 normalised; ``previous_images`` likewise for
                models with stereo.
            data_samples: B samples with calibration, see :class:`OccupancySample`; with labels for
                'loss'. ``depth_map`` is used where all samples have one.
            mode: 'tensor' gives ``mask_logits`` (B, Q, Y, X, Z) and ``flow`` (B, Y, X, Z, 2) or
                None; 'loss' gives named losses; 'predict' sets ``pred_semantics`` and, with a flow
                head, ``pred_flow``.

        Raises:
            ValueError: another mode; images of another size or number than the model and the
                samples are made for; 'loss' without depth maps; a place of the batch goes on with
                another scene.
        """
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(f"mode is 'tensor', 'loss' or 'predict', not '{mode}'")
        images = inputs['images']
        self._check_images(images, data_samples)
        self._require_same_scenes(data_samples)
        starts = torch.tensor(
            [sample.starts_sequence for sample in data_samples], device=images.device
        )
        poses = _stacked(data_samples, 'lidar_ego2global', images.device)
        turns = _stacked(data_samples, 'bev_rotation', images.device)
        moment = (poses, turns, starts)
        features = self.extract(inputs, data_samples, *moment)
        if mode == 'tensor':
            return self.head(features.volume, *moment)
        if mode == 'loss':
            return self._losses(features, data_samples, moment)
        found = self.head.predict(features.volume, *moment)
        for sample, (semantics, flow) in zip(data_samples, found, strict=True):
            sample.pred_semantics = semantics
            if flow is not None:
                sample.pred_flow = flow
        return data_samples

    def _check_images(self, images: Tensor, samples: list[OccupancySample]) -> None:
        wanted = (len(samples), len(samples[0].intrinsics), 3, *self.lift.image_size)
        if tuple(images.shape) != wanted:
            raise ValueError(
                f'images are {tuple(images.shape)}, not {wanted}: samples, cameras, channels, '
                'height, width.\n'
                f'Where: the batch of sample {samples[0].get("sample_token")}.\n'
                'What to do: give image_size of depth_net and lift the size that the pipeline '
                'makes, and every sample the calibration of all its cameras.'
            )

    def _require_same_scenes(self, samples: list[OccupancySample]) -> None:
        """Refuse to warp what was seen in one scene into another."""
        scenes = [sample.get('scene_token') for sample in samples]
        before = self._scenes[self.training]
        if len(before) == len(scenes):
            for place, sample in enumerate(samples):
                if not sample.starts_sequence and before[place] != scenes[place]:
                    raise ValueError(
                        f"place {place} of the batch jumps from scene '{before[place]}' to "
                        f"'{scenes[place]}' without starts_sequence.\n"
                        'What to do: use SequenceSampler for training and SceneSampler for tests.'
                    )
        self._scenes[self.training] = scenes

    def extract(
        self,
        inputs: Inputs,
        samples: list[OccupancySample],
        poses: Tensor,
        turns: Tensor,
        starts: Tensor,
    ) -> SceneFeatures:
        """Everything but the head; the history moves on by one frame.

        Args:
            inputs: as for :meth:`forward`.
            samples: likewise.
            poses: (B, 4, 4) float64 ego frame at the time of the LiDAR to global.
            turns: (B, 3, 3) augmentation of the key ego frame.
            starts: (B,) bool, a sequence begins.
        """
        cameras = Cameras.from_samples(samples, inputs['images'].device)
        prediction = self._predict_depth(inputs, cameras)
        depth_bins = None
        if all('depth_map' in sample for sample in samples):
            depth_map = _stacked(samples, 'depth_map', inputs['images'].device)
            depth_bins = self.depth_net.depth_bins(depth_map)
        volume = self.lift(prediction, cameras, depth_bins)
        if self.pre_process is not None:
            volume = self.pre_process(volume)[-1]
        if self.history is not None:
            volume = self.history(volume, poses, turns, starts)
        volume = self.voxel_neck(self.voxel_encoder(volume))
        return SceneFeatures(volume, prediction, depth_bins)

    def _predict_depth(self, inputs: Inputs, cameras: Cameras) -> DepthPrediction:
        images = inputs['images']
        maps = self.img_backbone(images.flatten(0, 1))
        features = self.img_neck(maps[-2:]).unflatten(0, images.shape[:2])
        if not self.depth_net.stereo:
            return self.depth_net(features, cameras)
        before = None
        if inputs.get('previous_images') is not None:
            with torch.no_grad():
                before = first_stage(self.img_backbone, inputs['previous_images'].flatten(0, 1))
        return self.depth_net(features, cameras, (before, maps[0]))

    def _losses(
        self,
        features: SceneFeatures,
        samples: list[OccupancySample],
        moment: tuple[Tensor, Tensor, Tensor],
    ) -> dict[str, Tensor]:
        if features.depth_bins is None:
            raise ValueError(
                "Training needs 'depth_map' in every sample.\n"
                'What to do: put the transform that projects LiDAR points into the pipeline.'
            )
        prediction = features.prediction
        losses = self.head.loss(features.volume, prediction.context, samples, *moment)
        losses['loss_depth'] = self.depth_net.loss(prediction.depth, features.depth_bins)
        return losses

    def reset_state(self) -> None:
        """Forget the earlier frames, of the mode (training or evaluation) that the model is in."""
        self._scenes[self.training] = []
        for part in self._temporal_parts().values():
            part.reset_state()

    def temporal_state(self) -> dict[str, Tensor]:
        """Copy what is remembered of earlier frames, of the mode that the model is in.

        Returns:
            Names -> tensors with B first; empty at the beginning.
        """
        return {
            f'{name}.{key}': value
            for name, module in self._temporal_parts().items()
            for key, value in module.temporal_state().items()
        }

    def load_temporal_state(self, state: dict[str, Tensor]) -> None:
        """Take up what :meth:`temporal_state` gave; an empty dictionary forgets.

        Raises:
            ValueError: a name in it belongs to no part of this model.
        """
        parts = self._temporal_parts()
        strange = [name for name in state if name.partition('.')[0] not in parts]
        if strange:
            raise ValueError(f"'{strange[0]}' is no temporal state of this model")
        self._scenes[self.training] = []
        for name, module in parts.items():
            own = {k.partition('.')[2]: v for k, v in state.items() if k.startswith(f'{name}.')}
            module.load_temporal_state(own)

    def _temporal_parts(self) -> dict[str, Any]:
        parts = {'history': self.history, 'head': self.head}
        return {name: part for name, part in parts.items() if part is not None}


def _stacked(samples: list[OccupancySample], name: str, device: torch.device) -> Tensor:
    return torch.stack([sample.get(name) for sample in samples]).to(device)
