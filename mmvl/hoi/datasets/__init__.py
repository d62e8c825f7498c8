"""HICO-DET on disk, read into one form."""

from .hico_det import HICODet
from .readers import AnnotationError, read_annotations

__all__ = ['AnnotationError', 'HICODet', 'read_annotations']
