"""Flickr30k Entities: phrases of captions, and the boxes of what they name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

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
    read_text,
)
from .index import image_number
from .mdetr import by_image
from .published import PUBLISHED

LAYOUT = (
    'data/flickr30k/{Annotations/ID.xml, Sentences/ID.txt, train.txt, val.txt, test.txt, '
    'flickr30k_images}, or a JSON file of MDETR'
)
# what begins a phrase, and a whole one: [/EN#283585/people/clothing A young child]
OPENING = '[/EN#'
PHRASE = re.compile(r'\[/EN#([0-9]{1,18})(?:/[^\s/\]]+)*\s+(.+?)\](?=\s|$)')
SMALL = 1 << 20
"""Bytes that the annotation of one image has at most; the released ones have some thousand."""

Boxes = dict[int, list[list[int]]]


@DATASETS.register_module()
class Flickr30kEntities(ReferringDataset):
    """One sample per phrase that has a box.

    A phrase can have several boxes: ``boxes`` (K, 4) float32 xyxy are all of them, ``box`` is the
    smallest one around them. ``ref_id`` is the coreference chain of the phrase (its number among
    the phrases in MDETR's form), ``sent_id`` the phrase's number in the file.

    The XML files count pixels from 1; 1 is subtracted from all four values, as the released reader
    does, which leaves a box of n pixels n - 1 wide.

    Args:
        split: 'train', 'val' or 'test'.
        ann_file: list of image ids beside the folders ``Annotations`` and ``Sentences``, by
            default ``{split}.txt``; or a JSON file of MDETR, such as
            ``mdetr_annotations/final_flickr_separateGT_val.json``.
        data_prefix: by default ``flickr30k_images`` in ``data_root``.
        **kwargs: as in :class:`ReferringDataset`.
    """

    def __init__(
        self,
        *,
        split: str,
        ann_file: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name='flickr30k',
            split=split,
            ann_file=ann_file or f'{split}.txt',
            data_prefix=data_prefix or {'img': 'flickr30k_images'},
            **kwargs,
        )

    def load(self) -> dict[str, Any] | list[str]:
        """Read the JSON file, or the list of image ids."""
        file = existing(self.ann_file, LAYOUT)
        return load_json(file) if file.suffix == '.json' else read_text(file).split()

    def entries(self, content: Any, handler: Handler) -> Iterator[Entry]:
        """Give the phrases of the split."""
        found = self._of_json if isinstance(content, dict) else self._of_folders
        for sent_id, entry in enumerate(found(content, handler)):
            numbers = {'sent_id': sent_id, 'ann_id': -1, 'segmentation': None}
            numbers.setdefault('ref_id', sent_id)
            yield entry._replace(sample={**numbers, **entry.sample})

    def published(self) -> Sizes:
        """Give the published numbers of the split."""
        return PUBLISHED.get(('flickr30k', '', self.split), super().published())

    def _of_folders(self, ids: list[str], handler: Handler) -> Iterator[Entry]:
        root = Path(self.ann_file).parent
        for i, name in enumerate(ids):
            place = Place(self.ann_file, f'entry {i}')
            try:
                if not re.fullmatch('[0-9]{1,18}', name):
                    detail = f'expected the number of an image, got {shown(name)}'
                    raise fault('malformed entry', place, detail)
                boxes, size = read_boxes(root / 'Annotations' / f'{name}.xml')
                phrases = read_phrases(root / 'Sentences' / f'{name}.txt')
            except AnnotationError as error:
                handler(error)
                continue
            boxes_at = Place(str(root / 'Annotations' / f'{name}.xml'))
            for chain, text, text_at in phrases:
                if chain in boxes:
                    sample = {
                        'file_name': f'{name}.jpg',
                        'img_id': int(name),
                        'ref_id': chain,
                        'text': text,
                        **_merged(boxes[chain]),
                    }
                    box_at = boxes_at.at(f'chain {chain}')
                    yield Entry(sample, text_at, box_at, boxes_at, size)

    def _of_json(self, content: dict[str, Any], handler: Handler) -> Iterator[Entry]:
        annotations = by_image(content, self.ann_file, handler)
        for i, image in enumerate(get_list(content, 'images', Place(self.ann_file))):
            place = Place(self.ann_file, f'images[{i}]')
            try:
                yield from _of_image(image, place, annotations)
            except AnnotationError as error:
                handler(error)


def _merged(boxes: list[Any]) -> dict[str, np.ndarray]:
    """All boxes of a phrase and the one around them."""
    each = np.array(boxes, dtype=np.float32)
    around = np.concatenate((each[:, :2].min(axis=0), each[:, 2:].max(axis=0)))
    return {'boxes': each, 'box': around}


def _of_image(
    image: Any, place: Place, annotations: dict[int, list[tuple[Any, Place]]]
) -> Iterator[Entry]:
    """Phrases of one sentence in MDETR's form: spans of characters, and boxes that name them."""
    caption = get_text(image, 'caption', place)
    file_name = get_name(image, 'file_name', place)
    image_id = get_int(image, 'id', place)
    spans = get_list(image, 'tokens_positive_eval', place)
    size = get_size(image, place)
    boxes: dict[int, list[np.ndarray]] = {}
    places: dict[int, Place] = {}
    for annotation, ann_at in annotations.get(image_id, []):
        for number in get_list(annotation, 'phrase_ids', ann_at):
            if type(number) is not int or not 0 <= number < len(spans):
                detail = f'{shown(number)} is none of the {len(spans)} phrases'
                raise fault('unknown phrase', ann_at.at('.phrase_ids'), detail)
            boxes.setdefault(number, []).append(get_box(annotation, ann_at))
            places.setdefault(number, ann_at.at('.bbox'))
    for number in sorted(boxes):
        text_at = place.at(f'.tokens_positive_eval[{number}]')
        sample = {
            'file_name': file_name,
            'img_id': image_number(file_name, image_id),
            'text': _spanned(caption, spans[number], text_at),
            **_merged(boxes[number]),
        }
        yield Entry(sample, text_at, places[number], place, size)


def _spanned(caption: str, spans: Any, place: Place) -> str:
    """The words between pairs of character positions."""
    fits = isinstance(spans, list) and all(
        isinstance(span, list)
        and len(span) == 2
        and all(type(v) is int for v in span)
        and 0 <= span[0] <= span[1] <= len(caption)
        for span in spans
    )
    if not fits:
        detail = f'expected pairs of positions in {len(caption)} characters, got {shown(spans)}'
        raise fault('malformed entry', place, detail)
    return ' '.join(caption[start:end] for start, end in spans)


def read_phrases(file: Path) -> list[tuple[int, str, Place]]:
    """Chain, words and place of every phrase of ``Sentences/ID.txt``.

    Raises:
        AnnotationError: the file is missing, no text, or a phrase in it is not marked as phrases
            are.
    """
    found = []
    for i, line in enumerate(_small_text(file).split('\n')):
        place = Place(str(file), f'line {i + 1}')
        phrases = PHRASE.findall(line)
        if len(phrases) != line.count(OPENING):
            detail = f'expected [/EN#chain/type words] for each phrase, got {shown(line)}'
            raise fault('malformed entry', place, detail)
        found += [(int(chain), ' '.join(words.split()), place) for chain, words in phrases]
    return found


def read_boxes(file: Path) -> tuple[Boxes, tuple[int, int]]:
    """Chain -> boxes of ``Annotations/ID.xml``, and (height, width) of the image.

    A file that declares anything (a document type, entities) is refused: what such declarations
    expand to is bounded by nothing, and the released files have none.

    Raises:
        AnnotationError: the file is missing, no XML, has declarations, or lacks a number.
    """
    place = Place(str(file))
    text = _small_text(file)
    # the parser would find out by itself that a text with zeros is UTF-16, which hides these words
    if any(sign in text for sign in ('<!DOCTYPE', '<!ENTITY', '\0')):
        detail = 'has a document type, entities or zeros, which annotations do not need'
        raise fault('unreadable annotation', place, detail, 'fetch the file again')
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        detail = f'not valid XML: {error}'
        raise fault('unreadable annotation', place, detail, 'fetch the file again') from None
    size = _number(root, 'size/height', place), _number(root, 'size/width', place)
    boxes: Boxes = {}
    for i, thing in enumerate(root.findall('object')):
        object_at = place.at(f'object {i + 1}')
        if thing.find('bndbox') is None:
            continue
        box = [
            _number(thing, f'bndbox/{key}', object_at) - 1
            for key in ('xmin', 'ymin', 'xmax', 'ymax')
        ]
        for name in thing.findall('name'):
            boxes.setdefault(_as_number(name.text, object_at.at(', name')), []).append(box)
    return boxes, size


def _number(element: ElementTree.Element, path: str, place: Place) -> int:
    return _as_number(element.findtext(path), place.at(f', {path}' if place.field else path))


def _as_number(text: str | None, place: Place) -> int:
    if text is None or not re.fullmatch('[0-9]{1,9}', text.strip()):
        raise fault('malformed entry', place, f'expected a number, got {shown(text)}')
    return int(text)


def _small_text(file: Path) -> str:
    place = Place(str(file))
    if not file.is_file():
        raise fault('missing annotation', place, 'there is no such file', 'complete the folder')
    if file.stat().st_size > SMALL:
        detail = f'{file.stat().st_size:,} bytes are more than one image needs'
        raise fault('unreadable annotation', place, detail, 'fetch the file again')
    return read_text(file)
