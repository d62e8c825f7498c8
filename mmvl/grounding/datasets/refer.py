"""RefCOCO, RefCOCO+, RefCOCOg and RefClef in the layout of the refer API."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmvl.engine.annotation_files import existing, shown
from mmvl.engine.pickles import PickleError, read_pickle
from mmvl.registry import DATASETS

from .base import ReferringDataset, Sizes
from .fields import (
    AnnotationError,
    Entry,
    Handler,
    Place,
    fault,
    get,
    get_box,
    get_int,
    get_list,
    get_name,
    get_size,
    get_text,
    load_json,
)
from .published import PUBLISHED

SPLIT_BY = {
    'refcoco': ('unc', 'google'),
    'refcoco+': ('unc',),
    'refcocog': ('umd', 'google'),
    'refclef': ('berkeley', 'unc'),
}
"""Dataset -> who divided it; the first is the usual one."""
SPLITS = ('train', 'val', 'test', 'testA', 'testB', 'testC', 'testAB', 'testBC', 'testAC')
LAYOUT = (
    'DATA/refcoco/{instances.json, refs(unc).p} and DATA/images/mscoco/images/train2014, '
    'where DATA is data_root'
)


def in_split(ref_split: str, split: str) -> bool:
    """Whether a reference belongs to a split, by the rule of the refer API.

    testA, testB and testC take every reference whose split has that letter, so testAB is in two;
    test takes all whose split has 'test' in it; anything else is equality.
    """
    if split in ('testA', 'testB', 'testC'):
        return split[-1] in ref_split
    return 'test' in ref_split if split == 'test' else ref_split == split


@DATASETS.register_module()
class RefCOCO(ReferringDataset):
    """RefCOCO, RefCOCO+, RefCOCOg or RefClef as the refer API has them on disk.

    The file of references is a pickle, which is read without running what is in it. Boxes, masks
    and names of images are those of the ``instances.json`` beside it.

    Args:
        name: 'refcoco', 'refcoco+', 'refcocog' or 'refclef'.
        split: 'train', 'val', 'test', 'testA', 'testB', ..., see :func:`in_split`.
        split_by: who divided the dataset: 'unc', 'google', 'umd' or 'berkeley'; by default the
            usual one.
        ann_file: the references; by default ``{name}/refs({split_by}).p``.
        data_prefix: by default ``images/mscoco/images/train2014`` (``images/saiapr_tc-12`` of
            RefClef) in ``data_root``; with ``data_root='data/coco'`` set ``dict(img='train2014')``.
        **kwargs: as in :class:`ReferringDataset`.
    """

    def __init__(
        self,
        *,
        name: str = 'refcoco',
        split: str,
        split_by: str | None = None,
        ann_file: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if name not in SPLIT_BY or split_by not in (None, *SPLIT_BY[name]) or split not in SPLITS:
            known = '; '.join(f'{key} by {" or ".join(by)}' for key, by in SPLIT_BY.items())
            raise ValueError(
                f'there is no dataset {name!r}, split by {split_by!r}, with a part {split!r}.\n'
                f'What to do: choose of {known}, and of {", ".join(SPLITS)}.'
            )
        self.split_by = split_by or SPLIT_BY[name][0]
        folder = 'saiapr_tc-12' if name == 'refclef' else 'mscoco/images/train2014'
        super().__init__(
            name=name,
            split=split,
            ann_file=ann_file or f'{name}/refs({self.split_by}).p',
            data_prefix=data_prefix or {'img': f'images/{folder}'},
            **kwargs,
        )

    def load(self) -> tuple[Sequence[Any], dict[str, Any], str]:
        """Read the references, the instances, and where these come from."""
        instances = str(Path(self.ann_file).with_name('instances.json'))
        return read_refs(self.ann_file), load_json(existing(instances, LAYOUT)), instances

    def entries(self, content: Any, handler: Handler) -> Iterator[Entry]:
        """Give the sentences of the split."""
        refs, instances, file = content
        images = _by_id(instances, 'images', file)
        annotations = _by_id(instances, 'annotations', file)
        for i, ref in enumerate(refs):
            place = Place(self.ann_file, f'entry {i}')
            try:
                if not in_split(get_text(ref, 'split', place), self.split):
                    continue
                common = _referent(ref, place, images, annotations)
                sentences = get_list(ref, 'sentences', place)
            except AnnotationError as error:
                handler(error)
                continue
            for j, sentence in enumerate(sentences):
                try:
                    yield _with_sentence(common, sentence, place.at(f', sentences[{j}]'))
                except AnnotationError as error:
                    handler(error)

    def split_sizes(self, content: Any) -> dict[str, Sizes]:
        """Count every split of the file."""
        found: dict[str, list[Any]] = {}
        for ref in content[0]:
            if isinstance(ref, dict) and isinstance(ref.get('sentences'), list):
                found.setdefault(str(ref.get('split')), []).append(ref)
        return {
            split: (
                sum(len(ref['sentences']) for ref in refs),
                len(refs),
                len({str(ref.get('image_id')) for ref in refs}),
            )
            for split, refs in found.items()
        }

    def published(self) -> Sizes:
        """Give the published numbers of the split."""
        return PUBLISHED.get((self.name, self.split_by, self.split), super().published())


def read_refs(path: str | os.PathLike) -> Sequence[Any]:
    """Read a file of references, ``refs(unc).p`` and the like, without running what is in it.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: it asks for code, is damaged or too large, or holds no list.
    """
    file = existing(str(path), LAYOUT)
    try:
        refs = read_pickle(file)
    except PickleError as error:
        raise AnnotationError(str(error)) from None
    if not isinstance(refs, (list, tuple)):
        detail = f'expected a list of references, got {shown(refs)}'
        raise fault('unreadable annotation', Place(str(file)), detail, 'use refs(unc).p')
    return refs


def coco_images_to_leave_out(
    *ref_files: str | os.PathLike, splits: Sequence[str] = ('val', 'testA', 'testB', 'test')
) -> list[int]:
    """COCO images that a detector must not have been trained on before it is evaluated.

    The images of RefCOCO, RefCOCO+ and RefCOCOg are part of COCO train2014, and so of train2017.

    Args:
        ref_files: one or more files of references, as ``refcoco/refs(unc).p``.
        splits: which parts are held out, see :func:`in_split`.

    Returns:
        Image ids of COCO in rising order.

    Raises:
        FileNotFoundError: a file does not exist.
        AnnotationError: a file is not a list of references.
    """
    found = set()
    for path in ref_files:
        for i, ref in enumerate(read_refs(path)):
            place = Place(str(path), f'entry {i}')
            ref_split = get_text(ref, 'split', place)
            if any(in_split(ref_split, split) for split in splits):
                found.add(get_int(ref, 'image_id', place))
    return sorted(found)


def _by_id(instances: dict[str, Any], key: str, file: str) -> dict[Any, tuple[Any, Place]]:
    """Id -> entry and its place. What has no id cannot be referred to."""
    entries = get_list(instances, key, Place(file))
    return {
        entry['id']: (entry, Place(file, f'{key}[{i}]'))
        for i, entry in enumerate(entries)
        if isinstance(entry, dict) and type(entry.get('id')) is int
    }


def _referent(
    ref: Any,
    place: Place,
    images: dict[Any, tuple[Any, Place]],
    annotations: dict[Any, tuple[Any, Place]],
) -> Entry:
    """What the sentences of a reference share; the sentence is missing."""
    ann_id, image_id = get_int(ref, 'ann_id', place), get_int(ref, 'image_id', place)
    for key, value, known in (('ann_id', ann_id, annotations), ('image_id', image_id, images)):
        if value not in known:
            kind = 'unknown annotation' if key == 'ann_id' else 'unknown image'
            detail = f'{value} is not in instances.json'
            raise fault(kind, place.at(f'.{key}'), detail, 'use the instances.json of this dataset')
    annotation, ann_at = annotations[ann_id]
    image, image_at = images[image_id]
    if get(annotation, 'image_id', ann_at) != image_id:
        detail = (
            f'image {image_id}, but the annotation {ann_id} is of {shown(annotation["image_id"])}'
        )
        raise fault('unknown image', place.at('.image_id'), detail)
    sample = {
        # not the reference's own name, which has the number of the annotation in it
        'file_name': get_name(image, 'file_name', image_at),
        'img_id': image_id,
        'ref_id': get_int(ref, 'ref_id', place),
        'ann_id': ann_id,
        'box': get_box(annotation, ann_at),
        'segmentation': annotation.get('segmentation') or None,
    }
    box_at, mask_at = ann_at.at('.bbox'), ann_at.at('.segmentation')
    return Entry(sample, place, box_at, mask_at, get_size(image, image_at))


def _with_sentence(common: Entry, sentence: Any, place: Place) -> Entry:
    said = {
        'sent_id': get_int(sentence, 'sent_id', place),
        'text': get_text(sentence, 'sent', place),
    }
    return common._replace(sample={**common.sample, **said}, text_at=place.at('.sent'))
