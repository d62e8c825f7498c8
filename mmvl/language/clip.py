"""CLIP behind one small interface: open_clip's towers, local files only.

Letters in shapes: N images, S side of the network's input in pixels, D size of the joint
embedding, T phrases.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from typing_extensions import Self

from mmvl.registry import MODELS

from .weights import read_weights

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TEXT_CHUNK = 128
"""Phrases that go through the text tower together; fixed, so that results repeat bit for bit."""


@MODELS.register_module()
class CLIP(nn.Module):
    """An image tower and a text tower with a joint embedding, built and loaded offline.

    Frozen, as a teacher is, it stays in eval mode whatever ``train`` asks for, has no gradients,
    and registers no parameters and no buffers: it appears in no optimiser, no distributed wrapper
    and no checkpoint of the model that holds it, but moves between devices with it.

    Args:
        weights: local file: an OpenAI archive (``ckpt/RN50x16.pt``), a torch state dict or
            safetensors. None makes a randomly initialised model from ``model``.
        model: architecture: an open_clip config (``embed_dim``, ``vision_cfg``, ``text_cfg``,
            perhaps ``quick_gelu``), a JSON file that holds one, or the name of a config that
            open_clip ships, as ``'ViT-B-32'``. May be left out for OpenAI's files, whose
            tensors tell it.
        frozen: see above; False registers the towers as an ordinary trainable module.

    Raises:
        FileNotFoundError: ``weights`` is no local file. Nothing is looked up on a hub.
        ValueError: the architecture is missing, unknown, or does not fit the weights.
    """

    network: open_clip.model.CLIP

    def __init__(
        self,
        weights: str | Path | None = None,
        model: dict[str, Any] | str | Path | None = None,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        if weights is None and model is None:
            raise ValueError("CLIP needs 'weights' (a local file), 'model' (a config), or both")
        state, openai = ({}, False) if weights is None else read_weights(weights)
        if model is None:
            if not openai:
                raise ValueError(
                    f"{weights}: not an OpenAI archive, so 'model' must say what it is: an "
                    "open_clip config or the name of one, as 'ViT-B-32'"
                )
            model = infer_config(state)
        self.config = resolve_config(model)
        if openai and not self.config.get('quick_gelu'):
            raise ValueError(
                f'{weights}: OpenAI weights need QuickGELU, which {model!r} lacks; leave '
                "'model' out or use the '-quickgelu' config"
            )
        network = open_clip.model.CLIP(**self.config)
        if weights is not None:
            _load(network, state, weights)
        self.frozen = frozen
        if frozen:
            network.eval().requires_grad_(False)
            # past nn.Module's bookkeeping: nothing of a teacher may reach the model's state
            object.__setattr__(self, 'network', network)
            super().train(False)
        else:
            self.network = network
        self.tokenizer = SimpleTokenizer(context_length=network.context_length)

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path,
        model: dict[str, Any] | str | Path | None = None,
        frozen: bool = True,
    ) -> Self:
        """A CLIP with the weights of a local file; arguments and errors as for the class."""
        return cls(weights, model, frozen)

    @classmethod
    def from_config(cls, model: dict[str, Any] | str | Path, frozen: bool = True) -> Self:
        """A randomly initialised CLIP; arguments and errors as for the class."""
        return cls(None, model, frozen)

    @property
    def image_size(self) -> int:
        """Side S of the square network input, pixels."""
        size = self.network.visual.image_size
        return size if isinstance(size, int) else size[0]

    @property
    def logit_scale(self) -> Tensor:
        """Scalar factor (an exponential already) from cosine similarities to logits."""
        return self.network.logit_scale.exp()

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit embeddings (N, D) float32 of preprocessed images (N, 3, S, S)."""
        with self._own_rules(images.device):
            dtype = self.network.logit_scale.dtype
            return normalize(self.network.encode_image(images.to(dtype)).float(), dim=-1)

    def encode_text(self, phrases: list[str]) -> Tensor:
        """Unit embeddings (T, D) float32 of phrases, on the device of the model."""
        device = self.network.logit_scale.device
        with self._own_rules(device):
            tokens = self.tokenizer(phrases).to(device).split(TEXT_CHUNK)
            features = torch.cat([self.network.encode_text(chunk) for chunk in tokens])
            return normalize(features.float(), dim=-1)

    def preprocess(self, image: np.ndarray | Image.Image) -> Tensor:
        """Turn one picture into network input, as OpenAI's CLIP does.

        Args:
            image: (H, W, 3) uint8 RGB, or a PIL image of any mode.

        Returns:
            (3, S, S) float32: short side resized to S (PIL, bicubic), centre crop, mean and
            standard deviation of CLIP taken out.
        """
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        side = self.image_size
        width, height = picture.size
        short = min(width, height)
        width, height = int(side * width / short), int(side * height / short)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC).convert('RGB')
        left, top = round((width - side) / 2), round((height - side) / 2)
        pixels = np.array(picture.crop((left, top, left + side, top + side)))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return (tensor - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]

    def fingerprint(self) -> str:
        """SHA-256 over weights, architecture and vocabulary: all that an embedding depends on."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        digest.update(_vocabulary_digest().encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of a trainable CLIP; a frozen one stays in eval mode."""
        return super().train(mode and not self.frozen)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if self.frozen:
            self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @contextmanager
    def _own_rules(self, device: torch.device) -> Iterator[None]:
        """No gradients when frozen, and the model's own precision instead of a trainer's AMP."""
        gradients = torch.is_grad_enabled() and not self.frozen
        with torch.set_grad_enabled(gradients), torch.autocast(device.type, enabled=False):
            yield


