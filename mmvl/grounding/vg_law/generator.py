"""From word features to one change of the projection for each layer of the vision transformer.

Letters in shapes: B sentences, T tokens, L layers of the backbone, C channels, N image tokens,
K rank.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Adapted

# The released code's MindSpore default.
EPS = 1e-7


class LinguisticAggregation(nn.Module):
    """One sentence feature for each layer: learned queries attend to the words.

    There are no projections: the words, cut into heads, are keys and values.

    Args:
        num_layers: layers L.
        embed_dims: channels C of the words.
        num_heads: heads.

    Source: Su et al. 2023 (VG-LAW), section 3.2.
    """

    def __init__(self, num_layers: int, embed_dims: int, num_heads: int = 12) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.layer_embedding = nn.Parameter(torch.empty(num_layers, embed_dims))
        nn.init.kaiming_uniform_(self.layer_embedding, a=math.sqrt(5))

    def forward(self, words: Tensor, valid: Tensor) -> Tensor:
        """Aggregate.

        Args:
            words: (B, T, C).
            valid: (B, T) bool, false for padding.

        Returns:
            (L, B, C).
        """
        batch = len(words)
        query = self.layer_embedding.expand(batch, -1, -1)
        q, kv = (
            each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for each in (query, words)
        )
        out = F.scaled_dot_product_attention(q, kv, kv, attn_mask=valid[:, None, None])
        return out.transpose(1, 2).flatten(2).transpose(0, 1)


class WeightGenerator(nn.Module):
    """Generate what adapts the fused query-key-value projection of every layer.

    Variants, of which ``'svd'`` is the published one:

    * ``'svd'``: the weight becomes W + P Phi Q with Phi (K, K) generated, P (3 C, K) and Q (K, C)
      learned and shared by all layers. Zero at initialisation.
    * ``'la'``: each of ``groups`` groups of output channels sees input channels that are scaled by
      generated factors, one at initialisation.
    * ``'od1'``, ``'od2'``, ``'od3'``: input channels (one set; one for q and k, one for v; one for
      each) and output channels are scaled. The released code multiplies the input twice, that
      is, by the square; so does this.

    Args:
        num_layers: layers L of the backbone.
        text_dims: channels of the word features.
        embed_dims: channels C of the backbone.
        variant: as above.
        rank: K.
        groups: of ``'la'``.
        num_heads: of the aggregation.
        reduction: text channels over the channels between the two linear layers; 16 is published.

    Raises:
        ValueError: no such variant.

    Source: Su et al. 2023 (VG-LAW), section 3.2, equations 3 to 5; released code.
    """

    variants: ClassVar[tuple[str, ...]] = ('svd', 'la', 'od1', 'od2', 'od3')

    def __init__(
        self,
        num_layers: int,
        text_dims: int,
        embed_dims: int,
        variant: str = 'svd',
        rank: int = 32,
        groups: int = 1,
        num_heads: int = 12,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        if variant not in self.variants:
            raise ValueError(f"no variant '{variant}'; there are {', '.join(self.variants)}")
        self.variant, self.groups = variant, groups
        self.aggregation = LinguisticAggregation(num_layers, text_dims, num_heads)
        outputs = {'svd': rank**2, 'la': groups * embed_dims}
        sets = int(variant[2:]) if variant.startswith('od') else 0
        width = outputs.get(variant, (3 + sets) * embed_dims)
        hidden = text_dims // reduction
        start = 0.0 if variant == 'svd' else 1.0
        self.proj = nn.ModuleList(
            nn.Sequential(
                nn.Linear(text_dims, hidden),
                nn.LayerNorm(hidden, EPS),
                nn.GELU(),
                _constant(nn.Linear(hidden, width), start),
            )
            for _ in range(num_layers)
        )
        if variant == 'svd':
            self.left = nn.Parameter(torch.empty(3 * embed_dims, rank))
            self.right = nn.Parameter(torch.empty(rank, embed_dims))
            for matrix in (self.left, self.right):
                nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, words: Tensor, valid: Tensor) -> list[Adapted]:
        """Generate for a batch of sentences.

        Args:
            words: (B, T, text channels).
            valid: (B, T) bool, false for padding.

        Returns:
            For each layer a function of (B, N, C) tokens and the layer's projection that gives
            (B, N, 3 C), with another weight for each of the B sentences.
        """
        features = self.aggregation(words, valid)
        generated = [each(h) for each, h in zip(self.proj, features, strict=True)]
        return [self._adapt(values) for values in generated]

    def _adapt(self, values: Tensor) -> Adapted:
        if self.variant == 'svd':
            core = values.unflatten(1, (self.right.shape[0], -1))
            return lambda x, qkv: low_rank(x, qkv, self.left, core, self.right)
        if self.variant == 'la':
            return lambda x, qkv: scaled_input(x, qkv, values.unflatten(1, (self.groups, -1)))
        return lambda x, qkv: scaled_both(x, qkv, values)


def low_rank(x: Tensor, qkv: nn.Linear, left: Tensor, core: Tensor, right: Tensor) -> Tensor:
    """Apply W + P Phi Q, another Phi for each sample, without forming it.

    Args:
        x: (B, N, C).
        qkv: the layer with W (3 C, C) and its bias.
        left: P (3 C, K).
        core: Phi (B, K, K).
        right: Q (K, C).

    Returns:
        (B, N, 3 C).
    """
    # P and Phi first: (B, 3 C, K) is small, and one product with the tokens is saved
    return torch.baddbmm(qkv(x), F.linear(x, right), (left @ core).transpose(1, 2))


def scaled_input(x: Tensor, qkv: nn.Linear, scales: Tensor) -> Tensor:
    """Scale the input channels of each group of output channels.

    Args:
        x: (B, N, C).
        qkv: the layer, 3 C output channels.
        scales: (B, G, C), one set a group.

    Returns:
        (B, N, 3 C).
    """
    groups = scales.shape[1]
    parts = zip(qkv.weight.chunk(groups), qkv.bias.chunk(groups), scales.unbind(1), strict=True)
    return torch.cat([F.linear(x * scale[:, None], w, b) for w, b, scale in parts], dim=-1)


def scaled_both(x: Tensor, qkv: nn.Linear, scales: Tensor) -> Tensor:
    """Scale input channels, by the square, and output channels, bias included.

    Args:
        x: (B, N, C).
        qkv: the layer, 3 C output channels.
        scales: (B, (S + 3) C), S sets for the input (1, 2 or 3), then those of the output.

    Returns:
        (B, N, 3 C).
    """
    channels = x.shape[-1]
    *inputs, output = scales.split(
        [channels] * (scales.shape[1] // channels - 3) + [3 * channels], 1
    )
    parts: Sequence[int] = {1: [3], 2: [2, 1], 3: [1, 1, 1]}[len(inputs)]
    sizes = [part * channels for part in parts]
    groups = zip(inputs, qkv.weight.split(sizes), qkv.bias.split(sizes), strict=True)
    out = torch.cat([F.linear(x * s[:, None].square(), w, b) for s, w, b in groups], dim=-1)
    return out * output[:, None]


def _constant(layer: nn.Linear, value: float) -> nn.Linear:
    """Let a layer give one value for any input, until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer
