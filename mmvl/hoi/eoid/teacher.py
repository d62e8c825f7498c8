"""The CLIP teacher of EoID: scores of phrases on union boxes, online or from a cache.

Letters in shapes: P pairs of one image, T phrases (600 for HICO-DET), V verbs.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from mmvl.engine.checkpoint import save_safetensors
from mmvl.hoi.structures import HOIDataSample
from mmvl.hoi.vocabulary import HOI_INDEX, HOI_OBJECT, HOI_VERB, NO_INTERACTION, phrases
from mmvl.registry import DATASETS, MODELS, TASK_UTILS

SHARD = 256
"""Images per cache file: large enough for few files, small enough to lose little on a crash."""


def crop_union(image: np.ndarray, box: np.ndarray) -> Image.Image:
    """Cut a union box out and centre it on a black square.

    Args:
        image: (H, W, 3) uint8 RGB, the original image.
        box: (4,) xyxy, pixels of that image; rounded, and at least one pixel in size.

    Returns:
        A square RGB picture with the longer side of the box.
    """
    x1, y1, x2, y2 = (int(round(float(value))) for value in box)
    region = Image.fromarray(image).crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
    side = max(region.size)
    square = Image.new('RGB', (side, side))
    square.paste(region, ((side - region.width) // 2, (side - region.height) // 2))
    return square


def soft_verb_labels(logits: Tensor, object_labels: Tensor) -> Tensor:
    """Turn phrase scores into verb probabilities, given the object.

    Args:
        logits: (P, T) temperature-scaled similarities to the phrases.
        object_labels: (P,) int64 zero-based COCO-80.

    Returns:
        (P, V) float32 that sum to 1 over the verbs which HICO-DET knows for the object;
        "no interaction" and invalid combinations are 0.

    Source: EoID, equation 4 and the released ``loss_verb_labels``.
    """
    objects = torch.as_tensor(HOI_OBJECT, device=logits.device)
    verbs = torch.as_tensor(HOI_VERB, device=logits.device)
    possible = (objects == object_labels[:, None]) & (verbs != NO_INTERACTION)
    probabilities = logits.float().masked_fill(~possible, -torch.inf).softmax(-1)
    table = torch.as_tensor(HOI_INDEX.T.copy(), device=logits.device)[object_labels]
    return probabilities.gather(1, table.clamp(min=0)) * (table >= 0)


class Teacher:
    """What both teachers share: soft labels of chosen pairs, each computed once a step."""

    def soft_labels(self, samples: list[HOIDataSample]) -> 'SoftLabelBook':
        """A book that answers for the pairs of these samples; see :class:`SoftLabelBook`."""
        return SoftLabelBook(self, samples)

    def logits(self, requests: list[tuple[HOIDataSample, Tensor]]) -> list[Tensor]:
        """Phrase scores (n, T) on the CPU for (n,) pairs of each sample."""
        raise NotImplementedError


class SoftLabelBook:
    """Soft verb labels of the training pairs of a batch, asked for layer by layer.

    A pair that several decoder layers match is scored once; the released code encodes it again
    for every layer, with the same result.
    """

    def __init__(self, teacher: Teacher, samples: list[HOIDataSample]) -> None:
        self._teacher = teacher
        self._samples = samples
        self._labels = [torch.zeros_like(s.gt_pairs.verb_labels, device='cpu') for s in samples]
        self._known = [torch.zeros(len(s.gt_pairs.potential), dtype=torch.bool) for s in samples]

    def __call__(self, pairs: list[Tensor]) -> list[Tensor]:
        """Labels (n, V) of (n,) pairs of each image, zero for verbs that take no soft label."""
        fresh = [p[~known[p]] for p, known in zip(pairs, self._known, strict=True)]
        wanted = [i for i, indices in enumerate(fresh) if len(indices)]
        answers = self._teacher.logits([(self._samples[i], fresh[i]) for i in wanted])
        for i, logits in zip(wanted, answers, strict=True):
            targets = self._samples[i].gt_pairs
            objects = targets.object_labels.cpu()[fresh[i]]
            mask = torch.as_tensor(targets.distillable_verbs)
            self._labels[i][fresh[i]] = soft_verb_labels(logits, objects) * mask
            self._known[i][fresh[i]] = True
        return [labels[p] for labels, p in zip(self._labels, pairs, strict=True)]


@TASK_UTILS.register_module()
class OnlineTeacher(Teacher):
    """CLIP, run on the union crops of the original images.

    Args:
        clip: config of a CLIP (see :mod:`mmvl.language`); built on the first use, so a model can
            be built and tested without the teacher's weights.
        chunk: crops that are encoded together.
    """

    def __init__(self, clip: dict[str, Any], chunk: int = 64) -> None:
        self._config = clip
        self.chunk = chunk
        self._clip: Any = None
        self._text = torch.empty(0)

    def prepare(self, device: torch.device | str = 'cpu') -> None:
        """Build CLIP on a device and encode the phrases, unless that is done.

        Raises:
            FileNotFoundError: the weights are not on disk.
        """
        if self._clip is None:
            self._clip = MODELS.build(self._config)
            with torch.no_grad():
                self._text = self._clip.encode_text(phrases())
        if self._text.device != torch.device(device):
            self._clip.to(device)
            self._text = self._text.to(device)

    def fingerprint(self) -> str:
        """A digest of CLIP's weights and of the phrases: what the scores depend on."""
        self.prepare()
        text = '\n'.join([self._clip.fingerprint(), *phrases()])
        return hashlib.sha256(text.encode()).hexdigest()

    def logits(self, requests: list[tuple[HOIDataSample, Tensor]]) -> list[Tensor]:
        """Phrase scores (n, T) on the CPU for (n,) pairs of each sample.

        Raises:
            ValueError: a sample does not carry its original image.
        """
        if not requests:
            return []
        self.prepare(requests[0][0].gt_pairs.subject_boxes.device)
        crops = []
        for sample, pairs in requests:
            if 'ori_img' not in sample:
                raise ValueError(
                    f'{sample.file_name}: the online teacher needs the original image; set '
                    'keep_original=True in LoadHOIImage'
                )
            boxes = sample.gt_pairs.union_boxes.cpu().numpy()[pairs.numpy()]
            crops += [crop_union(sample.ori_img, box) for box in boxes]
        return list(self.score(crops).split([len(pairs) for _, pairs in requests]))

    @torch.no_grad()
    def score(self, crops: list[Image.Image]) -> Tensor:
        """Phrase scores (N, T) float32, on the CPU, of N square RGB crops."""
        scores = []
        for start in range(0, len(crops), self.chunk):
            batch = [self._clip.preprocess(crop) for crop in crops[start : start + self.chunk]]
            features = self._clip.encode_image(torch.stack(batch).to(self._text.device))
            scores.append((self._clip.logit_scale * features.float() @ self._text.T).cpu())
        return torch.cat(scores)


