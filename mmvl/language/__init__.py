"""Language models behind small interfaces: BERT, CLIP, its weight files, cached embeddings."""

from .bert import BertText
from .clip import CLIP, infer_config, resolve_config
from .roberta import RobertaText
from .text_cache import cached_text_embeddings
from .weights import read_weights

__all__ = [
    'CLIP',
    'BertText',
    'RobertaText',
    'cached_text_embeddings',
    'infer_config',
    'read_weights',
    'resolve_config',
]
