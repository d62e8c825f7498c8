"""Transforms of a clip, its sentence, and the masks and boxes that the sentence refers to.

``imgs`` is a list of T (h, w, 3) uint8 RGB, ``masks`` (M, h, w) uint8 0 or 1, ``boxes`` (M, 4)
float32 xyxy in pixels of the current frames, ``valid`` (M,) bool; M is T, or 1 where only the
``target`` is annotated; a sample without annotation lacks the last three. All frames of a clip
share one geometric transform. Randomness comes from ``results['rng']`` only.

Of two lists of transforms the registered ``RandomBranch`` runs one.
"""

from .colour import PhotometricDistortClip
from .geometry import KeepVisible, RandomCropClip, RandomFlipClip, ResizeClip
from .loading import ClipError, LoadClip, PackClip
from .motion import ImageToClip

__all__ = [
    'ClipError',
    'ImageToClip',
    'KeepVisible',
    'LoadClip',
    'PackClip',
    'PhotometricDistortClip',
    'RandomCropClip',
    'RandomFlipClip',
    'ResizeClip',
]
