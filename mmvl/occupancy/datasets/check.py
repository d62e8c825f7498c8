"""What is wrong with, and what is in, an occupancy dataset."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmvl.engine.annotation_files import AnnotationError
from mmvl.engine.data_check import Problem, Report
from mmvl.engine.images import check_images, missing_files

from .infos import Frame
from .labels import FORMS, label_path, read_labels, read_ray_mask
from .points import read_points

if TYPE_CHECKING:
    from .nuscenes import NuScenesOccupancyDataset

LONGEST_GAP = 1_000_000
"""Microseconds between frames of a scene above which something is missing; 2 Hz are usual."""


def check_occupancy(dataset: 'NuScenesOccupancyDataset', images: bool) -> Report:
    """List all that is wrong with the info file, the images, the point clouds and the labels.

    Args:
        dataset: one that is not loaded, and need not be loadable.
        images: whether to look at all files; the info file alone otherwise.
    """
    report = Report(dataset.ann_file)
    faults: list[AnnotationError] = []
    try:
        frames = dataset.frames(faults.append)
    except (OSError, AnnotationError) as error:
        kind = getattr(error, 'kind', 'missing annotation')
        detail = getattr(error, 'detail', '') or str(error).splitlines()[0].removesuffix('.')
        report.problems.append(Problem(kind, dataset.ann_file, '', detail))
        return report
    report.problems += [Problem(f.kind, f.file, f.where, f.detail) for f in faults]
    report.problems += _gaps(report.file, frames, dataset.load_interval)
    report.counts = {
        'samples': len(frames),
        'scenes': len({frame.scene_token for frame in frames}),
        'cameras': len(dataset.cameras),
    }
    if images:
        report.problems += _image_problems(dataset, frames)
        report.problems += _cloud_problems(dataset, frames)
        report.problems += _label_problems(dataset, frames, report)
    return report


def _gaps(file: str, frames: Sequence[Frame], interval: int) -> Iterator[Problem]:
    """Notes on scenes that lack frames, over which history is carried all the same."""
    for before, frame in zip(frames, frames[1:], strict=False):
        if before.scene_token != frame.scene_token:
            continue
        gap = frame.timestamp - before.timestamp
        skips = frame.previous_token not in (None, before.token) and interval == 1
        if skips or gap > LONGEST_GAP * interval:
            detail = f'{gap / 1e6:.1f} s after sample {before.token} of its scene'
            yield Problem('gap in a scene', file, frame.where, detail, False)


def _image_problems(
    dataset: 'NuScenesOccupancyDataset', frames: Sequence[Frame]
) -> Iterator[Problem]:
    owners = {file: frame.where for frame in frames for file in dataset.image_files(frame)}
    files = list(owners)
    gone = {files[i] for i in missing_files(files)}
    for file in sorted(gone):
        yield Problem('missing image', file, owners[file], 'there is no such file')
    there = [file for file in files if file not in gone]
    for file, result in zip(there, check_images(there), strict=True):
        for kind, detail, is_error in result.findings:
            yield Problem(kind, file, owners[file], detail, is_error)


def _cloud_problems(
    dataset: 'NuScenesOccupancyDataset', frames: Sequence[Frame]
) -> Iterator[Problem]:
    for frame in frames:
        try:
            read_points(dataset.lidar_file(frame))
        except AnnotationError as error:
            yield Problem(error.kind, error.file, frame.where, error.detail)


def _label_problems(
    dataset: 'NuScenesOccupancyDataset', frames: Sequence[Frame], report: Report
) -> Iterator[Problem]:
    classes = FORMS[dataset.labels].classes
    voxels: Counter[int] = Counter()
    for frame in frames:
        try:
            path = label_path(frame, dataset.labels, dataset.label_root)
            labels = read_labels(path, dataset.labels, dataset.grid)
            if dataset.ray_mask_root:
                mask = label_path(frame, dataset.labels, Path(dataset.ray_mask_root))
                read_ray_mask(mask, dataset.grid)
        except AnnotationError as error:
            yield Problem(error.kind, error.file, frame.where, error.detail)
            continue
        numbers, counts = np.unique(labels['gt_semantics'], return_counts=True)
        voxels.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
    report.classes['voxels'] = {name: voxels[number] for number, name in enumerate(classes)}
