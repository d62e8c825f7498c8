"""What all datasets of videos with referring expressions have in common."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from mmengine.logging import print_log

from mmvl.engine.annotation_files import SEE_CHECK, AnnotationError, Handler, fault, stop
from mmvl.engine.data_check import Report
from mmvl.engine.images import missing_files
from mmvl.engine.seeded_dataset import SeededDataset
from mmvl.registry import TRANSFORMS

from .check import check_videos

TRIES = 100
"""Samples that are tried in training until the referent is to be seen in one."""

Sample = dict[str, Any]


class Counts(NamedTuple):
    """Numbers of sentences and videos of a released split; None where not published."""

    sentences: int | None = None
    videos: int | None = None


class ReferringVideoDataset(SeededDataset):
    """Videos with sentences, each of which refers to one thing in its video.

    A sample is one clip and one sentence. Before the pipeline it holds ``video_id``, ``exp_id``,
    ``obj_id`` (-1 where it is kept secret), ``text`` (lower case, one space between words),
    ``dataset``, ``split``, ``frame_names`` (T names without suffix), ``target`` (position of the
    one annotated frame, or None where all are), ``image_id`` (of that frame in COCO's files, or
    ''), ``rng``, and the frames as ``img_paths`` or as ``video_path`` and ``frame_ids``. Where
    there are annotations, ``mask_sources`` has one entry for each frame, or only for the target.

    In training, a sample in which no frame shows the referent is replaced by another, as in the
    released code; a transform says so by returning None. In test mode nothing is replaced.

    Where there is a pipeline, all files of frames must exist when the dataset is built.

    Every random draw is from ``rng``, a generator seeded by (``seed``, ``epoch``, index of the
    sample): a clip and its augmentation depend on nothing else.

    Args:
        name: which dataset.
        split: which part.
        num_frames: T of a clip.
        pipeline: transforms, or configs of transforms in the registry of mmvl.
        **kwargs: as in :class:`mmengine.dataset.BaseDataset`: ``ann_file``, ``data_root``,
            ``data_prefix``, ``test_mode``, ``indices``, ``serialize_data``, ...

    Raises:
        FileNotFoundError: an annotation file or frames are missing.
        AnnotationError: an annotation file is damaged, or of another form.
        ValueError: an option is out of range.
    """

    layout = ''

    def __init__(
        self,
        *,
        name: str,
        split: str,
        num_frames: int = 5,
        pipeline: list | tuple = (),
        **kwargs: Any,
    ) -> None:
        if num_frames < 1:
            raise ValueError(f'num_frames must be at least 1, got {num_frames}')
        self.name, self.split, self.num_frames = name, split, num_frames
        self._told = False
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        super().__init__(pipeline=steps, **kwargs)

    @abstractmethod
    def entries(self, handler: Handler) -> Iterator[Sample]:
        """Read the files; give each sentence, and faults to ``handler``.

        Yields:
            ``where`` (its place in the file), ``video_id``, ``exp_id``, ``obj_id``, ``text``,
            ``image_id``, and what :meth:`clip` needs.

        Raises:
            FileNotFoundError: a file does not exist.
            AnnotationError: a file cannot be read.
        """

    @abstractmethod
    def clip(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Choose the frames: ``frame_names``, their files, ``mask_sources`` and ``target``."""

    @abstractmethod
    def files(self, sample: Sample) -> list[str]:
        """Give the files of all frames, or of the video, that belong to a sentence."""

    def published(self) -> Counts:
        """Give the published numbers of the split."""
        return Counts()

    def expand(self, sample: Sample) -> Iterator[Sample]:
        """Give the samples of one sentence."""
        yield sample

    def load_data_list(self) -> list[Sample]:
        """Read the files.

        Raises:
            FileNotFoundError: a file or frames are missing.
            AnnotationError: something is malformed, or the split is empty.
        """
        entries = list(self.entries(stop))
        if not entries:
            remedy = f'check file and split; {SEE_CHECK}'
            detail = f'there is no sentence in split {self.split!r}'
            raise fault('unreadable annotation', self.ann_file, '', detail, remedy)
        if self.pipeline.transforms:
            self._require_frames(entries)
        return [sample for entry in entries for sample in self.expand(entry)]

    def _require_frames(self, entries: list[Sample]) -> None:
        files = list(dict.fromkeys(file for entry in entries for file in self.files(entry)))
        gone = [files[i] for i in missing_files(files)]
        if gone:
            more = ', ...' if len(gone) > 3 else ''
            raise FileNotFoundError(
                f'{self.ann_file}: {len(gone)} of {len(files)} files of frames are missing: '
                f'{", ".join(gone[:3])}{more}\n'
                f'What to do: set data_root; expected {self.layout}; {SEE_CHECK}.'
            )

    def prepare_data(self, idx: int) -> Any:
        """Give the sample its generator, draw its clip and go on; see the class for the rest.

        Raises:
            AnnotationError: :data:`TRIES` samples in a row do not show what they refer to.
        """
        rng = self.generator(self.get_data_info(idx))
        if self.test_mode:
            return self.pipeline(self._sample(idx, rng))
        return until_visible(
            lambda i: self.pipeline(self._sample(i, rng)), idx, len(self), rng, self._tell
        )

    def _sample(self, idx: int, rng: np.random.Generator) -> Sample:
        sample = {**self.get_data_info(idx), 'dataset': self.name, 'split': self.split, 'rng': rng}
        sample.update(self.clip(sample, rng))
        return sample

    def _tell(self, idx: int) -> None:
        if not self._told:
            sample = self.get_data_info(idx)
            warn_invisible(f'{self.ann_file}, {sample["where"]}')
        self._told = True

    def __getitem__(self, idx: int) -> Any:
        """Give the sample of an index; MMEngine's retries would draw outside of ``rng``."""
        if not self._fully_initialized:
            self.full_init()
        return self.prepare_data(idx)

    @classmethod
    def check(cls, images: bool = True, **config: Any) -> Report:
        """List all that is wrong with the files of a dataset, which need not be loadable.

        Args:
            images: also look for the frames and masks, and decode them.
            **config: as in a config; a pipeline is not needed.
        """
        return check_videos(cls(**{**config, 'pipeline': (), 'lazy_init': True}), images)


def until_visible(
    make: Callable[[int], Any],
    idx: int,
    length: int,
    rng: np.random.Generator,
    tell: Callable[[int], None],
) -> Any:
    """Make samples, the first of a given index, the others drawn, until one is not None.

    Raises:
        AnnotationError: none of :data:`TRIES` was.
    """
    for _ in range(TRIES):
        made = make(idx)
        if made is not None:
            return made
        tell(idx)
        idx = int(rng.integers(length))
    error = AnnotationError(
        f'{TRIES} samples in a row do not show what they refer to.\nWhat to do: {SEE_CHECK}.'
    )
    error.kind = 'never visible'
    raise error


def warn_invisible(where: str) -> None:
    """Say that a sample does not show its referent."""
    print_log(
        f'{where}: no frame of the clip shows what the sentence refers to; another sample is '
        'taken, as often as this happens; this is said once',
        logger='current',
        level=logging.WARNING,
    )
