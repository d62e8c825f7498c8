"""Folders of masks as the servers and the released evaluations expect them.

Letters in shapes: N objects, T frames, H and W of the frames on disk.
"""

import contextlib
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from PIL import Image
from torch import Tensor

from mmvl.engine import write_atomically
from mmvl.registry import METRICS

from .davis_folders import evaluate_folders

STREAMS: Final = 4
"""Sentences about each object of Ref-DAVIS17; sentence i is of object i // 4 and stream i % 4."""
THRESHOLD: Final = 0.5
BACKGROUND: Final = 0.1
MAX_OBJECTS: Final = 254
"""Of a label map of 8 bits, 255 being void."""
DATED: Final = (1980, 1, 1, 0, 0, 0)
"""The same date for all members: the same masks give the same archive."""


class SubmissionError(ValueError):
    """Predictions cannot be written in the form that is asked for."""


class _Sentence(NamedTuple):
    """What is kept of a sentence; its masks are on disk."""

    video: str
    sentence: str
    frames: tuple[str, ...]


@METRICS.register_module()
class RefYouTubeVOSSubmission(BaseMetric):
    """Write what the server of Ref-YouTube-VOS takes; there is nothing to measure.

    Reads ``pred_masks`` (T, H, W) of every data sample. Makes
    ``out_dir/Annotations/VIDEO/SENTENCE/FRAME.png``, grey-scale with 0 and 255, and, at the end,
    ``out_dir/submission.zip`` of the sentences of this run. All processes must see ``out_dir``.

    Args:
        out_dir: folder to make.
    """

    default_prefix: ClassVar[str] = 'submission'

    def __init__(self, out_dir: str) -> None:
        super().__init__(collect_device='cpu')
        self.out_dir = Path(out_dir)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the masks of every sentence.

        Args:
            data_batch: not used.
            data_samples: ``ClipDataSample.to_dict()`` of every sentence.

        Raises:
            SubmissionError: a sample lacks masks, a frame of them, or has them at another size.
        """
        for sample in data_samples:
            entry = _entry(sample)
            masks = _predicted(sample, 'pred_masks')
            for path, mask in zip(self._paths(entry), masks, strict=True):
                _save(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))), path)
            self.results.append(entry)

    def compute_metrics(self, results: list[_Sentence]) -> dict[str, float]:
        """Put the masks of all processes into one archive.

        Raises:
            SubmissionError: there is no sentence, or a mask is missing on disk.
        """
        entries = sorted({_Sentence(*each) for each in results})
        if not entries:
            raise SubmissionError('There is no sentence to submit.')
        paths = [path for entry in entries for path in self._paths(entry)]
        write_atomically(self.out_dir / 'submission.zip', lambda tmp: self._pack(tmp, paths))
        return {}

    def _paths(self, entry: _Sentence) -> Iterator[Path]:
        folder = self.out_dir / 'Annotations' / entry.video / entry.sentence
        return (folder / f'{frame}.png' for frame in entry.frames)

    def _pack(self, target: Path, paths: list[Path]) -> None:
        with zipfile.ZipFile(target, 'w') as archive:  # PNG files do not shrink any further
            for path in paths:
                member = zipfile.ZipInfo(path.relative_to(self.out_dir).as_posix(), DATED)
                member.external_attr = 0o644 << 16
                archive.writestr(member, _existing(path).read_bytes())


@METRICS.register_module()
class RefDAVIS17Submission(BaseMetric):
    """Write the label maps of Ref-DAVIS17, and evaluate them where the truth is given.

    Reads ``pred_probs`` (T, H, W) of every data sample; ``exp_id`` must be the number of the
    sentence, as :func:`.convert_ref_davis` gives it. Makes
    ``out_dir/anno_{0..3}/VIDEO/FRAME.png``, one folder for each stream of sentences: PNG files with
    the palette of DAVIS, whose pixels are numbers of objects, see :func:`merge_objects`. What waits
    for the other objects of a video lies in ``out_dir/parts`` meanwhile. All processes must see
    ``out_dir``.

    Results, of the unsupervised task of DAVIS, in percent: ``J&F``, ``J`` and ``F``, the means of
    the four streams, and those of each stream, such as ``anno_0_J&F``.

    Args:
        out_dir: folder to make.
        truth: ``Annotations_unsupervised/480p`` of DAVIS 2017; without it nothing is measured.

    Source: ReferFormer (Wu et al. 2022), released inference.
    """

    default_prefix: ClassVar[str] = 'davis'

    def __init__(self, out_dir: str, truth: str | None = None) -> None:
        super().__init__(collect_device='cpu')
        self.out_dir = Path(out_dir)
        self.truth = truth

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Put the probabilities of every sentence aside.

        Args:
            data_batch: not used.
            data_samples: ``ClipDataSample.to_dict()`` of every sentence.

        Raises:
            SubmissionError: a sample lacks probabilities, a frame of them, or has them at another
                size; or its ``exp_id`` is no number.
        """
        for sample in data_samples:
            entry = _entry(sample)
            if not entry.sentence.isdecimal():
                raise SubmissionError(
                    f"{_name(sample)}: Ref-DAVIS17 numbers its sentences, '{entry.sentence}' is no "
                    'number.\nWhat to do: convert the dataset with this project.'
                )
            probs = _predicted(sample, 'pred_probs')
            # what cannot win need not be kept, and zeros take no room
            probs = np.where(probs < THRESHOLD, probs.dtype.type(0), probs)
            part = self._part(entry.video, int(entry.sentence))
            write_atomically(part, partial(_store, probs=probs))
            self.results.append(entry)

    def compute_metrics(self, results: list[_Sentence]) -> dict[str, float]:
        """Merge the objects of each video and stream, from all processes.

        Raises:
            SubmissionError: there is no sentence; a video lacks some, has too many objects, or its
                sentences differ in their frames.
            FolderError: the masks do not fit the truth.
        """
        videos: dict[str, dict[int, tuple[str, ...]]] = {}
        for entry in sorted({_Sentence(*each) for each in results}):
            videos.setdefault(entry.video, {})[int(entry.sentence)] = entry.frames
        if not videos:
            raise SubmissionError('There is no sentence to submit.')
        for video, sentences in videos.items():
            _check_video(video, sentences)
        for video, sentences in videos.items():
            for stream in range(STREAMS):
                self._merge(video, sentences, stream)
            for number in sentences:
                self._part(video, number).unlink()
        return self._evaluate(list(videos)) if self.truth else {}

    def _part(self, video: str, number: int) -> Path:
        return self.out_dir / 'parts' / video / f'{number}.npz'

    def _merge(self, video: str, sentences: dict[int, tuple[str, ...]], stream: int) -> None:
        parts = (self._part(video, i) for i in sorted(sentences) if i % STREAMS == stream)
        labels = merge_objects(_load(part) for part in parts)
        for frame, each in zip(sentences[stream], labels, strict=True):
            image = Image.fromarray(each, mode='P')
            image.putpalette(palette().tobytes())
            _save(image, self.out_dir / f'anno_{stream}' / video / f'{frame}.png')

    def _evaluate(self, videos: list[str]) -> dict[str, float]:
        streams = {}
        for stream in range(STREAMS):
            name = f'anno_{stream}'
            found, _ = evaluate_folders(self.out_dir / name, str(self.truth), videos)
            streams[name] = {key: 100 * found[f'{key}-Mean'] for key in ('J&F', 'J', 'F')}
        means = {
            key: float(np.mean([each[key] for each in streams.values()]))
            for key in ('J&F', 'J', 'F')
        }
        return means | {
            f'{name}_{key}': value for name, each in streams.items() for key, value in each.items()
        }