@TASK_UTILS.register_module()
class CachedTeacher(Teacher):
    """Phrase scores read from a folder that ``mmvl cache eoid`` made.

    Args:
        folder: the cache; opened on the first use.
        clip: config of the CLIP whose scores it holds. Only ``mmvl cache`` builds it.
    """

    def __init__(self, folder: str, clip: dict[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        self.clip = clip
        self._shard_of: dict[str, str] = {}
        self._shards: dict[str, Any] = {}

    def prepare(self, device: torch.device | str = 'cpu') -> None:
        """Read the index, unless that is done; the device does not matter.

        Raises:
            FileNotFoundError: there is no cache in the folder.
        """
        if self._shard_of:
            return
        index = self.folder / 'index.json'
        if not index.is_file():
            raise FileNotFoundError(
                f'{index}: no teacher cache here; make one with\n'
                f'  mmvl cache eoid CONFIG {self.folder}'
            )
        self._shard_of = json.loads(index.read_text())['images']

    def logits(self, requests: list[tuple[HOIDataSample, Tensor]]) -> list[Tensor]:
        """Phrase scores (n, T) on the CPU for (n,) pairs of each sample.

        Raises:
            KeyError: an image, or a union box of it, is not in the cache.
        """
        self.prepare()
        return [self._lookup(sample, pairs) for sample, pairs in requests]

    def _lookup(self, sample: HOIDataSample, pairs: Tensor) -> Tensor:
        name = sample.file_name
        if name not in self._shard_of:
            raise KeyError(f'{name}: not in the teacher cache {self.folder}; make it anew')
        file = self._shard_of[name]
        if file not in self._shards:
            self._shards[file] = safe_open(self.folder / file, framework='pt')
        boxes = self._shards[file].get_tensor(f'{name}/boxes')
        same = (sample.gt_pairs.union_boxes.cpu()[pairs, None] == boxes).all(-1)
        if not same.any(1).all():
            missing = sample.gt_pairs.union_boxes[pairs][~same.any(1)][0].tolist()
            raise KeyError(
                f'{name}: union box {missing} is not in the teacher cache {self.folder}; the '
                'annotations or the pairs of the config changed, make the cache anew'
            )
        return self._shards[file].get_tensor(f'{name}/logits')[same.int().argmax(1)]


def cache_from_config(config: Config, folder: str | Path) -> None:
    """Score every pair that a config's training set can emit and keep the scores on disk.

    Shards that an earlier, interrupted call finished are kept when they were made by the same
    teacher, so the call can simply be repeated.

    Args:
        config: a training config whose ``model.teacher`` names a ``clip``.
        folder: where the cache goes.

    Raises:
        ValueError: the config has no CLIP teacher, or the folder holds another teacher's scores.
    """
    folder = Path(folder)
    clip = (config.model.get('teacher') or {}).get('clip')
    if clip is None:
        raise ValueError(f'{config.filename}: model.teacher.clip is missing, nothing to score with')
    teacher = OnlineTeacher(clip.to_dict())
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, teacher.fingerprint())

    dataset = DATASETS.build(_without_augmentation(config))
    shard_of: dict[str, str] = {}
    starts = range(0, len(dataset), SHARD)
    for start in track_iter_progress(list(starts)):
        indices = range(start, min(start + SHARD, len(dataset)))
        shard = folder / f'shard_{start // SHARD:05d}.safetensors'
        if not shard.exists():
            save_safetensors(_score_images(teacher, (dataset[i] for i in indices)), shard)
        with safe_open(shard, framework='pt') as tensors:
            names = {key.rpartition('/')[0] for key in tensors.keys()}  # noqa: SIM118
        shard_of.update(dict.fromkeys(names, shard.name))
    index = {'teacher': teacher.fingerprint(), 'images': shard_of}
    (folder / 'index.json').write_text(json.dumps(index))
    print_log(f'{len(shard_of)} images in {folder}', logger='current')


def _claim(folder: Path, fingerprint: str) -> None:
    """Mark a folder as one teacher's, or refuse another's."""
    mark = folder / 'teacher.txt'
    if mark.exists() and mark.read_text() != fingerprint:
        raise ValueError(
            f'{folder} holds the scores of another teacher (weights or phrases changed); '
            'choose another folder or delete this one'
        )
    mark.write_text(fingerprint)


def _without_augmentation(config: Config) -> dict[str, Any]:
    """The training set with the pipeline that emits every pair once, as annotated."""
    dataset = config.train_dataloader.dataset.to_dict()
    kept = ('LoadHOIImage', 'ClipBoxes', 'BuildPairTargets', 'PackHOIInputs')
    steps = [step for step in dataset['pipeline'] if step['type'] in kept]
    for step in steps:
        if step['type'] == 'LoadHOIImage':
            step['keep_original'] = True
    return {**dataset, 'pipeline': steps}


def _score_images(teacher: OnlineTeacher, items: Iterable[dict[str, Any]]) -> dict[str, Tensor]:
    """Distinct union boxes (n, 4) and their phrase scores (n, T) of every image."""
    tensors = {}
    for item in items:
        sample = item['data_samples']
        boxes, first = np.unique(sample.gt_pairs.union_boxes.numpy(), axis=0, return_index=True)
        scores = teacher.logits([(sample, torch.from_numpy(first))])[0] if len(first) else None
        tensors[f'{sample.file_name}/boxes'] = torch.from_numpy(boxes)
        tensors[f'{sample.file_name}/logits'] = (
            torch.zeros(0, len(HOI_VERB)) if scores is None else scores
        )
    return tensors
