"""Videos with referring expressions on disk, in the forms of their releases."""

from mmvl.engine.annotation_files import AnnotationError

from .a2d import A2DSentences
from .base import ReferringVideoDataset
from .coco_form import a2d_single_frames, a2d_truth, jhmdb_truth
from .davis import RefDAVIS17, convert_ref_davis
from .jhmdb import JHMDBSentences
from .pseudo import PseudoClip
from .youtube_vos import RefYouTubeVOS

__all__ = [
    'A2DSentences',
    'AnnotationError',
    'JHMDBSentences',
    'PseudoClip',
    'RefDAVIS17',
    'RefYouTubeVOS',
    'ReferringVideoDataset',
    'a2d_single_frames',
    'a2d_truth',
    'convert_ref_davis',
    'jhmdb_truth',
]
