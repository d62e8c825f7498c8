"""Visual grounding: the referring-expression datasets and the methods that are measured on them.

Importing this registers everything of the wing.
"""

from .datasets import Flickr30kEntities, GroundingIndex, MDETRRefCOCO, RefCOCO
from .metrics import PhraseGroundingMetric, RECMetric, RESMetric
from .preprocessing import SquarePreprocessor
from .transforms import (
    LoadReferringImage,
    PackReferringInputs,
    PadToSquare,
    RandomCropAroundBox,
    RandomFlipReferring,
    ResizeLongSide,
)
from .vg_law import VGLAW, AdaptiveViTDet
from .visualization import ReferringVisualizationHook, ReferringVisualizer

__all__ = [
    'AdaptiveViTDet',
    'Flickr30kEntities',
    'GroundingIndex',
    'LoadReferringImage',
    'MDETRRefCOCO',
    'PackReferringInputs',
    'PadToSquare',
    'PhraseGroundingMetric',
    'RECMetric',
    'RESMetric',
    'RandomCropAroundBox',
    'RandomFlipReferring',
    'RefCOCO',
    'ReferringVisualizationHook',
    'ReferringVisualizer',
    'ResizeLongSide',
    'SquarePreprocessor',
    'VGLAW',
]
