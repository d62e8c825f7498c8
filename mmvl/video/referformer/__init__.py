"""ReferFormer (Wu et al., CVPR 2022)."""

from .losses import ReferFormerCriterion
from .model import ReferFormer

__all__ = ['ReferFormer', 'ReferFormerCriterion']
