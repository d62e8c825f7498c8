"""Ref-YouTube-VOS, and what shares its layout."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import join_path
from mmengine.logging import print_log

from mmvl.engine.annotation_files import AnnotationError, Handler, fault
from mmvl.registry import DATASETS

from .base import Counts, ReferringVideoDataset, Sample
from .fields import file_part, get, load_json, of_kind, sentence
from .sampling import training_clip

SPLITS = ('train', 'valid', 'test')
PUBLISHED = {
    'train': Counts(12_913, 3_471),
    'valid': Counts(None, 202),
    'test': Counts(None, 305),
}
"""Split -> numbers of the release.

Source: data card of Ref-YouTube-VOS (Seo et al., ECCV 2020) and its challenge, which divided the
validation videos into valid and test.
"""


class FrameFolders(ReferringVideoDataset):
    """Videos as folders of JPEG frames, with masks of all objects in PNG files.

    In training there is a sample for every ``num_frames``-th frame of the video and each sentence
    about it, with a clip drawn round that frame, see :func:`.sampling.training_clip`. In test mode
    there is one per sentence, with the whole video. The frames are those that the annotation
    lists; folders may hold more. As in the released code, training turns sentences to lower case
    and test mode gives them as they are written.

    Args:
        name: which dataset.
        split: 'train', 'valid', ...
        ann_file: by default ``meta_expressions/{split}/meta_expressions.json``.
        data_prefix: ``dict(video=...)``, the folder with ``JPEGImages``, ``Annotations`` and
            ``meta.json``; by default the split.
        **kwargs: as in :class:`ReferringVideoDataset`.
    """

    layout = (
        'meta_expressions/SPLIT/meta_expressions.json and SPLIT/{JPEGImages,Annotations}/VIDEO '
        'in data_root'
    )

    def __init__(
        self,
        *,
        name: str,
        split: str,
        ann_file: str = '',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.frames: dict[str, tuple[str, ...]] = {}
        """Video -> names of its frames."""
        super().__init__(
            name=name,
            split=split,
            ann_file=ann_file or f'meta_expressions/{split}/meta_expressions.json',
            data_prefix=data_prefix or {'video': split},
            **kwargs,
        )

    def videos(self) -> dict[str, Any]:
        """Read the annotation: video -> its sentences and frames."""
        content = load_json(self.ann_file, dict, self.layout)
        return get(content, 'videos', dict, self.ann_file, 'top level')

    def objects(self) -> dict[str, set[int]]:
        """Read which objects have masks: video -> ids; nothing where ``meta.json`` is missing."""
        file = join_path(self.data_prefix['video'], 'meta.json')
        if not Path(file).is_file():
            return {}
        videos = get(load_json(file, dict, self.layout), 'videos', dict, file, 'top level')
        return {
            video: {int(key) for key in get(entry, 'objects', dict, file, video) if key.isdecimal()}
            for video, entry in videos.items()
        }

    def entries(self, handler: Handler) -> Iterator[Sample]:
        """Give the sentences in the order of the file."""
        objects = self.objects()
        for video, entry in self.videos().items():
            where = f'videos.{video}'
            try:
                file_part(video, self.ann_file, where)
                names = get(entry, 'frames', list, self.ann_file, where)
                if not names:
                    raise fault('zero frames', self.ann_file, where, 'a video without frames')
                for name in names:
                    file_part(name, self.ann_file, f'{where}.frames')
                self.frames[video] = tuple(sorted(names))
                sentences = get(entry, 'expressions', dict, self.ann_file, where)
            except AnnotationError as error:
                handler(error)
                continue
            for exp_id, said in sentences.items():
                place = f'{where}.expressions.{exp_id}'
                try:
                    file_part(exp_id, self.ann_file, place)
                    text = get(said, 'exp', str, self.ann_file, place)
                    yield {
                        'where': place,
                        'video_id': video,
                        'exp_id': exp_id,
                        'obj_id': self._object(said, place, objects.get(video)),
                        'text': sentence(text, self.ann_file, f'{place}.exp', self.test_mode),
                        'image_id': '',
                    }
                except AnnotationError as error:
                    handler(error)

    def _object(self, said: dict[str, Any], place: str, known: set[int] | None) -> int:
        if 'obj_id' not in said:
            if self.test_mode:
                return -1
            detail = 'it has no obj_id, as in a split whose masks are secret'
            raise fault('unknown object', self.ann_file, place, detail, 'use test_mode=True')
        place = f'{place}.obj_id'
        value = of_kind(said['obj_id'], str, self.ann_file, place)
        if not value.isdecimal() or not 1 <= int(value) <= 255:
            detail = f'expected the number of an object, 1 to 255, got {value!r}'
            raise fault('malformed entry', self.ann_file, place, detail)
        if known is not None and int(value) not in known:
            detail = f'object {value} is not in meta.json, which has {sorted(known)}'
            raise fault('unknown object', self.ann_file, place, detail)
        return int(value)

    def expand(self, sample: Sample) -> Iterator[Sample]:
        """One sample for every ``num_frames``-th frame, or one in all in test mode."""
        if self.test_mode:
            yield sample
            return
        for centre in range(0, len(self.frames[sample['video_id']]), self.num_frames):
            yield {**sample, 'centre': centre}

    def clip(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw the frames, or give all in test mode."""
        names = self.frames[sample['video_id']]
        if not self.test_mode:
            chosen = training_clip(len(names), sample['centre'], self.num_frames, rng)
            names = tuple(names[i] for i in chosen)
        found: Sample = {
            'frame_names': names,
            'img_paths': self._paths('JPEGImages', sample['video_id'], names, 'jpg'),
            'target': None,
        }
        if sample['obj_id'] > 0:
            masks = self._paths('Annotations', sample['video_id'], names, 'png')
            found['mask_sources'] = [
                {'form': 'png', 'path': path, 'obj_id': sample['obj_id']} for path in masks
            ]
        return found

    def files(self, sample: Sample) -> list[str]:
        """Give all frames of the video, and their masks where they are not secret."""
        video = sample['video_id']
        paths = self._paths('JPEGImages', video, self.frames[video], 'jpg')
        if sample['obj_id'] > 0:
            paths += self._paths('Annotations', video, self.frames[video], 'png')
        return paths

    def _paths(self, kind: str, video: str, names: tuple[str, ...], suffix: str) -> list[str]:
        folder = join_path(self.data_prefix['video'], kind, video)
        return [f'{folder}/{name}.{suffix}' for name in names]


