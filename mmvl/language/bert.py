"""BERT's word features, through transformers, from a vocabulary file and a weight file."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor

from mmvl.registry import MODELS

from .text_encoder import TextEncoder


@MODELS.register_module()
class BertText(TextEncoder):
    """The first layers of BERT, without its pooler (Devlin et al. 2019).

    Letters in shapes: B sentences, T tokens of the longest one, C channels.

    Args:
        vocab: ``vocab.txt`` of the WordPiece vocabulary, or the name of a model on the Hugging Face
            hub that has one, such as ``'bert-base-uncased'``, which is downloaded once.
        num_layers: layers that are built; a checkpoint of more loads with the rest left out.
        max_length: tokens with [CLS] and [SEP]; longer sentences are cut, which is logged once.
        **config: of :class:`transformers.BertConfig`, to change BERT-base: ``hidden_size``, ...;
            ``vocab_size`` is that of the vocabulary, 30522 for BERT-base.
    """

    def __init__(
        self,
        vocab: str = 'bert-base-uncased',
        num_layers: int = 12,
        max_length: int = 40,
        **config: Any,
    ) -> None:
        super().__init__(max_length)
        # seconds to import, and only this class needs them
        from transformers import BertConfig, BertModel

        self.vocab = vocab
        settings = BertConfig(num_hidden_layers=num_layers, **config)
        self.bert = BertModel(settings, add_pooling_layer=False)
        self.embed_dims: int = settings.hidden_size

    @cached_property
    def tokenizer(self) -> BertWordPieceTokenizer:
        """The tokenizer, read when the first sentence comes: weights load without it.

        Raises:
            FileNotFoundError: there is no such file, and no name on the hub can be meant.
            ValueError: the vocabulary is larger than that of the model.
        """
        tokenizer = BertWordPieceTokenizer(_vocabulary(self.vocab), lowercase=True)
        size, known = tokenizer.get_vocab_size(), self.bert.config.vocab_size
        if size > known:
            raise ValueError(
                f'{self.vocab} has {size} words, the model {known}.\n'
                f'What to do: set vocab_size={size} in its config, or give its own vocabulary.'
            )
        tokenizer.enable_truncation(self.max_length)
        tokenizer.enable_padding()
        return tokenizer

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode sentences.

        Args:
            texts: B sentences.

        Returns:
            (B, T, C) float32 features, that of [CLS] first; (B, T) bool, false for padding.
        """
        device = self.bert.embeddings.word_embeddings.weight.device
        ids, valid = (each.to(device) for each in self.tokenize(texts))
        found = self.bert(input_ids=ids, attention_mask=valid.long())
        return found.last_hidden_state, valid


def _vocabulary(name: str) -> str:
    if Path(name).is_file():
        return name
    if name.endswith('.txt') or name.count('/') > 1:
        raise FileNotFoundError(
            f'the vocabulary {name} does not exist.\n'
            "What to do: give a vocab.txt, or the name of a model on the hub: 'bert-base-uncased'."
        )
    from huggingface_hub import hf_hub_download

    return hf_hub_download(name, 'vocab.txt')