def merge_objects(objects: Iterable[np.ndarray]) -> np.ndarray:
    """Decide which object each pixel belongs to.

    Probabilities below 0.5 count as 0, the background has 0.1, and the highest wins; of equal ones
    that of the lower number.

    Args:
        objects: probabilities (T, H, W) of N objects, at most 254, one after the other.

    Returns:
        (T, H, W) uint8, 0 the background and 1 to N the objects.

    Raises:
        SubmissionError: there is no object, they are too many, or they differ in shape.
    """
    labels = best = None
    for number, probs in enumerate(objects, start=1):
        if labels is None or best is None:
            labels, best = np.zeros(probs.shape, np.uint8), np.full_like(probs, BACKGROUND)
        if probs.shape != labels.shape:
            raise SubmissionError(f'Objects of {labels.shape} and {probs.shape} do not fit.')
        if number > MAX_OBJECTS:
            raise SubmissionError(f'A label map holds at most {MAX_OBJECTS} objects.')
        better = (probs >= THRESHOLD) & (probs > best)
        labels[better] = number
        best[better] = probs[better]
    if labels is None:
        raise SubmissionError('There is no object to merge.')
    return labels


def palette() -> np.ndarray:
    """Colours of PASCAL VOC, which DAVIS has too: (256, 3) uint8.

    The bits of a number, from the lowest, are dealt to red, green and blue in turn, and fill their
    bits from the highest.
    """
    bits = np.arange(256)[:, None] >> np.arange(24) & 1
    return np.packbits(bits.reshape(256, 8, 3), axis=1)[:, 0]


