"""From the images of key frames to one normalised batch."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmvl.registry import MODELS

ORDERS = ('released', 'rgb', 'bgr')


@MODELS.register_module()
class OccupancyPreprocessor(BaseDataPreprocessor):
    """Normalise images and stack them.

    Args:
        mean: of the RGB channels, 0-255.
        std: of the RGB channels, 0-255.
        channel_order: 'released': channels in the order BGR, but normalised with mean and std of
            RGB, which the released weights were trained with; 'rgb' and 'bgr': each channel with
            its own mean and std.

    Raises:
        ValueError: unknown ``channel_order``.

    Source: the loader of ALOcc swaps channels as if they had been read by OpenCV; they were not.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        channel_order: str = 'released',
    ) -> None:
        super().__init__()
        if channel_order not in ORDERS:
            raise ValueError(f'channel_order is one of {", ".join(ORDERS)}, got {channel_order!r}')
        self.swap = channel_order != 'rgb'
        values = torch.tensor([tuple(mean), tuple(std)])[..., None, None]
        if channel_order == 'bgr':
            values = values.flip(1)
        self.register_buffer('mean', values[0].clone(), persistent=False)
        self.register_buffer('std', values[1].clone(), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Make a batch.

        Args:
            data: ``inputs``, B dictionaries of ``images`` and, from a pipeline that reads them,
                ``previous_images``, each (N, 3, H, W) uint8 RGB; and B ``data_samples``. A
                dictionary of batches (B, N, 3, H, W) is taken too.
            training: accepted for MMEngine's sake.

        Returns:
            ``inputs``, a dictionary of (B, N, 3, H, W) float32, and the ``data_samples``, on the
            device of the model.

        Raises:
            ValueError: the samples of the batch differ in the size or number of their images.
        """
        data = self.cast_data(data)
        inputs = data['inputs']
        if isinstance(inputs, dict):
            samples = zip(*inputs.values(), strict=True)
            inputs = [dict(zip(inputs, each, strict=True)) for each in samples]
        shapes = {tuple(image.shape) for sample in inputs for image in sample.values()}
        if len(shapes) > 1:
            raise ValueError(
                f'a batch has images of different shapes (N, 3, H, W): {sorted(shapes)}.\n'
                "What to do: use one 'size' of LoadSurroundImages and one list of cameras."
            )
        stacked = {name: torch.stack([each[name] for each in inputs]) for name in inputs[0]}
        batch = {name: self.normalise(images) for name, images in stacked.items()}
        return {'inputs': batch, 'data_samples': data['data_samples']}

    def normalise(self, images: Tensor) -> Tensor:
        """Bring (..., 3, H, W) uint8 RGB into the order of the channels, and normalise them."""
        if self.swap:
            images = images.flip(-3)
        return (images.float() - self.mean) / self.std
