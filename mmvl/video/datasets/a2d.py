"""A2D-Sentences."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.fileio import join_path

from mmvl.engine.annotation_files import AnnotationError, Handler, fault
from mmvl.registry import DATASETS
from mmvl.video.decode import VideoError, count_frames

from .base import ReferringVideoDataset, Sample
from .fields import file_part, load_json, of_kind, sentence
from .sampling import centred_window, training_clip

SPLITS = ('train', 'test')
ROW = '[sentence, video, frame from 1, object]'


def a2d_image_id(video: str, frame: int, instance: int) -> str:
    """Name an annotated frame and object in the COCO file; frames count from 1."""
    return f'v_{video}_f_{frame}_i_{instance}'


@DATASETS.register_module()
class A2DSentences(ReferringVideoDataset):
    """A2D-Sentences (Gavrilyuk et al., CVPR 2018): videos in which some frames are annotated.

    There is one sample per sentence and annotated frame, which is its ``target``; frames are named
    by their number from 1. Clips are drawn round it in training, see
    :func:`.sampling.training_clip`; in test mode they are the frames round it.

    Args:
        split: 'train' or 'test'.
        ann_file: by default ``a2d_sentences_single_frame_{split}_annotations.json``, rows of
            sentence, video, frame (from 1) and object; :func:`.coco_form.a2d_single_frames` makes
            it.
        data_prefix: ``dict(video=..., mask=...)``, by default as released.
        **kwargs: as in :class:`ReferringVideoDataset`.
    """

    layout = (
        'a2d_sentences_single_frame_SPLIT_annotations.json, Release/clips320H/VIDEO.mp4 and '
        'text_annotations/a2d_annotation_with_instances/VIDEO/FRAME.h5 in data_root'
    )

    def __init__(
        self,
        *,
        split: str,
        ann_file: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'A2D-Sentences has no split {split!r}; it has {", ".join(SPLITS)}.')
        super().__init__(
            name='a2d-sentences',
            split=split,
            ann_file=ann_file or f'a2d_sentences_single_frame_{split}_annotations.json',
            data_prefix=data_prefix
            or {
                'video': 'Release/clips320H',
                'mask': 'text_annotations/a2d_annotation_with_instances',
            },
            **kwargs,
        )

    def entries(self, handler: Handler) -> Iterator[Sample]:
        """Give the rows of the file."""
        file = self.ann_file
        for i, row in enumerate(load_json(file, list, self.layout)):
            where = f'row {i}'
            try:
                if not isinstance(row, list) or len(row) != 4:
                    raise fault('malformed entry', file, where, f'expected {ROW}')
                text, video, frame, instance = row
                file_part(video, file, where)
                for number in (frame, instance):
                    of_kind(number, int, file, where)
                if frame < 1:
                    raise fault('malformed entry', file, where, f'frame {frame}; they count from 1')
                yield {
                    'where': where,
                    'video_id': video,
                    'exp_id': str(i),
                    'obj_id': instance,
                    'text': sentence(text, file, where),
                    'image_id': a2d_image_id(video, frame, instance),
                    'frame': frame,
                }
            except AnnotationError as error:
                handler(error)

    def clip(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw the frames, or give those round the target.

        Raises:
            VideoError: the video is damaged, or ends before the annotated frame.
        """
        path = self.files(sample)[0]
        length, centre = count_frames(path), sample['frame'] - 1
        if centre >= length:
            error = VideoError(
                f'{self.ann_file}, {sample["where"]}: frame {centre + 1} is annotated, but {path} '
                f'has {length} frames.\nWhat to do: use the videos of the release.'
            )
            error.kind = 'missing frame'
            raise error
        if self.test_mode:
            frame_ids = centred_window(centre, self.num_frames, 0, length - 1)
        else:
            frame_ids = training_clip(length, centre, self.num_frames, rng)
        source = {'form': 'a2d', 'path': self.mask_path(sample), 'instance': sample['obj_id']}
        return {
            'frame_names': tuple(f'{i + 1:05d}' for i in frame_ids),
            'video_path': path,
            'frame_ids': frame_ids,
            'target': frame_ids.index(centre),
            'mask_sources': [source],
        }

    def mask_path(self, sample: Sample) -> str:
        """Give the file with the masks of the annotated frame."""
        name = f'{sample["frame"]:05d}.h5'
        return join_path(self.data_prefix['mask'], sample['video_id'], name)

    def files(self, sample: Sample) -> list[str]:
        """Give the video and the file of the masks."""
        video = join_path(self.data_prefix['video'], f'{sample["video_id"]}.mp4')
        return [video, self.mask_path(sample)]
