"""Position encodings of image tokens and of words."""

import math

import torch
from torch import Tensor


def sine_position_encoding(
    valid: Tensor, num_feats: int = 128, temperature: float = 10000.0, offset: float = 0.0
) -> Tensor:
    """Sines and cosines of the normalised row and column of each valid cell.

    Letters in shapes: B images, H rows, W columns.

    Args:
        valid: (B, H, W) bool, true inside the image, false in the padding.
        num_feats: channels for each of the two axes.
        temperature: the longest wave is 2 pi times this.
        offset: added to the coordinates, which count from 1; -0.5 in Deformable DETR.

    Returns:
        (B, 2 * num_feats, H, W) float32; the first half encodes rows, the second columns.

    Source: DETR (Carion et al. 2020), appendix A.4, with coordinates normalised to 0-2 pi over the
    valid area; the official eps of 1e-6 is kept.
    """
    axes = [_sines(valid, dim, num_feats, temperature, offset) for dim in (1, 2)]
    return torch.cat(axes, dim=-1).permute(0, 3, 1, 2)


def sine_sequence_encoding(
    valid: Tensor, num_feats: int = 256, temperature: float = 10000.0
) -> Tensor:
    """Sines and cosines of the normalised place of each word, (B, T, num_feats) float32.

    Args:
        valid: (B, T) bool, false in the padding, of B sentences of T tokens.
        num_feats: channels.
        temperature: as in :func:`sine_position_encoding`.
    """
    return _sines(valid, 1, num_feats, temperature, 0.0)


def _sines(valid: Tensor, dim: int, num_feats: int, temperature: float, offset: float) -> Tensor:
    """(..., num_feats) waves of the coordinate along one axis of a mask."""
    waves = torch.arange(num_feats, dtype=torch.float32, device=valid.device)
    waves = temperature ** (2 * waves.div(2, rounding_mode='floor') / num_feats)
    # summed as integers: of floats CUDA has no form that repeats bit by bit
    position = valid.cumsum(dim).float()
    last = position.narrow(dim, position.shape[dim] - 1, 1)
    angle = ((position + offset) / (last + 1e-6) * 2 * math.pi)[..., None] / waves
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), -1).flatten(-2)
