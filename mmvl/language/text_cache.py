"""Text embeddings that are computed once and kept on disk."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mmvl.engine.checkpoint import save_safetensors

from .clip import CLIP


@torch.no_grad()
def cached_text_embeddings(clip: CLIP, phrases: list[str], cache_dir: str | Path) -> Tensor:
    """Embed phrases, or read what an earlier call with the same model and phrases wrote.

    The file is named by a digest of weights, architecture, vocabulary and phrases, so a change in
    any of them makes a new file and never an outdated answer.

    Args:
        clip: the model.
        phrases: T phrases.
        cache_dir: folder of the files; made when missing.

    Returns:
        (T, D) float32 unit embeddings on the device of the model, with the same bits as
        ``clip.encode_text(phrases)`` gave when the file was written.
    """
    key = hashlib.sha256(json.dumps([clip.fingerprint(), phrases]).encode()).hexdigest()
    path = Path(cache_dir) / f'text_{key}.safetensors'
    if path.is_file():
        return load_file(path)['embeddings'].to(clip.logit_scale.device)
    embeddings = clip.encode_text(phrases)
    metadata = {'phrases': json.dumps(phrases), 'model': json.dumps(clip.config)}
    save_safetensors({'embeddings': embeddings}, path, metadata)
    return embeddings
