"""Evaluate folders of label maps as the benchmark of DAVIS 2017 does.

Source: davisvideochallenge/davis2017-evaluation on GitHub; Ref-DAVIS17 is measured by its
unsupervised task, once for each of the four streams of expressions (ReferFormer, released code).

Letters in shapes: T frames, H, W of a frame, P predicted objects, G annotated ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from .jf import Statistics, assign, frame_scores, statistics

TASKS: Final = ('unsupervised', 'semi-supervised')
VOID: Final = 255
MAX_PROPOSALS: Final = 20


class FolderError(ValueError):
    """A folder of results does not fit the annotation."""


class ObjectScores(NamedTuple):
    """Statistics of one object.

    Attributes:
        name: sequence and number, from 1.
        region: of J.
        contour: of F.
    """

    name: str
    region: Statistics
    contour: Statistics


def evaluate_folders(
    results: str | Path, truth: str | Path, sequences: Sequence[str], task: str = 'unsupervised'
) -> tuple[dict[str, float], list[ObjectScores]]:
    """Evaluate the PNG files ``results/SEQUENCE/FRAME.png``.

    * ``'unsupervised'``: all frames, without the pixels of label 255; of at most 20 proposals each
      annotated object gets the one that suits it best. ``truth`` is
      ``Annotations_unsupervised/480p``.
    * ``'semi-supervised'``: without the first and last frame; labels must agree. ``truth`` is
      ``Annotations/480p``.

    Args:
        results: folder of the predictions; pixels are numbers of objects.
        truth: folder of the annotations.
        sequences: names of folders.
        task: as above.

    Returns:
        ``J&F-Mean``, ``J-Mean``, ``J-Recall``, ``J-Decay``, ``F-Mean``, ``F-Recall``, ``F-Decay``
        in 0-1, means over all objects of all sequences; and the statistics of each object.

    Raises:
        ValueError: unknown task, or no sequence.
        FileNotFoundError: a sequence is not annotated.
        FolderError: a frame is missing, has another size or a label too many, or none is left.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task '{task}'; known: {', '.join(TASKS)}")
    if not sequences:
        raise ValueError('no sequence to evaluate')
    objects: list[ObjectScores] = []
    for name in tqdm(sequences, desc='DAVIS', mininterval=2):
        region, contour = sequence_scores(Path(results) / name, Path(truth) / name, task)
        for number, (j, f) in enumerate(zip(region, contour, strict=True), start=1):
            objects.append(ObjectScores(f'{name}_{number}', statistics(j), statistics(f)))
    summary = {
        f'{measure}-{statistic.capitalize()}': float(
            np.mean([getattr(getattr(each, field), statistic) for each in objects])
        )
        for measure, field in (('J', 'region'), ('F', 'contour'))
        for statistic in Statistics._fields
    }
    return {'J&F-Mean': (summary['J-Mean'] + summary['F-Mean']) / 2, **summary}, objects


def sequence_scores(results: Path, truth: Path, task: str) -> tuple[np.ndarray, np.ndarray]:
    """J and F (G, T) of the annotated objects of one sequence; see :func:`evaluate_folders`."""
    files = sorted(truth.glob('*.png'))
    if not files:
        raise FileNotFoundError(
            f'No annotation: {truth}\nWhat to do: unpack DAVIS 2017 there, resolution 480p.'
        )
    unsupervised = task == 'unsupervised'
    first = _read(files[0])
    num_truth = int(first[first != VOID].max(initial=0))
    if not unsupervised:
        files = files[1:-1]
        if not files:
            raise FolderError(f'{truth}: without the first and last frame, none is left.')
    maps = [_read(results / each.name, first.shape) for each in files]
    num_pred = max((int(each.max()) for each in maps), default=0)
    limit = MAX_PROPOSALS if unsupervised else num_truth
    if num_pred > limit:
        raise FolderError(
            f'{results}: label {num_pred}, but at most {limit} objects may be there.\n'
            'What to do: number the objects from 1, as the annotation of the first frame does.'
        )
    num_pred = max(num_pred, num_truth)
    scores = []
    for file, pred in zip(files, maps, strict=True):
        labels = _read(file, first.shape)
        void = labels == VOID
        # objects that the first frame does not show are not evaluated
        labels = np.where(labels > num_truth, 0, labels)
        ignored = void if unsupervised and void.any() else None
        scores.append(frame_scores(pred, labels, num_pred, num_truth, ignored, unsupervised))
    region, contour = np.moveaxis(np.array(scores), 0, -1)
    return assign(region, contour) if unsupervised else (region, contour)


def _read(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """(H, W) uint8 labels.

    Raises:
        FolderError: there is no such file, or it has another size or kind.
    """
    try:
        with Image.open(path) as image:
            labels = np.array(image)
    except FileNotFoundError as error:
        raise FolderError(
            f'Missing frame: {path}\nWhat to do: write one PNG for every annotated frame.'
        ) from error
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise FolderError(
            f'{path} is no label map of 8 bits, but {image.mode}.\n'
            'What to do: save palette or grey-scale PNG files whose pixels are numbers of objects.'
        )
    if shape is not None and labels.shape != shape:
        raise FolderError(
            f'{path} is {labels.shape} (height, width), the annotation {shape}.\n'
            'What to do: predict at the size of the annotation.'
        )
    return labels
