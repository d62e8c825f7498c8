"""What is wrong with, and what is in, a dataset of videos with referring expressions."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmvl.engine.annotation_files import AnnotationError
from mmvl.engine.data_check import Problem, Report
from mmvl.engine.images import check_images, missing_files
from mmvl.structures.masks import MaskError
from mmvl.video.decode import VideoError, iterate_frames

from .masks import read_a2d, read_ids, read_jhmdb

if TYPE_CHECKING:
    from .base import ReferringVideoDataset

VOID = 255
Size = tuple[int, int]


def check_videos(dataset: 'ReferringVideoDataset', images: bool) -> Report:
    """List all that is wrong with the annotation files of a dataset, its frames and masks.

    Errors are what training or testing refuses, replaces or misreads; notes are worth knowing. An
    annotation file that cannot be read at all is the only problem of its report.

    Args:
        dataset: one that is not loaded, and need not be loadable.
        images: whether to look for frames and masks and decode them.
    """
    report = Report(dataset.ann_file)
    faults: list[AnnotationError] = []
    try:
        entries = list(dataset.entries(faults.append))
    except (OSError, AnnotationError) as error:
        kind = 'missing' if isinstance(error, FileNotFoundError) else 'unreadable'
        detail = getattr(error, 'detail', '') or _first_line(error)
        report.problems.append(Problem(f'{kind} annotation', dataset.ann_file, '', detail))
        return report
    report.problems += [Problem(f.kind, f.file, f.where, f.detail) for f in faults]
    if images:
        report.problems += _media_problems(dataset, entries)
    found = {
        'sentences': len(entries),
        'videos': len({entry['video_id'] for entry in entries}),
    }
    report.counts = {
        **found,
        'objects': len({(entry['video_id'], entry['obj_id']) for entry in entries}),
    }
    others = [
        f'{found[key]:,} {key} of {count:,}'
        for key, count in dataset.published()._asdict().items()
        if count is not None and count != found[key]
    ]
    if others:
        detail = f'{", ".join(others)} published for {dataset.name} {dataset.split}'
        report.problems.append(Problem('not as published', report.file, '', detail, False))
    return report


def _media_problems(
    dataset: 'ReferringVideoDataset', entries: Sequence[dict[str, Any]]
) -> Iterator[Problem]:
    """Look at every frame and mask, once each."""
    owners = {file: entry for entry in entries for file in dataset.files(entry)}
    files = list(owners)
    gone = {files[i] for i in missing_files(files)}
    for file in sorted(gone):
        yield Problem('missing file', file, owners[file]['where'], 'there is no such file')
    # all frames of the video, not a drawn clip
    dataset.test_mode = True
    clips = []
    for entry in entries:
        if not gone.isdisjoint(dataset.files(entry)):
            continue
        try:
            clips.append((entry, dataset.clip(entry, np.random.default_rng(0))))
        except VideoError as error:
            yield Problem(error.kind, dataset.ann_file, entry['where'], _first_line(error))
    sizes: dict[str, Size | None] = {}
    yield from _frame_problems(clips, sizes)
    yield from _mask_problems(dataset.ann_file, clips, sizes)


def _frame_problems(
    clips: Sequence[tuple[dict[str, Any], dict[str, Any]]], sizes: dict[str, Size | None]
) -> Iterator[Problem]:
    paths = {path: entry for entry, clip in clips for path in clip.get('img_paths', ())}
    for path, result in zip(paths, check_images(list(paths)), strict=True):
        sizes[path] = result.size
        for kind, detail, is_error in result.findings:
            yield Problem(kind, path, paths[path]['where'], detail, is_error)
    for entry, clip in clips:
        if (path := clip.get('video_path')) and path not in sizes:
            try:
                sizes[path] = next(iterate_frames(path))[1].shape[:2]
            except VideoError as error:
                sizes[path] = None
                yield Problem(error.kind, path, entry['where'], _first_line(error))
    seen: set[str] = set()
    for entry, clip in clips:
        first = clip.get('img_paths', [''])[0]
        for path in clip.get('img_paths', ()):
            size, expected = sizes[path], sizes[first]
            if path not in seen and size and expected and size != expected:
                detail = f'{_shape(size)} pixels, the first of the clip {_shape(expected)}'
                yield Problem('other frame size', path, entry['where'], detail)
            seen.add(path)


def _mask_problems(
    file: str,
    clips: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    sizes: dict[str, Size | None],
) -> Iterator[Problem]:
    known: dict[str, set[int]] = {}
    for entry, _ in clips:
        known.setdefault(entry['video_id'], set()).add(entry['obj_id'])
    ids: dict[str, set[int]] = {}
    for entry, clip in clips:
        sources = clip.get('mask_sources', [])
        frames = clip.get('img_paths') or [clip['video_path']] * len(clip['frame_names'])
        if clip['target'] is not None:
            frames = frames[clip['target'] :]
        visible = False
        for source, frame in zip(sources, frames, strict=False):
            path = source['path']
            if source['form'] == 'png' and path in ids:
                visible |= source['obj_id'] in ids[path]
                continue
            try:
                mask = _pixels(source)
            except MaskError as error:
                ids[path] = set()
                yield Problem('bad mask', path, entry['where'], _first_line(error))
                continue
            if (size := sizes[frame]) and mask.shape != size:
                detail = f'{_shape(mask.shape)} pixels, the frame {_shape(size)}'
                yield Problem('other mask size', path, entry['where'], detail)
            if source['form'] != 'png':
                visible |= bool(mask.any())
                continue
            ids[path] = set(np.unique(mask).tolist())
            visible |= source['obj_id'] in ids[path]
            if spare := ids[path] - known[entry['video_id']] - {0, VOID}:
                detail = f'no sentence is about {", ".join(map(str, sorted(spare)))}'
                yield Problem('unknown ids in a mask', path, entry['where'], detail, False)
        if sources and not visible:
            detail = f'object {entry["obj_id"]} is in no frame'
            yield Problem('never visible', file, entry['where'], detail)


def _pixels(source: dict[str, Any]) -> np.ndarray:
    if source['form'] == 'png':
        return read_ids(source['path'])
    if source['form'] == 'a2d':
        return read_a2d(source['path'], source['instance'])[0]
    return read_jhmdb(source['path'], source['frame'])


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removesuffix('.')


def _shape(size: Sequence[int]) -> str:
    return f'{size[1]} x {size[0]}'
