"""From clips of different sizes to one padded batch."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmvl.registry import MODELS


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Normalise frames and pad them with zeros, at the bottom and on the right.

    Clips of fewer frames than the longest get empty ones behind, which prediction cuts off again.

    Args:
        mean: of the RGB channels, 0-255.
        std: of the RGB channels, 0-255.
        divisor: height and width of a batch are multiples of this.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        divisor: int = 32,
    ) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer('std', torch.tensor(std)[:, None, None], persistent=False)
        self.divisor = divisor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Make a batch.

        Args:
            data: ``inputs``, B tensors (T, 3, h, w) uint8 RGB, and B ``data_samples``, whose
                ``img_shape`` is set to (h, w).
            training: accepted for MMEngine's sake.

        Returns:
            ``inputs`` (B, T, 3, H, W) float32 and the ``data_samples``, on the device of the model.
        """
        data = self.cast_data(data)
        clips, samples = data['inputs'], data['data_samples']
        mean: Tensor = self.mean  # type: ignore[assignment]
        frames, _, *sides = (max(sizes) for sizes in zip(*(c.shape for c in clips), strict=True))
        sides = [side + -side % self.divisor for side in sides]
        batch = mean.new_zeros(len(clips), frames, 3, *sides)
        for canvas, clip, sample in zip(batch, clips, samples, strict=True):
            length, _, height, width = clip.shape
            canvas[:length, :, :height, :width] = (clip - mean) / self.std
            sample.set_metainfo({'img_shape': (height, width)})
        return {'inputs': batch, 'data_samples': samples}
