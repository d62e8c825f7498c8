"""Video segmentation: what a sentence refers to, in every frame.

Importing this registers everything of the wing.
"""

from .datasets import A2DSentences, JHMDBSentences, PseudoClip, RefDAVIS17, RefYouTubeVOS
from .metrics import JFMetric, SentenceSegMetric
from .preprocessing import ClipPreprocessor
from .referformer import ReferFormer
from .structures import ClipDataSample
from .submission import RefDAVIS17Submission, RefYouTubeVOSSubmission
from .transforms import (
    ImageToClip,
    KeepVisible,
    LoadClip,
    PackClip,
    PhotometricDistortClip,
    RandomCropClip,
    RandomFlipClip,
    ResizeClip,
)
from .visualization import RVOSVisualizationHook, RVOSVisualizer

__all__ = [
    'A2DSentences',
    'ClipDataSample',
    'ClipPreprocessor',
    'ImageToClip',
    'JFMetric',
    'JHMDBSentences',
    'KeepVisible',
    'LoadClip',
    'PackClip',
    'PhotometricDistortClip',
    'PseudoClip',
    'RVOSVisualizationHook',
    'RVOSVisualizer',
    'RandomCropClip',
    'RandomFlipClip',
    'RefDAVIS17',
    'RefDAVIS17Submission',
    'RefYouTubeVOS',
    'RefYouTubeVOSSubmission',
    'ReferFormer',
    'ResizeClip',
    'SentenceSegMetric',
]
