"""EoID: end-to-end zero-shot HOI detection by distilling CLIP (Wu et al., AAAI 2023)."""

from .losses import EoIDCriterion
from .matching import TwoStageMatcher
from .model import EoID
from .teacher import CachedTeacher, OnlineTeacher

__all__ = ['CachedTeacher', 'EoID', 'EoIDCriterion', 'OnlineTeacher', 'TwoStageMatcher']
