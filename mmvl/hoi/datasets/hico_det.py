"""HICO-DET dataset."""

import logging
from typing import Any, ClassVar

from mmengine.fileio import join_path
from mmengine.logging import print_log

from mmvl.engine.data_check import Report
from mmvl.engine.images import missing_files
from mmvl.engine.seeded_dataset import SeededDataset
from mmvl.hoi.transforms import LoadHOIImage
from mmvl.hoi.vocabulary import OBJECTS, VERBS
from mmvl.registry import DATASETS, TRANSFORMS

from .check import check_hico
from .readers import LAYOUT, read_annotations
from .shared import AnnotationError, shown_name


@DATASETS.register_module()
class HICODet(SeededDataset):
    """Images with boxes and the interactions between them.

    ``ann_file`` may be in any of three forms, see :func:`read_annotations`; all give the same
    samples. A sample before the pipeline holds ``img_path``, ``file_name``, ``img_id`` (index in
    the annotation file), ``boxes`` (N, 4) float32 xyxy pixels as annotated, ``labels`` (N,) int64
    zero-based COCO-80, ``hois`` (M, 3) int64 subject index, object index, verb, and ``rng``.

    In training an image keeps its first ``max_boxes`` boxes and the interactions between them, and
    an image with an index outside its box list is dropped, as in the official code; the number of
    dropped images is logged. In test mode such an index is an error and boxes are not cut. Boxes
    without area stay here and are counted in the log; ``ClipBoxes`` drops them.

    Where the pipeline reads images, all of them must exist when the dataset is built.

    Every random transform draws from ``rng``, a generator seeded by (``seed``, ``epoch``, index of
    the sample): an augmentation depends on nothing else. The training loop sets seed and epoch.

    Args:
        max_boxes: boxes per training image; at most the number of queries of the model.
        max_missing: share of the images, in 0-1, that may be missing in training: up to that they
            are dropped and counted in the log. In test mode none may.
        pipeline: transforms, or configs of transforms in the registry of mmvl.
        **kwargs: as in :class:`mmengine.dataset.BaseDataset`: ``ann_file``, ``data_root``,
            ``data_prefix=dict(img=...)``, ``test_mode``, ``indices``, ``serialize_data``, ...
            ``filter_cfg=dict(filter_empty_gt=True)`` leaves out images without an interaction,
            in training and in test mode.

    Raises:
        FileNotFoundError: the annotation file does not exist, or images are missing.
        AnnotationError: the annotation file is damaged or not in one of the three forms.
    """

    METAINFO: ClassVar[dict[str, Any]] = {'classes': tuple(OBJECTS), 'verbs': tuple(VERBS)}

    def __init__(
        self,
        *,
        max_boxes: int = 64,
        max_missing: float = 0.0,
        pipeline: list | tuple = (),
        **kwargs: Any,
    ) -> None:
        if not 0 <= max_missing < 1:
            raise ValueError(
                f'max_missing is a share: need 0 <= max_missing < 1, got {max_missing}.'
            )
        self.max_boxes = max_boxes
        self.max_missing = max_missing
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        kwargs.setdefault('data_prefix', {'img': ''})
        super().__init__(pipeline=steps, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation file and check the box indices."""
        samples, dropped = [], []
        for img_id, sample in enumerate(read_annotations(self.ann_file, self.test_mode)):
            hois, count = sample['hois'], len(sample['boxes'])
            outside = ((hois[:, :2] < 0) | (hois[:, :2] >= count)).any(axis=1)
            if outside.any():
                if self.test_mode:
                    self._refuse(sample, img_id, int(outside.argmax()))
                dropped.append(sample['file_name'])
                continue
            if not self.test_mode:
                sample['boxes'] = sample['boxes'][: self.max_boxes]
                sample['labels'] = sample['labels'][: self.max_boxes]
                sample['hois'] = hois[(hois[:, :2] < self.max_boxes).all(axis=1)]
            img_path = join_path(self.data_prefix['img'] or '', sample['file_name'])
            samples.append({'img_path': img_path, 'img_id': img_id, **sample})
        if dropped:
            self._warn(
                f'dropped {len(dropped)} of {len(dropped) + len(samples)} images with an '
                f'interaction whose box does not exist: {_first(dropped)}'
            )
        if not samples:
            raise AnnotationError(
                f'{self.ann_file}: no image is left to train on.\n'
                'What to do: see with `mmvl data check CONFIG` what is wrong with it.'
            )
        if any(isinstance(step, LoadHOIImage) for step in self.pipeline.transforms):
            samples = self._existing(samples)
        if not self.test_mode:
            self._count_boxes_without_area(samples)
        return samples

    def _existing(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse missing images, or leave them out where there may be so many."""
        missing = missing_files([sample['img_path'] for sample in samples])
        if not missing:
            return samples
        names = _first([samples[i]['file_name'] for i in missing])
        found = f'{len(missing)} of {len(samples)} images are missing'
        if self.test_mode or len(missing) > self.max_missing * len(samples):
            remedy = (
                'What to do: correct data_root or data_prefix; `mmvl data check CONFIG` lists all'
            )
            if not self.test_mode:
                remedy += '; or allow a share, max_missing=0.01'
            folder = self.data_prefix['img'] or 'the current folder'
            raise FileNotFoundError(
                f'{self.ann_file}: {found} in {folder}: {names}\n'
                f'HICO-DET is expected as {LAYOUT}.\n{remedy}.'
            )
        self._warn(f'{found} and are left out: {names}')
        gone = set(missing)
        return [sample for i, sample in enumerate(samples) if i not in gone]

    def _count_boxes_without_area(self, samples: list[dict[str, Any]]) -> None:
        bad = [(s['boxes'][:, 2:] <= s['boxes'][:, :2]).any(axis=1).sum() for s in samples]
        if any(bad):
            names = [s['file_name'] for s, count in zip(samples, bad, strict=True) if count]
            self._warn(
                f'{sum(bad)} boxes in {len(names)} images have no area or swapped corners and '
                f'train nothing: {_first(names)}'
            )

    def _warn(self, text: str) -> None:
        print_log(f'{self.ann_file}: {text}', logger='current', level=logging.WARNING)

    @classmethod
    def check(cls, images: bool = True, **config: Any) -> Report:
        """List all that is wrong with the files of a dataset, which need not be loadable.

        Args:
            images: also look for the image files and decode them.
            **config: as in a config; a pipeline is not needed.
        """
        dataset = cls(**{**config, 'pipeline': (), 'lazy_init': True})
        return check_hico(
            dataset.ann_file,
            dataset.data_prefix['img'] or '',
            test_mode=dataset.test_mode,
            max_boxes=dataset.max_boxes,
            images=images,
        )

    def _refuse(self, sample: dict[str, Any], img_id: int, row: int) -> None:
        subject, object_, _ = sample['hois'][row]
        raise AnnotationError(
            f'{self.ann_file}, entry {img_id} ({shown_name(sample["file_name"])}), interaction '
            f'{row}: subject {subject} or object {object_} is outside the {len(sample["boxes"])} '
            'boxes.\nAn evaluation needs all of its truth.\nWhat to do: correct or remove the '
            'entry; `mmvl data check CONFIG` lists all that is wrong.'
        )

    def filter_data(self) -> list[dict[str, Any]]:
        """Leave out images without an interaction when ``filter_cfg`` asks for it."""
        if not (self.filter_cfg or {}).get('filter_empty_gt', False):
            return self.data_list
        return [sample for sample in self.data_list if len(sample['hois'])]

    def prepare_data(self, idx: int) -> Any:
        """Give the sample its generator and run the pipeline."""
        sample = self.get_data_info(idx)
        sample['rng'] = self.generator(sample)
        return self.pipeline(sample)


def _first(names: list[str]) -> str:
    shown = ', '.join(shown_name(name) for name in names[:3])
    return f'{shown}{", ..." if len(names) > 3 else ""}'
