"""HICO-DET on disk, read into one form, and checked."""

from .check import check_hico
from .hico_det import HICODet
from .readers import read_annotations
from .shared import AnnotationError

__all__ = ['AnnotationError', 'HICODet', 'check_hico', 'read_annotations']
