"""From images of different sizes to one batch of padded squares."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmvl.registry import MODELS


@MODELS.register_module()
class SquarePreprocessor(BaseDataPreprocessor):
    """Normalise images, then pad them with zeros into squares at the offset of their samples.

    Args:
        mean: of the RGB channels, 0-255.
        std: of the RGB channels, 0-255.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer('std', torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Make a batch.

        Args:
            data: ``inputs``, B tensors (3, h, w) uint8 RGB, and ``data_samples``, whose metainfo
                has ``pad_offset`` (top, left) and ``square`` S.
            training: accepted for MMEngine's sake.

        Returns:
            ``inputs`` (B, 3, S, S) float32 and the ``data_samples``, on the device of the model.
        """
        data = self.cast_data(data)
        samples = data['data_samples']
        mean: Tensor = self.mean  # type: ignore[assignment]
        side = samples[0].square
        batch = mean.new_zeros(len(samples), 3, side, side)
        for canvas, image, sample in zip(batch, data['inputs'], samples, strict=True):
            top, left = sample.pad_offset
            height, width = image.shape[1:]
            canvas[:, top : top + height, left : left + width] = (image - mean) / self.std
        return {'inputs': batch, 'data_samples': samples}
