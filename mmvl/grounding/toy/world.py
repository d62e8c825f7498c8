"""The toy world on disk: RefCOCO's own files, drawn, with a vocabulary for a small BERT."""

import json
import pickle
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from pycocotools import mask as coco

from .compose import SPLITS, Said, draw_scene
from .scenes import SHAPES, Thing, paint
from .sentences import WORDS

SPECIAL: Final = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
LETTERS: Final = 'abcdefghijklmnopqrstuvwxyz'


def write_world(
    folder: str | Path, seed: int = 0, num_train: int = 1900, num_test: int = 200, size: int = 64
) -> None:
    """Write a world in the layout and the files of RefCOCO, as ``refer`` reads them.

    Every picture shows a few shapes that share colours, shapes and sizes. Every sentence is true of
    one of them only, and would not be without any one of its words. The splits:

    * ``train`` and ``val``: pairs of colour and shape that are not held out.
    * ``testA``: sentences that name a held-out pair of colour and shape; no other split shows any.
    * ``testB``: sentences that need left or right, of pairs that are not held out.

    Args:
        folder: gets ``instances.json``, ``refs(unc).p``, ``images`` and ``vocab.txt``.
        seed: same seed, same bytes.
        num_train: pictures to train on.
        num_test: pictures of each of the three other splits.
        size: height and width of the pictures, pixels.
    """
    folder = Path(folder)
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    files = _Files(size)
    for stream, split in enumerate(SPLITS):
        for index in range(num_train if split == 'train' else num_test):
            rng = np.random.default_rng((seed, stream, index))
            things, said = draw_scene(split, size, rng)
            name = f'toy_{split}_{index + 1:06d}.jpg'
            bgr = paint(things, size, rng)[..., ::-1]
            cv2.imwrite(str(folder / 'images' / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
            files.add(name, split, things, said)
    categories = [{'id': i, 'name': shape} for i, shape in enumerate(SHAPES, start=1)]
    content = {'images': files.images, 'annotations': files.annotations, 'categories': categories}
    (folder / 'instances.json').write_text(json.dumps(content))
    with open(folder / 'refs(unc).p', 'wb') as file:
        pickle.dump(files.refs, file, protocol=2)
    (folder / 'vocab.txt').write_text('\n'.join(_vocabulary()) + '\n')


class _Files:
    """What is in the annotation files, in which all numbers start at 1.

    Args:
        size: height and width of the pictures, pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.refs: list[dict[str, Any]] = []
        self._sentences = 0

    def add(self, name: str, split: str, things: list[Thing], said: Said) -> None:
        """Add a picture; what is said of one thing becomes one reference."""
        image_id = len(self.images) + 1
        self.images.append(
            {'id': image_id, 'file_name': name, 'height': self.size, 'width': self.size}
        )
        for index, thing in enumerate(things):
            ann_id = len(self.annotations) + 1
            self.annotations.append(
                {'id': ann_id, 'image_id': image_id, **_annotation(thing, self.size)}
            )
            sentences = [self._sentence(str(each)) for number, each in said if number == index]
            if sentences:
                self.refs.append(
                    {
                        'ref_id': len(self.refs) + 1,
                        'ann_id': ann_id,
                        'image_id': image_id,
                        'category_id': self.annotations[-1]['category_id'],
                        'split': split,
                        # as in the real files: the name of the image, and the annotation's number
                        'file_name': f'{Path(name).stem}_{ann_id}.jpg',
                        'sentences': sentences,
                        'sent_ids': [sentence['sent_id'] for sentence in sentences],
                    }
                )

    def _sentence(self, text: str) -> dict[str, Any]:
        self._sentences += 1
        return {'sent_id': self._sentences, 'raw': text, 'sent': text, 'tokens': text.split()}


def _annotation(thing: Thing, size: int) -> dict[str, Any]:
    outlines = thing.outlines()
    low, high = outlines[0].min(axis=0), outlines[0].max(axis=0)
    polygons = [np.round(part, 2).ravel().tolist() for part in outlines]
    segmentation: Any = polygons
    if len(polygons) > 1:  # polygons have no holes
        whole, hole = (coco.decode(code) for code in coco.frPyObjects(polygons, size, size))
        code = coco.encode(np.asfortranarray(whole & (1 - hole)))
        segmentation = {'size': [size, size], 'counts': code['counts'].decode()}
    return {
        'category_id': SHAPES.index(thing.shape) + 1,
        'bbox': np.round([*low, *(high - low)], 2).tolist(),
        'segmentation': segmentation,
        'iscrowd': 0,
        'colour': thing.colour,
        'size': thing.size,
    }


def _vocabulary() -> list[str]:
    """Words of the sentences, and single letters for all others, in the order of BERT's file."""
    return [*SPECIAL, *WORDS, *LETTERS, *(f'##{letter}' for letter in LETTERS)]
