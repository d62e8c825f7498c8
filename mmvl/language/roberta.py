"""RoBERTa's word features and its pooled sentence feature, through transformers, local files."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers.implementations import (
    BaseTokenizer,
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
)
from tokenizers.processors import RobertaProcessing
from torch import Tensor

from mmvl.registry import MODELS

from .text_encoder import TextEncoder

SPECIAL = ('<s>', '<pad>', '</s>', '<unk>', '<mask>')
# number of RoBERTa's padding token; its positions count on from it
PAD = 1


@MODELS.register_module()
class RobertaText(TextEncoder):
    """RoBERTa with its pooler (Liu et al. 2019, arXiv 1907.11692).

    Letters in shapes: B sentences, T tokens of the longest one, C channels.

    Args:
        vocab: a folder with ``vocab.json`` and ``merges.txt`` of RoBERTa; or a ``vocab.txt`` of
            words, as BERT has, for a model that is trained from scratch.
        max_length: tokens with <s> and </s>; longer sentences are cut, which is logged once.
        **config: of :class:`transformers.RobertaConfig`, to change RoBERTa-base.
    """

    def __init__(self, vocab: str, max_length: int = 512, **config: Any) -> None:
        # seconds to import, and only this class needs them
        from transformers import RobertaConfig, RobertaModel

        base = {'vocab_size': 50265, 'max_position_embeddings': 514, 'type_vocab_size': 1}
        settings = RobertaConfig(**{**base, 'layer_norm_eps': 1e-5, 'pad_token_id': PAD, **config})
        super().__init__(min(max_length, settings.max_position_embeddings - PAD - 1))
        self.vocab = vocab
        self.roberta = RobertaModel(settings)
        self.embed_dims: int = settings.hidden_size

    @cached_property
    def tokenizer(self) -> BaseTokenizer:
        """The tokenizer, read when the first sentence comes: weights load without it.

        Raises:
            FileNotFoundError: the files are not there; nothing is downloaded.
            ValueError: the vocabulary is larger than that of the model.
        """
        tokenizer = _read_tokenizer(Path(self.vocab))
        size, known = tokenizer.get_vocab_size(), self.roberta.config.vocab_size
        if size > known:
            raise ValueError(
                f'{self.vocab} has {size} words, the model {known}.\n'
                f'What to do: set vocab_size={size} in its config, or give its own vocabulary.'
            )
        tokenizer.enable_truncation(self.max_length)
        return tokenizer

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Encode sentences.

        Args:
            texts: B sentences.

        Returns:
            (B, T, C) float32 word features, that of <s> first; (B, T) bool, false for padding;
            (B, C) pooled feature of the sentence.
        """
        device = self.roberta.embeddings.word_embeddings.weight.device
        ids, valid = (each.to(device) for each in self.tokenize(texts))
        # given, because transformers would look for RoBERTa's padding in a vocabulary of another
        positions = valid.cumsum(1) * valid + PAD
        found = self.roberta(input_ids=ids, attention_mask=valid.long(), position_ids=positions)
        return found.last_hidden_state, valid, found.pooler_output


def _read_tokenizer(vocab: Path) -> BaseTokenizer:
    tokenizer: BaseTokenizer
    if vocab.is_file():
        tokenizer = BertWordPieceTokenizer(str(vocab), lowercase=True)
        tokenizer.enable_padding()
        return tokenizer
    words, merges = vocab / 'vocab.json', vocab / 'merges.txt'
    if not (words.is_file() and merges.is_file()):
        raise FileNotFoundError(
            f'{vocab} is no folder with vocab.json and merges.txt, and no vocab.txt.\n'
            "What to do: put the two files of 'roberta-base' there; nothing is downloaded."
        )
    tokenizer = ByteLevelBPETokenizer(str(words), str(merges))
    tokenizer.add_special_tokens(list(SPECIAL))
    start, pad, end = (tokenizer.get_vocab()[token] for token in SPECIAL[:3])
    tokenizer.post_processor = RobertaProcessing(
        ('</s>', end), ('<s>', start), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.enable_padding(pad_id=pad, pad_token='<pad>')
    return tokenizer
