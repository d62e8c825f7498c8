"""RefCOCO, RefCOCO+ and RefCOCOg as MDETR and ReferFormer have them: one image entry a sentence."""

from collections.abc import Iterator
from typing import Any

from mmvl.engine.annotation_files import existing, shown
from mmvl.registry import DATASETS

from .base import ReferringDataset, Sizes
from .fields import (
    AnnotationError,
    Entry,
    Handler,
    Place,
    fault,
    get_box,
    get_int,
    get_list,
    get_name,
    get_size,
    get_text,
    load_json,
)
from .published import PUBLISHED

LAYOUT = 'data/coco/{mdetr_annotations/finetune_refcoco_val.json, train2014}'
NAMES = ('refcoco', 'refcoco+', 'refcocog')


@DATASETS.register_module()
class MDETRRefCOCO(ReferringDataset):
    """A COCO-style file in which every sentence is an "image" with one annotation.

    ``sent_id`` is the number of that "image", ``img_id`` and ``ann_id`` are COCO's own numbers
    (``original_id``), and ``ref_id`` is ``ann_id``.

    Args:
        name: 'refcoco', 'refcoco+' or 'refcocog'; where an image has a ``dataset_name``, it has
            to be this one.
        split: 'train', 'val', 'test', 'testA' or 'testB'.
        ann_file: by default ``mdetr_annotations/finetune_{name}_{split}.json``; ReferFormer's
            files are named ``instances_{name}_{split}.json``.
        data_prefix: by default ``train2014`` in ``data_root``.
        **kwargs: as in :class:`ReferringDataset`.
    """

    def __init__(
        self,
        *,
        name: str = 'refcoco',
        split: str,
        ann_file: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if name not in NAMES:
            raise ValueError(f'there is no dataset {name!r} here.\nWhat to do: choose of {NAMES}.')
        super().__init__(
            name=name,
            split=split,
            ann_file=ann_file or f'mdetr_annotations/finetune_{name}_{split}.json',
            data_prefix=data_prefix or {'img': 'train2014'},
            **kwargs,
        )

    def load(self) -> dict[str, Any]:
        """Read the file."""
        return load_json(existing(self.ann_file, LAYOUT))

    def entries(self, content: Any, handler: Handler) -> Iterator[Entry]:
        """Give the sentences of the file."""
        annotations = by_image(content, self.ann_file, handler)
        for i, image in enumerate(get_list(content, 'images', Place(self.ann_file))):
            place = Place(self.ann_file, f'images[{i}]')
            try:
                yield self._entry(image, place, annotations)
            except AnnotationError as error:
                handler(error)

    def _entry(
        self, image: Any, place: Place, annotations: dict[int, list[tuple[Any, Place]]]
    ) -> Entry:
        sent_id = get_int(image, 'id', place)
        mine = annotations.get(sent_id, [])
        if len(mine) != 1:
            detail = f'expected one annotation of image {sent_id}, found {len(mine)}'
            raise fault('malformed entry', place, detail)
        if image.get('dataset_name', self.name) != self.name:
            detail = f'expected {self.name!r}, got {shown(image["dataset_name"])}'
            raise fault('other dataset', place.at('.dataset_name'), detail, 'correct name')
        annotation, ann_at = mine[0]
        ann_id = get_int(annotation, 'original_id', ann_at)
        sample = {
            'file_name': get_name(image, 'file_name', place),
            'img_id': get_int(image, 'original_id', place),
            'ref_id': ann_id,
            'sent_id': sent_id,
            'ann_id': ann_id,
            'text': get_text(image, 'caption', place),
            'box': get_box(annotation, ann_at),
            'segmentation': annotation.get('segmentation') or None,
        }
        box_at, mask_at = ann_at.at('.bbox'), ann_at.at('.segmentation')
        return Entry(sample, place.at('.caption'), box_at, mask_at, get_size(image, place))

    def published(self) -> Sizes:
        """Give the published numbers of the split."""
        split_by = 'umd' if self.name == 'refcocog' else 'unc'
        return PUBLISHED.get((self.name, split_by, self.split), super().published())


def by_image(
    content: dict[str, Any], file: str, handler: Handler
) -> dict[int, list[tuple[Any, Place]]]:
    """Image id -> its annotations and their places."""
    found: dict[int, list[tuple[Any, Place]]] = {}
    for i, annotation in enumerate(get_list(content, 'annotations', Place(file))):
        place = Place(file, f'annotations[{i}]')
        try:
            found.setdefault(get_int(annotation, 'image_id', place), []).append((annotation, place))
        except AnnotationError as error:
            handler(error)
    return found
