"""Building blocks that two or more wings use."""

from .attention import Attention
from .mlp import MLP
from .position_encoding import sine_position_encoding
from .resnet import FrozenResNet
from .transformer import TransformerDecoder, TransformerEncoder

__all__ = [
    'MLP',
    'Attention',
    'FrozenResNet',
    'TransformerDecoder',
    'TransformerEncoder',
    'sine_position_encoding',
]
