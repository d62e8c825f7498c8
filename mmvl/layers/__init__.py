"""Building blocks that two or more wings use."""

from .attention import Attention
from .deformable_attention import DeformableAttention
from .mlp import MLP
from .position_encoding import sine_position_encoding, sine_sequence_encoding
from .resnet import FrozenResNet
from .transformer import TransformerDecoder, TransformerEncoder
from .video_swin import VideoSwin

__all__ = [
    'MLP',
    'Attention',
    'DeformableAttention',
    'FrozenResNet',
    'TransformerDecoder',
    'TransformerEncoder',
    'VideoSwin',
    'sine_position_encoding',
    'sine_sequence_encoding',
]
