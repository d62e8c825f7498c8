"""The index files of ReSC and TransVG: tuples of image, box and phrase in a PyTorch file."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import numpy._core.multiarray as core
import torch

from mmvl.engine.annotation_files import existing, shown
from mmvl.engine.file_checks import CheckpointError, recognise
from mmvl.engine.pickle_values import Refusal, measure
from mmvl.registry import DATASETS

from .base import ReferringDataset, Sizes
from .fields import (
    AnnotationError,
    Entry,
    Handler,
    Place,
    fault,
    file_name,
    numbers,
    text,
)
from .published import PUBLISHED

LAYOUT = (
    'data/unc/unc_val.pth and ln_data/other/images/mscoco/images/train2014 in data_root, as TransVG'
)
COCO = 'ln_data/other/images/mscoco/images/train2014'
MAX_BYTES = 200 << 20
"""Limit of an index written as JSON; that of RefCOCO has some 20 MB."""


class _Set(NamedTuple):
    name: str
    split_by: str
    images: str
    splits: tuple[str, ...]
    has_size: bool = True


SETS = {
    'unc': _Set('refcoco', 'unc', COCO, ('train', 'val', 'trainval', 'testA', 'testB')),
    'unc+': _Set('refcoco+', 'unc', COCO, ('train', 'val', 'trainval', 'testA', 'testB')),
    'gref': _Set('refcocog', 'google', COCO, ('train', 'val')),
    'gref_umd': _Set('refcocog', 'umd', COCO, ('train', 'val', 'test')),
    'referit': _Set(
        'referit', 'berkeley', 'ln_data/referit/images', ('train', 'val', 'trainval', 'test'), False
    ),
    'flickr': _Set(
        'flickr30k', '', 'ln_data/Flickr30k/flickr30k_images', ('train', 'val', 'test'), False
    ),
}
"""Name in file names -> dataset; ``has_size``: boxes are xywh, otherwise xyxy."""


@DATASETS.register_module()
class GroundingIndex(ReferringDataset):
    """A dataset as ReSC, TransVG and their successors have it: a list of tuples saved by PyTorch.

    The file is read with ``weights_only=True``. It has no masks and no numbers: ``sent_id`` is the
    place in the file, ``ref_id`` counts distinct boxes, ``img_id`` is the number in the name of
    the image, and phrases are made lower-case, as TransVG does.

    Args:
        name: 'unc' (RefCOCO), 'unc+', 'gref' (RefCOCOg, google), 'gref_umd', 'referit' or 'flickr'.
        split: 'train', 'val', 'trainval', 'test', 'testA' or 'testB'; 'trainval' joins two files,
            except that 'referit' has one of its own.
        cast_int: cut box values to whole numbers before width and height are added, as the
            published code does. False keeps them, which gives the boxes of the other routes.
        ann_file: by default ``data/{name}/{name}_{split}.pth``; not for a joined split.
        data_prefix: by default the folder below ``ln_data`` that TransVG uses.
        **kwargs: as in :class:`ReferringDataset`.
    """

    def __init__(
        self,
        *,
        name: str,
        split: str,
        cast_int: bool = True,
        ann_file: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if name not in SETS or split not in SETS[name].splits:
            known = '; '.join(f'{key}: {", ".join(part.splits)}' for key, part in SETS.items())
            raise ValueError(
                f'there is no index {name!r} with a split {split!r}.\n'
                f'What to do: choose of {known}.'
            )
        self.source, self.cast_int = SETS[name], cast_int
        self.joined = split == 'trainval' and name != 'referit'
        if self.joined and ann_file:
            raise ValueError(
                f'{split} of {name} joins two files.\nWhat to do: leave ann_file out, or use '
                'ConcatDataset of train and val.'
            )
        first = 'train' if self.joined else split
        super().__init__(
            name=self.source.name,
            split=split,
            ann_file=ann_file or f'data/{name}/{name}_{first}.pth',
            data_prefix=data_prefix or {'img': self.source.images},
            **kwargs,
        )

    def load(self) -> dict[str, Any]:
        """Read the file, or two."""
        files = [self.ann_file]
        if self.joined:
            files.append(f'{self.ann_file.removesuffix("train.pth")}val.pth')
        return {file: read_index(existing(file, LAYOUT)) for file in files}

    def entries(self, content: Any, handler: Handler) -> Iterator[Entry]:
        """Give the phrases of the file."""
        sent_id = -1
        refs: dict[tuple[str, bytes], int] = {}
        images: dict[str, int] = {}
        for file, rows in content.items():
            for i, row in enumerate(rows):
                sent_id += 1
                try:
                    entry = self._entry(row, Place(file, f'entry {i}'))
                except AnnotationError as error:
                    handler(error)
                    continue
                name, box = entry.sample['file_name'], entry.sample['box'].tobytes()
                number = image_number(name, images.setdefault(name, len(images)))
                ref_id = refs.setdefault((name, box), len(refs))
                ids = {'img_id': number, 'ref_id': ref_id, 'sent_id': sent_id, 'ann_id': -1}
                yield entry._replace(sample={**entry.sample, **ids})

    def _entry(self, row: Any, place: Place) -> Entry:
        """Image, box and phrase; the numbers are missing."""
        length = 3 if self.source.name == 'flickr30k' else 5
        if not isinstance(row, (list, tuple)) or len(row) != length:
            detail = f'expected {length} values, of image, box, phrase, ...; got {shown(row)}'
            raise fault('malformed entry', place, detail, f'check that it is {self.source.name}')
        box_at = 1 if length == 3 else 2
        box = np.array(numbers(row[box_at], place.at(f', value {box_at}')))
        if self.cast_int:
            box = np.trunc(box)
        if self.source.has_size:
            box[2:] += box[:2]
        sample = {
            'file_name': file_name(row[0], place.at(', value 0')),
            'text': text(row[box_at + 1], place.at(f', value {box_at + 1}')).lower(),
            'box': box.astype(np.float32),
            'segmentation': None,
        }
        return Entry(
            sample, place.at(f', value {box_at + 1}'), place.at(f', value {box_at}'), place
        )

    def published(self) -> Sizes:
        """Give the published numbers of the split; the file does not tell referents apart."""
        key = self.source.name, self.source.split_by, self.split
        sentences, _, images = PUBLISHED.get(key, super().published())
        return sentences, None, images


def image_number(name: str, otherwise: int) -> int:
    """The number that ends an image's name, as COCO_train2014_000000581857.jpg."""
    digits = re.search(r'[0-9]{1,18}$', PurePosixPath(name).stem)
    return int(digits[0]) if digits else otherwise


