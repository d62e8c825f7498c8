"""What is wrong with, and what is in, a dataset of referring expressions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mmengine.fileio import join_path

from mmvl.engine.data_check import Problem, Report
from mmvl.engine.images import check_images
from mmvl.structures.masks import MaskError, decode_segmentation

from .fields import AnnotationError, Entry, Place

if TYPE_CHECKING:
    from .base import ReferringDataset

EDGE = 1.0
"""Pixels by which a box or a mask may exceed its image without a word: two pixel conventions."""
LONG = 100
"""Words of a sentence that no published text encoder sees whole."""

Size = tuple[int, int]
Key = TypeVar('Key')


def defect(entry: Entry) -> str | None:
    """What makes a sentence useless for training: 'empty sentence', 'box without area' or None."""
    if not entry.sample['text'].strip():
        return 'empty sentence'
    boxes = entry.sample.get('boxes', entry.sample['box'][None])
    return None if (boxes[:, 2:] > boxes[:, :2]).all() else 'box without area'


def check_referring(dataset: 'ReferringDataset', images: bool) -> Report:
    """List all that is wrong with the annotation files of a dataset and its images.

    Errors are what training or testing refuses, drops or misreads; notes are worth knowing. An
    annotation file that cannot be read at all is the only problem of its report.

    Args:
        dataset: one that is not loaded, and need not be loadable.
        images: whether to look for the image files and decode them.
    """
    report = Report(dataset.ann_file)
    faults: list[AnnotationError] = []
    try:
        content = dataset.load()
        entries = list(dataset.entries(content, faults.append))
    except (OSError, AnnotationError) as error:
        kind = 'missing' if isinstance(error, FileNotFoundError) else 'unreadable'
        detail = getattr(error, 'detail', '') or str(error).splitlines()[0]
        report.problems.append(Problem(f'{kind} annotation', dataset.ann_file, '', detail))
        return report
    report.problems += [_problem(f.kind, f.place, f.detail) for f in faults]
    sizes = {e.sample['file_name']: e.size for e in entries if e.size is not None}
    if images:
        report.problems += _image_problems(entries, dataset.data_prefix['img'] or '', sizes)
    report.problems += _sentence_problems(entries)
    report.problems += _box_problems(entries, sizes)
    report.problems += _mask_problems(entries, sizes)
    _count(dataset, content, entries, report)
    return report


def _image_problems(
    entries: Sequence[Entry], folder: str, sizes: dict[str, Size]
) -> Iterator[Problem]:
    """Look at every image, and replace the declared sizes by those of the files."""
    first = dict(_first(entries, lambda entry: entry.sample['file_name']))
    names = sorted(first)
    paths = [join_path(folder, name) for name in names]
    for name, path, result in zip(names, paths, check_images(paths), strict=True):
        where = first[name].text_at.field
        for kind, detail, is_error in result.findings:
            yield Problem(kind, path, where, detail, is_error)
        declared = sizes.get(name, result.size)
        if result.size is None:
            continue
        if declared != result.size and declared is not None:
            detail = f'{_shape(result.size)} pixels, but {_shape(declared)} in the annotation'
            yield Problem('other image size', path, where, detail)
        sizes[name] = result.size


def _sentence_problems(entries: Sequence[Entry]) -> Iterator[Problem]:
    seen: dict[int, Place] = {}
    for entry in entries:
        text, sent_id = entry.sample['text'], entry.sample['sent_id']
        if not text.strip():
            yield _problem('empty sentence', entry.text_at, 'a sentence without a word')
        elif (words := len(text.split())) > LONG:
            detail = f'{words:,} words, which a tokenizer cuts'
            yield _problem('long sentence', entry.text_at, detail, False)
        if sent_id in seen:
            detail = f'{sent_id}, as {seen[sent_id].field}'
            yield _problem('duplicate sentence id', entry.text_at, detail)
        seen.setdefault(sent_id, entry.text_at)


def _box_problems(entries: Sequence[Entry], sizes: dict[str, Size]) -> Iterator[Problem]:
    for place, entry in _first(entries, lambda entry: entry.box_at):
        size = sizes.get(entry.sample['file_name'])
        for box in entry.sample.get('boxes', entry.sample['box'][None]).tolist():
            found = _box_problem(box, size)
            if found is not None:
                inside = f' in {_shape(size)} pixels' if size else ''
                detail = f'[{", ".join(f"{v:g}" for v in box)}]{inside}'
                yield _problem(found[0], place, detail, found[1])


def _box_problem(box: Sequence[float], size: Size | None) -> tuple[str, bool] | None:
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return 'box without area', True
    if size is None:
        return None
    height, width = size
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return 'box outside its image', True
    if min(x1, y1) < -EDGE or x2 > width + EDGE or y2 > height + EDGE:
        return 'box beyond the edge', False
    return None


def _mask_problems(entries: Sequence[Entry], sizes: dict[str, Size]) -> Iterator[Problem]:
    for place, entry in _first(entries, lambda entry: entry.mask_at):
        size, segmentation = sizes.get(entry.sample['file_name']), entry.sample['segmentation']
        if size is None or segmentation is None:
            continue
        try:
            if not decode_segmentation(segmentation, *size).any():
                yield _problem('bad mask', place, 'no pixel is in it')
        except MaskError as error:
            yield _problem('bad mask', place, str(error).splitlines()[0].removesuffix('.'))


def _first(entries: Sequence[Entry], key: Callable[[Entry], Key]) -> Iterable[tuple[Key, Entry]]:
    """Each value of a key, and the first entry that has it."""
    found: dict[Key, Entry] = {}
    for entry in entries:
        found.setdefault(key(entry), entry)
    return found.items()


def _problem(kind: str, place: Place, detail: str, is_error: bool = True) -> Problem:
    return Problem(kind, place.file, place.field, detail, is_error)


def _shape(size: Sequence[int]) -> str:
    return f'{size[1]} x {size[0]}'


def _count(
    dataset: 'ReferringDataset', content: Any, entries: Sequence[Entry], report: Report
) -> None:
    samples = [entry.sample for entry in entries]
    found = {
        'sentences': len(samples),
        'referents': len({(s['file_name'], s['ref_id']) for s in samples}),
        'images': len({s['file_name'] for s in samples}),
    }
    report.counts = {
        **found,
        'with a mask': sum(s['segmentation'] is not None for s in samples),
        'with several boxes': sum(len(s.get('boxes', ())) > 1 for s in samples),
    }
    sizes = dataset.split_sizes(content)
    for group, numbers in zip(found, zip(*sizes.values(), strict=True), strict=bool(sizes)):
        report.classes[f'{group} by split'] = dict(zip(sizes, numbers, strict=True))
    published = dict(zip(found, dataset.published(), strict=True))
    others = [
        f'{found[key]:,} {key} of {count:,}'
        for key, count in published.items()
        if count is not None and count != found[key]
    ]
    if others:
        detail = f'{", ".join(others)} published for {dataset.name} {dataset.split}'
        report.problems.append(Problem('not as published', report.file, '', detail, False))
