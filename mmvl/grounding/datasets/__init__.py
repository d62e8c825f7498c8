"""Referring expressions on disk, in the forms that users have, read into one and checked."""

from .base import ReferringDataset
from .fields import AnnotationError
from .flickr30k import Flickr30kEntities
from .index import GroundingIndex
from .mdetr import MDETRRefCOCO
from .refer import RefCOCO, coco_images_to_leave_out

__all__ = [
    'AnnotationError',
    'Flickr30kEntities',
    'GroundingIndex',
    'MDETRRefCOCO',
    'RefCOCO',
    'ReferringDataset',
    'coco_images_to_leave_out',
]