def _store(path: Path, probs: np.ndarray) -> None:
    with path.open('wb') as stream:
        np.savez_compressed(stream, probs=probs)


def _load(part: Path) -> np.ndarray:
    with np.load(_existing(part)) as content:
        return content['probs']


def _check_video(video: str, sentences: dict[int, tuple[str, ...]]) -> None:
    objects = max(sentences) // STREAMS + 1
    missing = sorted(set(range(objects * STREAMS)) - set(sentences))
    if missing:
        numbers = ', '.join(map(str, missing[:8]))
        raise SubmissionError(
            f'{video}: no prediction for sentence {numbers} of {objects * STREAMS}.\n'
            'What to do: predict all four sentences of every object of a video in one run.'
        )
    if len(set(sentences.values())) > 1:
        raise SubmissionError(
            f'{video}: its sentences were predicted on different frames.\n'
            'What to do: let the dataset give the whole video (test_mode=True).'
        )


def _entry(sample: dict) -> _Sentence:
    return _Sentence(sample['video_id'], str(sample['exp_id']), tuple(sample['frame_names']))


def _name(sample: dict) -> str:
    return f'video {sample["video_id"]}, sentence {sample["exp_id"]}'


def _predicted(sample: dict, field: str) -> np.ndarray:
    """A field (T, H, W) of a sample, of all of its frames at the size on disk."""
    value = sample.get(field)
    if value is None:
        raise SubmissionError(
            f'{_name(sample)}: no {field}.\n'
            'What to do: see that test_cfg.mode of the model fits the dataset.'
        )
    array = value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    expected = (len(sample['frame_names']), *sample['ori_shape'])
    if array.shape != expected:
        raise SubmissionError(
            f'{_name(sample)}: {field} is {array.shape}, the video {expected} (frames, height, '
            'width).\nWhat to do: predict every frame at its size on disk.'
        )
    return array


def _save(image: Image.Image, path: Path) -> None:
    """Write a PNG file that appears only when it is complete.

    Not by :func:`write_atomically`: tens of thousands of files need not be forced to the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp.{os.getpid()}')
    try:
        image.save(temporary, format='PNG')
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SubmissionError(
            f'Missing: {path}\n'
            'What to do: give all processes an out_dir on one file system, and leave it alone.'
        )
    return path
