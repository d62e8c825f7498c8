"""JHMDB-Sentences."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from mmengine.fileio import join_path

from mmvl.engine.annotation_files import AnnotationError, Handler, fault
from mmvl.registry import DATASETS

from .base import Counts, ReferringVideoDataset, Sample
from .fields import file_part, load_json, of_kind, sentence
from .sampling import centred_window

FOLDER = 'jhmdb_sentences'
ROW = '[video, path of the frame, path of the masks, frames of the video, sentence]'


def jhmdb_image_id(video: str, frame: int) -> str:
    """Name an annotated frame in the COCO file; frames count from 1."""
    return f'v_{video}_f_{frame}'


@DATASETS.register_module()
class JHMDBSentences(ReferringVideoDataset):
    """JHMDB-Sentences (Gavrilyuk et al., CVPR 2018), for testing: three frames of each video.

    The three were once drawn at random; numbers are comparable with the released list only. The
    clip is the frames round the annotated one, which is its ``target``.

    Args:
        ann_file: by default ``jhmdb_sentences_samples_metadata.json``; its paths start with the
            folder ``./jhmdb_sentences/``, which ``data_prefix`` names, by default ``data_root``.
        data_prefix: ``dict(root=...)``.
        **kwargs: as in :class:`ReferringVideoDataset`; ``test_mode=False`` is refused, since there
            is no split to train on.
    """

    layout = (
        'jhmdb_sentences_samples_metadata.json, Rename_Images/ACTION/VIDEO/FRAME.png and '
        'puppet_mask/ACTION/VIDEO/puppet_mask.mat in data_root'
    )

    def __init__(
        self,
        *,
        ann_file: str = 'jhmdb_sentences_samples_metadata.json',
        data_prefix: dict[str, str] | None = None,
        test_mode: bool = True,
        **kwargs: Any,
    ) -> None:
        if not test_mode:
            raise ValueError('JHMDB-Sentences has no split to train on; leave test_mode out.')
        super().__init__(
            name='jhmdb-sentences',
            split='test',
            ann_file=ann_file,
            data_prefix=data_prefix or {'root': ''},
            test_mode=True,
            **kwargs,
        )

    def entries(self, handler: Handler) -> Iterator[Sample]:
        """Give the rows of the file."""
        file = self.ann_file
        for i, row in enumerate(load_json(file, list, self.layout)):
            where = f'row {i}'
            try:
                if not isinstance(row, list) or len(row) != 5:
                    raise fault('malformed entry', file, where, f'expected {ROW}')
                video, image, masks, total, text = row
                image = PurePosixPath(self._inside(image, where))
                frame = int(image.stem) if image.stem.isdecimal() else 0
                if not 1 <= frame <= of_kind(total, int, file, where):
                    detail = f'frame {image.name} of {total}; they count from 1'
                    raise fault('malformed entry', file, where, detail)
                yield {
                    'where': where,
                    'video_id': file_part(video, file, where),
                    'exp_id': str(i),
                    'obj_id': 1,
                    'text': sentence(text, file, where),
                    'image_id': jhmdb_image_id(video, frame),
                    'frame': frame,
                    'total': total,
                    'folder': str(image.parent),
                    'masks': self._inside(masks, where),
                }
            except AnnotationError as error:
                handler(error)

    def _inside(self, path: Any, where: str) -> str:
        """A path of the file, seen from the dataset's folder."""
        parts = PurePosixPath(file_part(path, self.ann_file, where)).parts
        return '/'.join(parts[1:] if parts[0] == FOLDER else parts)

    def clip(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Give the frames round the target; nothing is drawn."""
        frames = centred_window(sample['frame'], self.num_frames, 1, sample['total'])
        names = tuple(f'{frame:05d}' for frame in frames)
        path = join_path(self.data_prefix['root'], sample['masks'])
        return {
            'frame_names': names,
            'img_paths': [self._image(sample, name) for name in names],
            'target': frames.index(sample['frame']),
            'mask_sources': [{'form': 'jhmdb', 'path': path, 'frame': sample['frame']}],
        }

    def files(self, sample: Sample) -> list[str]:
        """Give all frames of the video and the file of its masks."""
        frames = range(1, sample['total'] + 1)
        masks = join_path(self.data_prefix['root'], sample['masks'])
        return [*(self._image(sample, f'{frame:05d}') for frame in frames), masks]

    def _image(self, sample: Sample, name: str) -> str:
        return join_path(self.data_prefix['root'], sample['folder'], f'{name}.png')

    def published(self) -> Counts:
        """Give the numbers of the released list."""
        return Counts(2_784, 928)
