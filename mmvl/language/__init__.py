"""Language models behind small interfaces: CLIP, its weight files and cached embeddings."""

from .clip import CLIP, infer_config, resolve_config
from .text_cache import cached_text_embeddings
from .weights import read_weights

__all__ = ['CLIP', 'cached_text_embeddings', 'infer_config', 'read_weights', 'resolve_config']