def resolve_config(model: dict[str, Any] | str | Path) -> dict[str, Any]:
    """The open_clip config that a dict, a JSON file or a built-in name stands for.

    Raises:
        FileNotFoundError: a name that ends in .json is no file.
        ValueError: the name is not one that open_clip ships, or the text tower needs a hub.
    """
    if isinstance(model, (str, Path)):
        name = str(model)
        if name.endswith('.json'):
            config = json.loads(Path(name).read_text())
        elif name in open_clip.list_models():
            config = open_clip.get_model_config(name)
        else:
            raise ValueError(
                f'{name!r} is no open_clip config on this machine (hub names are not looked up); '
                'known: RN50, RN50x16, ViT-B-32, ... as open_clip.list_models() tells'
            )
    else:
        config = copy.deepcopy(dict(model))
    missing = {'embed_dim', 'vision_cfg', 'text_cfg'} - set(config)
    if missing or config.pop('custom_text', False) or 'hf_model_name' in config['text_cfg']:
        problem = f'lacks {sorted(missing)}' if missing else 'has a text tower of another library'
        raise ValueError(f'CLIP config {model!r} {problem}; give embed_dim, vision_cfg, text_cfg')
    return config


def infer_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """Read the architecture of an OpenAI CLIP off the shapes of its tensors.

    Args:
        state: tensors by name, as OpenAI names them.

    Returns:
        An open_clip config. The number of heads is not in the shapes: width / 64, as in every
        model that OpenAI released. They all use QuickGELU.

    Raises:
        ValueError: the names are not those of an OpenAI CLIP.
    """
    try:
        embed_dim = state['text_projection'].shape[1]
        context_length, width = state['positional_embedding'].shape
        vision = _vision_config(state)
        vocab_size = state['token_embedding.weight'].shape[0]
    except KeyError as error:
        raise ValueError(f'not an OpenAI CLIP: the tensor {error} is missing') from error
    text = {
        'context_length': context_length,
        'vocab_size': vocab_size,
        'width': width,
        'heads': max(width // 64, 1),
        'layers': _count_blocks(state, 'transformer.resblocks.'),
    }
    return {'embed_dim': embed_dim, 'quick_gelu': True, 'vision_cfg': vision, 'text_cfg': text}


def _vision_config(state: dict[str, Tensor]) -> dict[str, Any]:
    if 'visual.proj' in state:
        width, _, patch, _ = state['visual.conv1.weight'].shape
        grid = round((state['visual.positional_embedding'].shape[0] - 1) ** 0.5)
        layers: int | list[int] = _count_blocks(state, 'visual.transformer.resblocks.')
        return {'image_size': grid * patch, 'layers': layers, 'width': width, 'patch_size': patch}
    grid = round((state['visual.attnpool.positional_embedding'].shape[0] - 1) ** 0.5)
    layers = [_count_blocks(state, f'visual.layer{stage}.') for stage in (1, 2, 3, 4)]
    width = state['visual.layer1.0.conv1.weight'].shape[0]
    return {'image_size': grid * 32, 'layers': layers, 'width': width, 'patch_size': None}


def _count_blocks(state: dict[str, Tensor], prefix: str) -> int:
    return len({k.removeprefix(prefix).split('.')[0] for k in state if k.startswith(prefix)})


def _load(network: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        detail = ' '.join(str(error).split())[:200]
        raise ValueError(f"{path}: does not fit the config in 'model': {detail}") from error


@cache
def _vocabulary_digest() -> str:
    tokenizer = SimpleTokenizer()
    merges = sorted(tokenizer.bpe_ranks.items(), key=lambda item: item[1])
    text = json.dumps([tokenizer.encoder, [pair for pair, _ in merges], tokenizer.pat.pattern])
    return hashlib.sha256(text.encode()).hexdigest()
