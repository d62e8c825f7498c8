"""VG-LAW (Su et al., CVPR 2023)."""

from .backbone import AdaptiveViTDet
from .generator import WeightGenerator
from .model import VGLAW

__all__ = ['VGLAW', 'AdaptiveViTDet', 'WeightGenerator']
