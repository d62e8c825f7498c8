"""HICO-DET dataset."""

import logging
from typing import Any, ClassVar

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import join_path
from mmengine.logging import print_log

from mmvl.hoi.vocabulary import OBJECTS, VERBS
from mmvl.registry import DATASETS, TRANSFORMS

from .readers import read_annotations
from .shared import AnnotationError


@DATASETS.register_module()
class HICODet(BaseDataset):
    """Images with boxes and the interactions between them.

    ``ann_file`` may be in any of three forms, see :func:`read_annotations`; all give the same
    samples. A sample before the pipeline holds ``img_path``, ``file_name``, ``img_id`` (index in
    the annotation file), ``boxes`` (N, 4) float32 xyxy pixels as annotated, ``labels`` (N,) int64
    zero-based COCO-80, ``hois`` (M, 3) int64 subject index, object index, verb, and ``rng``.

    In training an image keeps its first ``max_boxes`` boxes and the interactions between them, and
    an image with an index outside its box list is dropped, as in the official code; the number of
    dropped images is logged. In test mode such an index is an error and boxes are not cut.

    Every random transform draws from ``rng``, a generator seeded by (``seed``, ``epoch``, index of
    the sample): an augmentation depends on nothing else. The training loop sets seed and epoch.

    Args:
        max_boxes: boxes per training image; at most the number of queries of the model.
        pipeline: transforms, or configs of transforms in the registry of mmvl.
        **kwargs: as in :class:`mmengine.dataset.BaseDataset`: ``ann_file``, ``data_root``,
            ``data_prefix=dict(img=...)``, ``test_mode``, ``indices``, ``serialize_data``, ...
            ``filter_cfg=dict(filter_empty_gt=True)`` leaves out images without an interaction,
            in training and in test mode.

    Raises:
        FileNotFoundError: the annotation file does not exist.
        AnnotationError: the annotation file is damaged or not in one of the three forms.
    """

    METAINFO: ClassVar[dict[str, Any]] = {'classes': tuple(OBJECTS), 'verbs': tuple(VERBS)}

    def __init__(self, *, max_boxes: int = 64, pipeline: list | tuple = (), **kwargs: Any) -> None:
        self.max_boxes = max_boxes
        self.seed = self.epoch = 0
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        kwargs.setdefault('data_prefix', {'img': ''})
        super().__init__(pipeline=steps, **kwargs)

    def set_seed(self, seed: int) -> None:
        """Set the seed of the run, first part of the seed of every sample's generator."""
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, second part of the seed of every sample's generator."""
        self.epoch = epoch

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
            print_log(
                f'{self.ann_file}: dropped {len(dropped)} of {len(dropped) + len(samples)} images '
                'with an interaction whose box does not exist: '
                f'{", ".join(dropped[:3])}{", ..." if len(dropped) > 3 else ""}',
                logger='current',
                level=logging.WARNING,
            )
        return samples

    def _refuse(self, sample: dict[str, Any], img_id: int, row: int) -> None:
        subject, object_, _ = sample['hois'][row]
        raise AnnotationError(
            f'{self.ann_file}, entry {img_id} ({sample["file_name"]}), interaction {row}: subject '
            f'{subject} or object {object_} is outside the {len(sample["boxes"])} boxes.\n'
            'An evaluation needs all of its truth: correct or remove the entry.'
        )

    def filter_data(self) -> list[dict[str, Any]]:
        """Leave out images without an interaction when ``filter_cfg`` asks for it."""
        if not (self.filter_cfg or {}).get('filter_empty_gt', False):
            return self.data_list
        return [sample for sample in self.data_list if len(sample['hois'])]

    def prepare_data(self, idx: int) -> Any:
        """Give the sample its generator and run the pipeline."""
        sample = self.get_data_info(idx)
        sample['rng'] = np.random.default_rng((self.seed, self.epoch, sample['sample_idx']))
        return self.pipeline(sample)