@DATASETS.register_module()
class RefYouTubeVOS(FrameFolders):
    """Ref-YouTube-VOS (Seo et al., ECCV 2020).

    The released list of valid names the videos of test too; these are left out.

    Args:
        split: 'train', 'valid' or 'test'.
        published: refuse a split of another number of videos than the released one; of train this
            is only said, since a part of it may be held out.
        **kwargs: as in :class:`FrameFolders`.
    """

    def __init__(self, *, split: str, published: bool = True, **kwargs: Any) -> None:
        if split not in SPLITS:
            raise ValueError(f'Ref-YouTube-VOS has no split {split!r}; it has {", ".join(SPLITS)}.')
        self.require_published = published
        super().__init__(name='ref-youtube-vos', split=split, **kwargs)

    def videos(self) -> dict[str, Any]:
        """Read the annotation, of valid without the videos of test.

        Raises:
            AnnotationError: valid or test has another number of videos than published.
        """
        videos = super().videos()
        if self.split == 'valid':
            file = Path(self.ann_file).parent.with_name('test') / Path(self.ann_file).name
            others = load_json(file, dict, f'{self.layout}, of test too')
            hidden = get(others, 'videos', dict, file, 'top level')
            videos = {video: entry for video, entry in videos.items() if video not in hidden}
        expected = PUBLISHED[self.split].videos
        if not self.require_published or len(videos) == expected:
            return videos
        detail = f'{len(videos)} videos in {self.split}, but {expected} were published'
        if self.split == 'train':
            print_log(f'{self.ann_file}: {detail}', logger='current', level=logging.WARNING)
            return videos
        remedy = 'use the lists of valid and test of one release, or set published=False'
        raise fault('not as published', self.ann_file, '', detail, remedy)

    def published(self) -> Counts:
        """Give the numbers of the release."""
        return PUBLISHED[self.split]
