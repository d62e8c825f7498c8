"""A small CLIP, trained on captioned crops of the toy world as the real one was on the web.

The captions name every verb with every object, held-out ones too: that is what a teacher brings.
They come from scenes of their own, which are in neither the training nor the test pictures.
Letters in shapes: N crops, I toy interactions, T phrases, R rounds of a batch, S image side.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import trange

from mmvl.engine.checkpoint import save_safetensors
from mmvl.hoi.eoid.teacher import crop_union
from mmvl.hoi.vocabulary import COCO_IDS, HOI_INDEX, HOI_OBJECT, HOI_VERB, NO_INTERACTION, phrases
from mmvl.language import CLIP

from .world import TOY_HOIS, TOY_UA, TOY_UC, Scene, scenes

MODEL: Final[dict[str, Any]] = {
    'embed_dim': 64,
    'vision_cfg': {'image_size': 64, 'layers': [1, 1, 1, 1], 'width': 8, 'patch_size': None},
    'text_cfg': {
        'context_length': 16,
        'vocab_size': 49408,
        'width': 64,
        'heads': 1,
        'layers': 1,
    },
}
"""open_clip config of the toy teacher."""

TEMPLATES: Final = (
    'a picture of person {ing} {object}',
    'a photo of a person {ing} a {object}',
    'somebody {ing} the {object}',
)
ROUNDS: Final = 2
SMOOTHING: Final = 0.1
"""Keeps the teacher undecided about the verb where a crop shows none."""
MAX_LOG_SCALE: Final = float(np.log(50.0))


def train_teacher(
    folder: str | Path,
    out: str | Path,
    seed: int = 0,
    iterations: int = 300,
    num_scenes: int = 1600,
) -> dict[str, float]:
    """Train the toy teacher and save it where a config can name it.

    Args:
        folder: a world of :func:`~mmvl.hoi.toy.write_world`; only its test part is read, to
            measure the teacher.
        out: safetensors file to write. The architecture goes beside it, with the suffix
            ``.json``: ``dict(type='CLIP', weights='x.safetensors', model='x.json')``.
        seed: of initial weights, captioned scenes and order.
        iterations: optimiser steps.
        num_scenes: scenes with captions.

    Returns:
        ``loss_first`` and ``loss_last``, means over the first and last tenth of the steps, and
        what :func:`verb_accuracy` measures.
    """
    out = Path(out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = CLIP.from_config(MODEL, frozen=False)
        crops, hois = caption_corpus(num_scenes, seed, clip.preprocess)
        losses = _fit(clip, crops, hois, iterations, np.random.default_rng((seed, 3)))
    save_safetensors(clip.network.state_dict(), out, {'trained_on': f'toy world, seed {seed}'})
    out.with_suffix('.json').write_text(json.dumps(MODEL, indent=1))
    report = verb_accuracy(clip.eval(), folder)
    tenth = max(1, iterations // 10)
    report |= {
        'loss_first': float(np.mean(losses[:tenth])),
        'loss_last': float(np.mean(losses[-tenth:])),
    }
    text = ', '.join(f'{name} {value:.3f}' for name, value in report.items())
    print_log(f'toy teacher: {text}', logger='current')
    return report


def caption_corpus(
    num_scenes: int, seed: int, preprocess: Callable[[Image.Image], Tensor]
) -> tuple[Tensor, np.ndarray]:
    """Union-box crops of scenes of their own, cut out as EoID's teacher sees them.

    Args:
        num_scenes: scenes to draw.
        seed: seed of the world.
        preprocess: turns a picture into (3, S, S) network input.

    Returns:
        (N, 3, S, S) float32 network inputs and (N,) int64 HOI ids of what they show.
    """
    crops, hois = [], []
    for scene in scenes(num_scenes, seed, stream=2):
        crops += [preprocess(crop_union(scene.image, box)) for box in _union_boxes(scene)]
        hois.append(HOI_INDEX[scene.hois[:, 2], scene.labels[scene.hois[:, 1]]])
    return torch.stack(crops), np.concatenate(hois)


def _union_boxes(scene: Scene) -> np.ndarray:
    first, second = scene.boxes[scene.hois[:, 0]], scene.boxes[scene.hois[:, 1]]
    low = np.minimum(first[:, :2], second[:, :2])
    return np.concatenate((low, np.maximum(first[:, 2:], second[:, 2:])), axis=1)


def _phrase_bank() -> tuple[np.ndarray, list[list[str]]]:
    """HOI ids (T,) of everything that can be done to the toy objects, and a bank a template.

    Phrases without pictures are in the bank too, so that the teacher learns what they are not.
    """
    objects = np.unique(HOI_OBJECT[list(TOY_HOIS)])
    ids = np.flatnonzero(np.isin(HOI_OBJECT, objects))
    return ids, [[phrases(template)[i] for i in ids] for template in TEMPLATES]


def _fit(
    clip: CLIP, crops: Tensor, hois: np.ndarray, iterations: int, rng: np.random.Generator
) -> list[float]:
    """Contrastive training; every round of a batch shows each interaction once."""
    ids, banks = _phrase_bank()
    pictured = np.searchsorted(ids, np.unique(hois))
    members = [np.flatnonzero(hois == ids[i]) for i in pictured]
    columns = torch.from_numpy(pictured)
    optimizer = AdamW(clip.parameters(), lr=3e-3, weight_decay=0.02, fused=True)
    schedule = OneCycleLR(optimizer, max_lr=3e-3, total_steps=iterations, pct_start=0.15)
    clip.train()
    losses = []
    for _ in trange(iterations, desc='toy teacher', unit='step', mininterval=2):
        batch = np.stack([[rng.choice(m) for m in members] for _ in range(ROUNDS)])
        images = clip.encode_image(crops[torch.from_numpy(batch.ravel())])
        texts = clip.encode_text(banks[rng.integers(len(banks))])
        logits = (clip.logit_scale * images @ texts.T).view(ROUNDS, len(members), -1)
        to_text = cross_entropy(
            logits.flatten(0, 1), columns.repeat(ROUNDS), label_smoothing=SMOOTHING
        )
        to_image = logits[:, :, columns].transpose(1, 2).flatten(0, 1)
        loss = to_text + cross_entropy(to_image, torch.arange(len(members)).repeat(ROUNDS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            clip.network.logit_scale.clamp_(max=MAX_LOG_SCALE)
        losses.append(loss.item())
    return losses


@torch.no_grad()
def verb_accuracy(clip: CLIP, folder: str | Path) -> dict[str, float]:
    """How often CLIP tells the verb of a test pair, given the object, without training on it.

    Args:
        clip: in eval mode.
        folder: a world; its test part is read.

    Returns:
        Top-1 accuracies in 0-1 over the interacting pairs: of ``all`` of them, of the held-out
        combinations ``toy_uc`` and of the held-out verbs ``toy_ua``.
    """
    folder = Path(folder)
    crops, hois = [], []
    for entry in json.loads((folder / 'annotations' / 'test_hico.json').read_text()):
        scene = _read(folder / 'images' / 'test2015' / entry['file_name'], entry)
        crops += [clip.preprocess(crop_union(scene.image, box)) for box in _union_boxes(scene)]
        hois.append(HOI_INDEX[scene.hois[:, 2], scene.labels[scene.hois[:, 1]]])
    truth = np.concatenate(hois)
    images = torch.cat([clip.encode_image(chunk) for chunk in torch.stack(crops).split(128)])
    cosines = (images @ clip.encode_text(phrases()).T).numpy()
    rivals = (HOI_OBJECT == HOI_OBJECT[truth][:, None]) & (HOI_VERB != NO_INTERACTION)
    right = np.where(rivals, cosines, -np.inf).argmax(1) == truth
    groups = {'all': TOY_HOIS, 'toy_uc': TOY_UC, 'toy_ua': TOY_UA}
    interacting = HOI_VERB[truth] != NO_INTERACTION
    return {
        name: float(right[interacting & np.isin(truth, ids)].mean()) for name, ids in groups.items()
    }


def _read(path: Path, entry: dict[str, Any]) -> Scene:
    boxes = np.array([a['bbox'] for a in entry['annotations']])
    labels = np.searchsorted(COCO_IDS, [a['category_id'] for a in entry['annotations']])
    hois = [
        (h['subject_id'], h['object_id'], h['category_id'] - 1) for h in entry['hoi_annotation']
    ]
    return Scene(np.asarray(Image.open(path).convert('RGB')), boxes, labels, np.array(hois))
