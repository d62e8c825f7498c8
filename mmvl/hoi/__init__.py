"""Human-object interaction detection: HICO-DET and the methods that are measured on it.

Importing this registers everything of the wing.
"""

from .datasets import HICODet
from .eoid import CachedTeacher, EoID, EoIDCriterion, OnlineTeacher, TwoStageMatcher
from .metrics import HICODetMetric
from .structures import HOIDataSample, HOIPairs
from .targets import BuildPairTargets
from .transforms import (
    ClipBoxes,
    ColorJitterRGB,
    LoadHOIImage,
    PackHOIInputs,
    RandomBranch,
    RandomFlipPairs,
    RandomSizeCrop,
    ResizeShortestEdge,
)
from .visualization import HOIVisualizationHook, HOIVisualizer

__all__ = [
    'BuildPairTargets',
    'CachedTeacher',
    'ClipBoxes',
    'ColorJitterRGB',
    'EoID',
    'EoIDCriterion',
    'HICODet',
    'HICODetMetric',
    'HOIDataSample',
    'HOIPairs',
    'HOIVisualizationHook',
    'HOIVisualizer',
    'LoadHOIImage',
    'OnlineTeacher',
    'PackHOIInputs',
    'RandomBranch',
    'RandomFlipPairs',
    'RandomSizeCrop',
    'ResizeShortestEdge',
    'TwoStageMatcher',
]
