"""What text encoders with a tokenizer of their own have in common."""

from functools import cached_property

import torch
from mmengine.logging import print_log
from tokenizers import Encoding
from tokenizers.implementations import BaseTokenizer
from torch import Tensor, nn


class TextEncoder(nn.Module):
    """Turns sentences into token ids; what it makes of them is the subclass's.

    Letters in shapes: B sentences, T tokens of the longest one.

    Args:
        max_length: tokens of a sentence; longer ones are cut, which is logged once.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self._cut = False

    @cached_property
    def tokenizer(self) -> BaseTokenizer:
        """The tokenizer, with truncation and padding enabled."""
        raise NotImplementedError

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Turn sentences into token ids.

        Args:
            texts: B sentences; upper case is lowered.

        Returns:
            ids (B, T) int64, that of the beginning first; valid (B, T) bool, false for padding.
            What is padded changes no feature, so the batch is as wide as its longest sentence.

        Raises:
            ValueError: a sentence is empty.
        """
        for number, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f'sentence {number} is empty.\nWhat to do: give it words.')
        encoded: list[Encoding] = self.tokenizer.encode_batch(texts)
        if not self._cut and any(each.overflowing for each in encoded):
            text = next(t for t, each in zip(texts, encoded, strict=True) if each.overflowing)
            self._cut = True
            print_log(
                f'sentences of more than {len(encoded[0].ids)} tokens are cut, first: {text[:80]}',
                'current',
                level=30,
            )
        ids = torch.tensor([each.ids for each in encoded])
        return ids, torch.tensor([each.attention_mask for each in encoded]).bool()
