"""The two heads of VG-LAW: a box from pooled tokens, a mask from a classifier of pixels.

Letters in shapes: B images, C channels of the image features, D channels of the text, H and W rows
and columns of the feature map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from mmvl.layers import MLP


class BoxHead(nn.Module):
    """Pool the image tokens by their likeness to the sentence, then regress a box.

    Args:
        text_dims: D.
        embed_dims: C.
        attention_dims: channels in which tokens and sentence are compared.
        hidden_dims: of the MLP.

    Source: Su et al. 2023 (VG-LAW), section 3.3, language-adaptive pooling.
    """

    def __init__(
        self, text_dims: int, embed_dims: int, attention_dims: int = 64, hidden_dims: int = 256
    ) -> None:
        super().__init__()
        self.q_proj = nn.Linear(text_dims, attention_dims)
        self.k_proj = nn.Linear(embed_dims, attention_dims)
        self.mlp = MLP(embed_dims, hidden_dims, 4, 3)

    def forward(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Predict one box an image.

        Args:
            features: (B, C, H, W).
            sentence: (B, D), the feature of [CLS].

        Returns:
            (B, 4) cxcywh in 0-1 of the square input.
        """
        tokens = features.flatten(2).transpose(1, 2)
        query, keys = self.q_proj(sentence)[:, None], self.k_proj(tokens)
        weights = (query @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(-1)
        return self.mlp((weights @ tokens)[:, 0]).sigmoid()


class MaskHead(nn.Module):
    """Up-sample the map four times and score each pixel by its product with the sentence.

    Args:
        text_dims: D, also the channels of a pixel.
        embed_dims: C.
        hidden_dims: between the two up-samplings.

    Source: Su et al. 2023 (VG-LAW), section 3.3, pixel classifier.
    """

    def __init__(self, text_dims: int, embed_dims: int, hidden_dims: int = 256) -> None:
        super().__init__()
        self.up_sample = nn.Sequential(
            nn.ConvTranspose2d(embed_dims, hidden_dims, 2, 2),
            LayerNorm2d(hidden_dims, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(hidden_dims, text_dims, 2, 2),
        )

    def forward(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Score pixels.

        Args:
            features: (B, C, H, W).
            sentence: (B, D), the feature of [CLS].

        Returns:
            (B, 4 H, 4 W) logits.
        """
        *first, last = self.up_sample
        hidden = nn.Sequential(*first)(features)
        assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
        # The last convolution and the product are both linear: taking the product of kernel and
        # sentence first leaves one channel instead of D on the largest map.
        kernel = torch.einsum('bd,idrc->birc', sentence, last.weight)
        offset = sentence @ last.bias
        logits = torch.einsum('bihw,birc->bhrwc', hidden, kernel)
        return logits.flatten(3).flatten(1, 2) + offset[:, None, None]


def resize_logits(logits: Tensor, size: int) -> Tensor:
    """Bring (B, h, w) logits to (B, size, size), bilinear with aligned corners, as published."""
    return F.interpolate(logits[:, None], (size, size), mode='bilinear', align_corners=True)[:, 0]