def read_index(file: Path) -> list[Any]:
    """Read the list in a PyTorch file, old or new, without running code in it.

    Raises:
        AnnotationError: it asks for code, is damaged or too large, or holds no list of tuples of
            numbers, text and arrays.
    """
    dtypes = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdOSU'}
    # numpy 1 and numpy 2 write different module names for the same two functions
    makers = [
        (getattr(core, name), f'numpy.{module}.multiarray.{name}')
        for module in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    ]
    place = Place(str(file))
    remedy = 'fetch the file again, or use the refer or the MDETR files'
    try:
        recognise(file)
        with torch.serialization.safe_globals([np.ndarray, np.dtype, *dtypes, *makers]):
            rows = torch.load(file, map_location='cpu', weights_only=True)
    except CheckpointError as error:
        raise AnnotationError(str(error)) from None
    except UnpicklingError as error:
        asked = re.search(r'(?:GLOBAL|Unsupported class) (\S{1,80})', str(error))
        detail = f'asks for {asked[1]!r}, which is code and not data' if asked else str(error)
        detail = ' '.join(detail.split())[:160]
        raise fault('unreadable annotation', place, detail, remedy) from None
    except OSError:
        raise
    # Damaged bytes provoke nearly any error in the reader; each means the same refusal.
    except Exception as error:
        detail = f'damaged ({" ".join(str(error).split())[:120] or type(error).__name__})'
        raise fault('unreadable annotation', place, detail, remedy) from None
    if not isinstance(rows, list):
        detail = f'expected a list of tuples, got a {type(rows).__name__}'
        raise fault('unreadable annotation', place, detail, remedy)
    try:
        # what is shared in the file is not shared by the samples
        measure([rows], 0, {}, MAX_BYTES)
    except Refusal as error:
        raise fault('unreadable annotation', place, str(error), remedy) from None
    return rows
