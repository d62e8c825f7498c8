"""Human-object interactions of images, from a config and its weights."""

import itertools
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from tqdm import tqdm

from mmvl.engine import load_checkpoint_file, load_weights, state_dict_of, write_atomically
from mmvl.hoi.structures import HOIDataSample, HOIPairs
from mmvl.hoi.transforms import LoadHOIImage
from mmvl.hoi.visualization import draw_predictions, interaction_text, save_picture
from mmvl.hoi.vocabulary import OBJECTS, VERBS
from mmvl.registry import MODELS, TRANSFORMS

ImageInput = str | os.PathLike | np.ndarray

IMAGE_SUFFIXES = {'.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


class HOIInferencer:
    """Finds who does what with which object.

    Images go through the test pipeline of the config, so the results are those of a test.

    Args:
        config: path of a config, or a config.
        weights: ``.pth`` or ``.safetensors`` file; None leaves the model untrained and says so.
        device: such as 'cuda:0' or 'cpu'; None takes the best there is.

    Attributes:
        model: the model, in evaluation mode.
        device: where it runs.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config has no model or no test pipeline that begins with LoadHOIImage.
        CheckpointError: the weights are missing, refused, or those of another model.
    """

    def __init__(
        self,
        config: str | os.PathLike | Config,
        weights: str | os.PathLike | None = None,
        device: str | None = None,
    ) -> None:
        cfg = config if isinstance(config, Config) else Config.fromfile(config)
        self.device = torch.device(device or get_device())
        with DefaultScope.overwrite_default_scope('mmvl'):
            self._load, self._transform = _test_pipeline(cfg)
            # A teacher has no part in prediction, and its files need not be here.
            self.model = MODELS.build({k: v for k, v in cfg.model.items() if k != 'teacher'})
        if weights is None:
            print_log('no weights given: the model is untrained', level=logging.WARNING)
        else:
            load_weights(self.model, state_dict_of(load_checkpoint_file(weights)))
        self.model.to(self.device).eval()

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        out_dir: str | os.PathLike | None = None,
        score_threshold: float = 0.1,
        top_k: int = 10,
        batch_size: int = 1,
        show_progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Find the interactions in images.

        Args:
            inputs: path of an image, path of a folder (its images, not those of folders inside
                it), (H, W, 3) uint8 RGB array, or a list of these.
            out_dir: folder for ``predictions.json``, the returned list, and ``vis/<name>.jpg``,
                a picture of each image; None writes nothing.
            score_threshold: triplets below it are left out.
            top_k: triplets of an image that are kept, best first.
            batch_size: images that go through the model together.
            show_progress: show a progress bar when there is more than one image.

        Returns:
            One dictionary an image, ready for JSON: ``file_name`` (the path; ``array_<i>`` for the
            i-th input when it is an array), ``width``, ``height`` and ``triplets``, each with
            ``subject_box`` and ``object_box`` (x1, y1, x2, y2 in pixels of the image as given),
            ``object``, ``verb``, ``phrase`` ("person riding bicycle") and ``score`` in 0-1.

        Raises:
            ValueError: an input is a URL, a folder without images or an array of another form.
            TypeError: an input is of another type.
            FileNotFoundError: an input does not exist.
            OSError: a file is no image or is damaged.
        """
        images = _list_images(inputs)
        names = _picture_names([name for name, _ in images])
        results = []
        quiet = not show_progress or len(images) < 2
        with tqdm(total=len(images), unit='image', disable=quiet) as bar:
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size]
                for offset, (image, sample) in enumerate(self._predict(batch)):
                    pairs = _best(sample.pred_pairs, score_threshold, top_k)
                    results.append(_describe(batch[offset][0], image, pairs))
                    if out_dir is not None:
                        picture = draw_predictions(image, pairs, score_threshold, top_k)
                        save_picture(picture, Path(out_dir, 'vis', names[start + offset]))
                bar.update(len(batch))
        if out_dir is not None:
            text = json.dumps(results, indent=1, ensure_ascii=False)
            write_atomically(
                Path(out_dir, 'predictions.json'), lambda tmp: tmp.write_text(text, 'utf-8')
            )
        return results

    @torch.no_grad()
    def _predict(
        self, batch: Sequence[tuple[str, ImageInput]]
    ) -> Iterator[tuple[np.ndarray, HOIDataSample]]:
        """Original images (H, W, 3) RGB and samples with predictions of a batch."""
        loaded = [self._read(name, source) for name, source in batch]
        # Transforms replace 'img'; the loaded one is kept for the picture.
        originals = [results['img'] for results in loaded]
        samples = self.model.test_step(pseudo_collate([self._transform(r) for r in loaded]))
        yield from zip(originals, samples, strict=True)

    def _read(self, name: str, source: ImageInput) -> dict[str, Any]:
        if not isinstance(source, np.ndarray):
            return self._load({'img_path': str(source), 'file_name': name})
        shape = source.shape[:2]
        return {'img': source, 'file_name': name, 'ori_shape': shape, 'img_shape': shape}


def _test_pipeline(cfg: Config) -> tuple[LoadHOIImage, Compose]:
    """The loading step of a config's test pipeline, and the steps behind it."""
    if 'model' not in cfg or 'test_dataloader' not in cfg:
        raise ValueError(
            f'{cfg.filename or "the config"} has no model or no test_dataloader.\n'
            'Pass the config of a method, such as configs/eoid/hico.py.'
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    steps = [TRANSFORMS.build(step) for step in dataset.get('pipeline', [])]
    if not steps or not isinstance(steps[0], LoadHOIImage):
        first = type(steps[0]).__name__ if steps else 'nothing'
        raise ValueError(
            f'test_dataloader.dataset.pipeline begins with {first}, not LoadHOIImage.\n'
            'Pass the config of a HOI method, such as configs/eoid/hico.py.'
        )
    return steps[0], Compose(steps[1:])


def _list_images(inputs: ImageInput | Sequence[ImageInput]) -> list[tuple[str, ImageInput]]:
    """Name and source of every image; folders become their files, sorted by name."""
    items = [inputs] if isinstance(inputs, (str, os.PathLike, np.ndarray)) else inputs
    images: list[tuple[str, ImageInput]] = []
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray):
            if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or not item.size:
                raise ValueError(
                    f'input {i} is an array of {item.shape} {item.dtype}; an image is '
                    '(H, W, 3) uint8 in RGB order.'
                )
            images.append((f'array_{i}', item))
        elif isinstance(item, (str, os.PathLike)):
            images += [(str(path), path) for path in _files(item)]
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
            raise FileNotFoundError(f'Image not found: {path}')
        return [path]
    files = sorted(
        file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    if not files:
        endings = ' '.join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f'The folder {path} holds no images (looked for {endings}).')
    return files


def _picture_names(names: Sequence[str]) -> list[str]:
    """File names of pictures; images of one name from several folders get a number."""
    pictures: dict[str, None] = {}
    for stem in (Path(name).stem for name in names):
        numbered = (f'{stem}_{count}.jpg' for count in itertools.count(2))
        candidates = itertools.chain([f'{stem}.jpg'], numbered)
        pictures[next(name for name in candidates if name not in pictures)] = None
    return list(pictures)


def _best(pairs: HOIPairs, score_threshold: float, top_k: int) -> HOIPairs:
    return pairs[pairs.scores >= score_threshold][:top_k]


def _describe(name: str, image: np.ndarray, pairs: HOIPairs) -> dict[str, Any]:
    """The result of an image in plain Python types; pixels to a tenth, scores to 1e-4."""
    subjects, objects = (
        boxes.double().numpy().round(1).tolist()
        for boxes in (pairs.subject_boxes, pairs.object_boxes)
    )
    scores = pairs.scores.double().numpy().round(4).tolist()
    columns = zip(
        subjects, objects, pairs.object_labels.tolist(), pairs.verbs.tolist(), scores, strict=True
    )
    triplets = [
        {
            'subject_box': subject,
            'object_box': object_,
            'object': OBJECTS[label],
            'verb': VERBS[verb],
            'phrase': f'person {interaction_text(verb, label)}',
            'score': score,
        }
        for subject, object_, label, verb, score in columns
    ]
    height, width = image.shape[:2]
    return {'file_name': name, 'width': width, 'height': height, 'triplets': triplets}
