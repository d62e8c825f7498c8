"""What the inferencers of all tasks share: images in, a batch through the model, results out."""

import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from pycocotools import mask as coco
from tqdm import tqdm

from mmvl.engine import load_checkpoint_file, load_weights, state_dict_of, write_atomically
from mmvl.registry import MODELS, TRANSFORMS

ImageInput = str | os.PathLike | np.ndarray

IMAGE_SUFFIXES = {'.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


class Inferencer:
    """A model with the test pipeline of its config, so that results are those of a test.

    Args:
        config: path of a config, or a config.
        weights: ``.pth`` or ``.safetensors`` file; None leaves the model untrained and says so.
        device: such as 'cuda:0' or 'cpu'; None takes the best there is.

    Attributes:
        model: the model, in evaluation mode.
        device: where it runs.
        loader: class of the step that the pipelines of the task begin with.
        example: a config of the task, for error messages.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config has no model or no test pipeline that begins with the loader.
        CheckpointError: the weights are missing, refused, or those of another model.
    """

    loader: ClassVar[type[BaseTransform]]
    example: ClassVar[str]

    def __init__(
        self,
        config: str | os.PathLike | Config,
        weights: str | os.PathLike | None = None,
        device: str | None = None,
    ) -> None:
        cfg = config if isinstance(config, Config) else Config.fromfile(config)
        self.device = torch.device(device or get_device())
        with DefaultScope.overwrite_default_scope('mmvl'):
            self._load, self._transform = self._test_pipeline(cfg)
            # A teacher has no part in prediction, and its files need not be here.
            self.model = MODELS.build({k: v for k, v in cfg.model.items() if k != 'teacher'})
        if weights is None:
            print_log('no weights given: the model is untrained', level=logging.WARNING)
        else:
            load_weights(self.model, state_dict_of(load_checkpoint_file(weights)))
        self.model.to(self.device).eval()

    def _test_pipeline(self, cfg: Config) -> tuple[BaseTransform, Compose]:
        """The loading step of a config's test pipeline, and the steps behind it."""
        if 'model' not in cfg or 'test_dataloader' not in cfg:
            raise ValueError(
                f'{cfg.filename or "the config"} has no model or no test_dataloader.\n'
                f'What to do: pass the config of a method, such as {self.example}.'
            )
        dataset = cfg.test_dataloader.dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        steps = [TRANSFORMS.build(step) for step in dataset.get('pipeline', [])]
        if not steps or not isinstance(steps[0], self.loader):
            first = type(steps[0]).__name__ if steps else 'nothing'
            raise ValueError(
                'test_dataloader.dataset.pipeline begins with '
                f'{first}, not {self.loader.__name__}.\n'
                f'What to do: pass a config of this task, such as {self.example}.'
            )
        return steps[0], Compose(steps[1:])

    def _predictions(
        self, samples: Sequence[dict[str, Any]], batch_size: int, show_progress: bool, unit: str
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Original image (H, W, 3) RGB and data sample with predictions of every sample.

        Args:
            samples: as :func:`list_images` gives them, with what else the pipeline needs.
            batch_size: samples that go through the model together.
            show_progress: show a progress bar when there is more than one sample.
            unit: what the bar counts.

        Raises:
            ValueError: the batch size is below 1.
            OSError: a file is no image or is damaged.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size is {batch_size}.\nWhat to do: set it to 1 or more.')
        quiet = not show_progress or len(samples) < 2
        with tqdm(total=len(samples), unit=unit, disable=quiet) as bar:
            for start in range(0, len(samples), batch_size):
                batch = samples[start : start + batch_size]
                yield from self._predict(batch)
                bar.update(len(batch))

    @torch.no_grad()
    def _predict(self, batch: Sequence[dict[str, Any]]) -> Iterable[tuple[np.ndarray, Any]]:
        loaded = [self._read(sample) for sample in batch]
        # Transforms replace 'img'; the loaded one is kept for the picture.
        originals = [results['img'] for results in loaded]
        samples = self.model.test_step(pseudo_collate([self._transform(r) for r in loaded]))
        return zip(originals, samples, strict=True)

    def _read(self, sample: dict[str, Any]) -> dict[str, Any]:
        if 'img' not in sample:
            return self._load(dict(sample))
        shape = sample['img'].shape[:2]
        return {**sample, 'ori_shape': shape, 'img_shape': shape}


def as_list(inputs: Any) -> list[Any]:
    """One thing, or several, as a list; texts and arrays are one thing."""
    several = isinstance(inputs, Iterable) and not isinstance(inputs, (str, np.ndarray))
    return list(inputs) if several else [inputs]


def list_images(inputs: ImageInput | Sequence[ImageInput]) -> list[dict[str, Any]]:
    """Start a sample for every image; folders become their files, sorted by name.

    Args:
        inputs: path of an image, path of a folder (its images, not those of folders inside it),
            (H, W, 3) uint8 RGB array, or a list of these.

    Returns:
        For each image ``file_name`` (the path; ``array_<i>`` for the i-th input when it is an
        array) and ``img_path``, or ``img`` for an array.

    Raises:
        ValueError: an input is a URL, a folder without images or an array of another form.
        TypeError: an input is of another type.
        FileNotFoundError: an input does not exist.
    """
    images: list[dict[str, Any]] = []
    for i, item in enumerate(as_list(inputs)):
        if isinstance(item, np.ndarray):
            if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or not item.size:
                raise ValueError(
                    f'input {i} is an array of {item.shape} {item.dtype}; an image is '
                    '(H, W, 3) uint8 in RGB order.'
                )
            images.append({'file_name': f'array_{i}', 'img': item})
        elif isinstance(item, (str, os.PathLike)):
            paths = [str(path) for path in _files(item)]
            images += [{'file_name': path, 'img_path': path} for path in paths]
        else:
            raise TypeError(
                f'input {i} is a {type(item).__name__}; pass paths, folders or '
                '(H, W, 3) uint8 RGB arrays.'
            )
    return images


def _files(source: str | os.PathLike) -> list[Path]:
    if re.match(r'[a-zA-Z][a-zA-Z0-9+.-]+:/', str(source)):
        raise ValueError(
            f'{source} is a URL, and nothing is downloaded: save the image and pass its path.'
        )
    path = Path(source).expanduser()
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f'Image not found: {path}\nWhat to do: check the path.')
        return [path]
    files = sorted(
        file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    if not files:
        endings = ' '.join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f'The folder {path} holds no images (looked for {endings}).')
    return files


def picture_names(samples: Sequence[dict[str, Any]]) -> list[str]:
    """File names of the pictures of samples; those of one name get a number."""
    pictures: dict[str, None] = {}
    for stem in (Path(sample['file_name']).stem for sample in samples):
        numbered = (f'{stem}_{count}.jpg' for count in itertools.count(2))
        candidates = itertools.chain([f'{stem}.jpg'], numbered)
        pictures[next(name for name in candidates if name not in pictures)] = None
    return list(pictures)


def list_sentences(expressions: str | Sequence[str]) -> list[str]:
    """Sentences as a list, each of them with words.

    Raises:
        ValueError: one is empty or no Unicode.
        TypeError: one is of another type.
    """
    texts = as_list(expressions)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f'expression {i} is a {type(text).__name__}.\n'
                'What to do: pass a sentence or a list of sentences.'
            )
        if not text.strip():
            raise ValueError(f'expression {i} is empty.\nWhat to do: give it words.')
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f'expression {i} is no Unicode from character {error.start} on.\n'
                'What to do: pass it in UTF-8.'
            ) from None
    return texts


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run-length code of a mask (H, W) bool, its bytes as text for JSON."""
    code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'size': code['size'], 'counts': code['counts'].decode()}


def write_predictions(results: Sequence[dict[str, Any]], out_dir: str | os.PathLike) -> None:
    """Write ``predictions.json`` into a folder, where it appears only when it is complete."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    write_atomically(Path(out_dir, 'predictions.json'), lambda tmp: tmp.write_text(text, 'utf-8'))
