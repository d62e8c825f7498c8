"""HICO-DET's metric for MMEngine, and the export for its Matlab evaluation."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.io
from mmengine.evaluator import BaseMetric

from mmvl.registry import METRICS

from .datasets import read_annotations
from .evaluation import (
    PROTOCOLS,
    ClassResults,
    ImageRecord,
    evaluate_triplets,
    object_positives,
)
from .splits import RARE, unseen_hois
from .vocabulary import HOI_INDEX, HOI_OBJECT, HOI_VERB, OBJECTS, VERBS

_PREDICTED = ('subject_boxes', 'object_boxes', 'object_labels', 'verbs', 'scores')
_TEST_IMAGES = 9658
_TEST_NAME = re.compile(r'HICO_test2015_(\d{8})\.')


@METRICS.register_module()
class HICODetMetric(BaseMetric):
    """Mean average precision over interactions, in percent.

    Reads ``gt_instances``, ``gt_hois``, ``pred_pairs``, ``img_id`` and ``file_name`` of every data
    sample. Results: ``mAP``, ``mean_max_recall`` and, for both groups, ``mAP_<group>`` and
    ``recall_<group>``; groups are ``seen`` and ``unseen`` where ``unseen`` is given, otherwise
    ``rare`` and ``non_rare``. All in 0-100 as in the papers' tables; NaN for a group without an
    annotated class. The result does not depend on the number of processes: images are ordered by
    ``img_id`` and those that a sampler repeated are dropped.

    Args:
        protocol: ``'qpic'``, the Python evaluator that EoID's published numbers come from: classes
            are the triplets of the test annotation; ``'official'``, the Matlab code of the dataset;
            ``'pocket'``, UPT's. See :data:`mmvl.hoi.evaluation.PROTOCOLS`. Predictions are taken as
            they come: the 100 an image of ``qpic`` and pair NMS belong to ``select_triplets``.
        unseen: split name or zero-based HOI ids of the held-out interactions.
        setting: ``'default'`` or ``'known_object'``: predictions of an object count only in images
            that contain an interaction with it (not defined for ``qpic``).
        image_labels: ``anno.mat`` with the image-level labels that decide it. Without it the images
            with an annotated pair of the object do, which is slightly fewer.
        rare_from: training annotation in any form of ``HICODet`` to recount the rare interactions
            (fewer than 10 pairs); without it the published 138.
        outfile_prefix: writes ``<prefix>.classes.json``, one entry a class.
        export_dir: writes the predictions as ``detections_XX.mat``, see :func:`export_matlab`.
        collect_device: as in :class:`mmengine.evaluator.BaseMetric`.
        prefix: put before the names of the results.
        collect_dir: as in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: unknown protocol, setting or split; ``known_object`` with ``qpic``;
            ``image_labels`` without ``known_object``; ``rare_from`` with ``unseen``.
    """

    default_prefix: ClassVar[str] = 'hico'

    def __init__(
        self,
        protocol: str = 'qpic',
        unseen: str | Sequence[int] | None = None,
        setting: str = 'default',
        image_labels: str | None = None,
        rare_from: str | None = None,
        outfile_prefix: str | None = None,
        export_dir: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol '{protocol}'; known: {', '.join(PROTOCOLS)}")
        if setting not in ('default', 'known_object'):
            raise ValueError(f"unknown setting '{setting}'; known: default, known_object")
        if setting == 'known_object' and protocol == 'qpic':
            raise ValueError("'qpic' defines no Known Object setting; use protocol='official'")
        if image_labels is not None and setting != 'known_object':
            raise ValueError("image_labels is only used with setting='known_object'")
        if rare_from is not None and unseen is not None:
            raise ValueError('rare_from groups by rare and non-rare: it excludes unseen')
        self.protocol = protocol
        self.setting = setting
        self.image_labels = image_labels
        self.outfile_prefix = outfile_prefix
        self.export_dir = export_dir
        self._slab = _Slab()
        if unseen is not None:
            ids = unseen_hois(unseen)
            self.groups = {'seen': np.setdiff1d(np.arange(len(HOI_VERB)), ids), 'unseen': ids}
        else:
            ids = RARE if rare_from is None else count_rare(rare_from)
            self.groups = {'rare': ids, 'non_rare': np.setdiff1d(np.arange(len(HOI_VERB)), ids)}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the evaluation needs of a batch.

        Args:
            data_batch: not used.
            data_samples: ``HOIDataSample.to_dict()`` of every image.

        Raises:
            ValueError: a label, verb or box index lies outside its range.
        """
        self.results.extend(_record(sample, self._slab) for sample in data_samples)

    def compute_metrics(self, results: list[ImageRecord]) -> dict[str, float]:
        """Evaluate the images of all processes; writes the files that were asked for."""
        _, first = np.unique([record.img_id for record in results], return_index=True)
        records = [results[i] for i in first]
        positive = None
        if self.setting == 'known_object':
            if self.image_labels is None:
                positive = object_positives(records)
            else:
                names = [record.file_name for record in records]
                positive = read_image_labels(self.image_labels, names)
        classes = evaluate_triplets(records, PROTOCOLS[self.protocol], positive)
        if self.outfile_prefix is not None:
            self._write_classes(classes, Path(f'{self.outfile_prefix}.classes.json'))
        if self.export_dir is not None:
            export_matlab(records, self.export_dir)
        return self._summary(classes)

    def _summary(self, classes: ClassResults) -> dict[str, float]:
        present = classes.num_gt > 0
        members = {name: np.isin(classes.hois, ids) & present for name, ids in self.groups.items()}
        summary = {'mAP': _percent_mean(classes.ap[present])}
        summary |= {f'mAP_{name}': _percent_mean(classes.ap[m]) for name, m in members.items()}
        summary['mean_max_recall'] = _percent_mean(classes.max_recall[present])
        for name, mask in members.items():
            summary[f'recall_{name}'] = _percent_mean(classes.max_recall[mask])
        return summary

    def _write_classes(self, classes: ClassResults, file: Path) -> None:
        table = []
        for i in np.flatnonzero(classes.hois >= 0):
            hoi = int(classes.hois[i])
            present = classes.num_gt[i] > 0
            table.append(
                {
                    'hoi': hoi,
                    'verb': VERBS[HOI_VERB[hoi]],
                    'object': OBJECTS[HOI_OBJECT[hoi]],
                    'group': next(name for name, ids in self.groups.items() if hoi in ids),
                    'ap': 100 * float(classes.ap[i]) if present else None,
                    'max_recall': 100 * float(classes.max_recall[i]) if present else None,
                    'num_gt': int(classes.num_gt[i]),
                    'num_predictions': int(classes.num_predictions[i]),
                }
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(table, indent=1))


def _percent_mean(values: np.ndarray) -> float:
    return 100 * float(np.mean(values)) if len(values) else float('nan')


class _Slab:
    """Memory for arrays that outlive a batch, in blocks of 4 MiB.

    An array of its own would be cut out of the large block that the last activation or score tensor
    left behind; the next one then needs fresh memory, and a test run loses 100 MiB per 1000 images.
    """

    def __init__(self) -> None:
        self.block = np.empty(0, dtype=np.uint8)
        self.used = 0

    def keep(self, values: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
        """A copy of ``values`` as ``dtype``."""
        size = values.size * np.dtype(dtype).itemsize
        if self.used + size > len(self.block):
            self.block, self.used = np.empty(max(size, 1 << 22), dtype=np.uint8), 0
        kept = self.block[self.used : self.used + size].view(dtype).reshape(values.shape)
        kept[...] = values
        self.used += -(-size // 8) * 8
        return kept


def _record(sample: dict, slab: _Slab) -> ImageRecord:
    truth, pairs, where = sample['gt_instances'], sample['pred_pairs'], sample['file_name']
    hois, boxes = sample['gt_hois'].cpu().numpy(), truth['boxes'].cpu().numpy().reshape(-1, 4)
    labels = truth['labels'].cpu().numpy()
    guess = {name: pairs[name].cpu().numpy() for name in _PREDICTED}
    _check(hois[:, :2], len(boxes), where, 'gt_hois', 'a box index')
    _check(hois[:, 2], len(VERBS), where, 'gt_hois', 'a verb')
    _check(labels, len(OBJECTS), where, 'gt_instances.labels', 'an id')
    _check(guess['object_labels'], len(OBJECTS), where, 'pred_pairs.object_labels', 'an id')
    _check(guess['verbs'], len(VERBS), where, 'pred_pairs.verbs', 'an id')
    return ImageRecord(
        img_id=int(sample['img_id']),
        file_name=where,
        gt_boxes=slab.keep(boxes, np.float32),
        gt_labels=slab.keep(labels, np.uint8),
        gt_hois=slab.keep(hois, np.int32),
        subject_boxes=slab.keep(guess['subject_boxes'], np.float32),
        object_boxes=slab.keep(guess['object_boxes'], np.float32),
        object_labels=slab.keep(guess['object_labels'], np.uint8),
        verbs=slab.keep(guess['verbs'], np.uint8),
        scores=slab.keep(guess['scores'], np.float32),
    )


def _check(values: np.ndarray, size: int, where: str, field: str, what: str) -> None:
    if values.size and (values.min() < 0 or values.max() >= size):
        row = int(np.argwhere((values < 0) | (values >= size))[0, 0])
        raise ValueError(
            f'{where}: {field}[{row}] has {what} outside 0-{size - 1}: {values[row].tolist()}'
        )


def count_rare(ann_file: str) -> np.ndarray:
    """(R,) int64, interactions with fewer than 10 pairs in a training annotation.

    Args:
        ann_file: annotation in any form that ``HICODet`` reads.
    """
    counts = np.zeros(len(HOI_VERB), dtype=np.int64)
    for image in read_annotations(ann_file):
        hois, labels = np.asarray(image['hois']).reshape(-1, 3), np.asarray(image['labels'])
        exists = ((hois[:, :2] >= 0) & (hois[:, :2] < len(labels))).all(axis=1)
        ids = HOI_INDEX[hois[exists, 2], labels[hois[exists, 1]]]
        np.add.at(counts, ids[ids >= 0], 1)
    return np.flatnonzero(counts < 10)


def read_image_labels(anno_mat: str, file_names: Sequence[str]) -> np.ndarray:
    """(I, 80) bool: the test image has a positive label of one of the object's interactions.

    Args:
        anno_mat: HICO's ``anno.mat`` with ``anno_test`` (600, images) and ``list_test``.
        file_names: the I names to look up.

    Raises:
        ValueError: a name is not in the file's test list.
    """
    content = scipy.io.loadmat(anno_mat, variable_names=['anno_test', 'list_test'])
    listed = [str(np.squeeze(name)) for name in content['list_test'].ravel()]
    column = {name: i for i, name in enumerate(listed)}
    missing = [name for name in file_names if name not in column]
    if missing:
        raise ValueError(f"{anno_mat}: '{missing[0]}' is not in list_test ({len(listed)} images)")
    labels = content['anno_test'][:, [column[name] for name in file_names]] == 1
    positive = np.zeros((len(OBJECTS), len(file_names)), dtype=bool)
    np.logical_or.at(positive, HOI_OBJECT, labels)
    return positive.T


def export_matlab(records: Sequence[ImageRecord], folder: str) -> None:
    """Write predictions in the layout that the official Matlab evaluation loads.

    80 files ``detections_XX.mat``, XX = 01 (person) to 80 in COCO order, each with the cell array
    ``all_boxes`` (interactions of the object x images) of (n, 9) doubles: subject box, object box,
    score. Boxes are written as they are; the loader adds 1, that is, expects zero-based pixels.
    Columns follow the number in ``HICO_test2015_XXXXXXXX`` and there are 9,658 of them; with other
    file names there is one column for every image, in the order given. The whole test set is 5.8
    million cells, most of them empty, and takes minutes to write.

    Args:
        records: the images with their predictions.
        folder: created where it is missing.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    names = [_TEST_NAME.match(record.file_name) for record in records]
    official = all(names)
    columns = [int(name[1]) - 1 if official and name else i for i, name in enumerate(names)]
    num_columns = _TEST_IMAGES if official else len(records)
    cells = np.empty((len(HOI_VERB), num_columns), dtype=object)
    cells.fill(np.zeros((0, 9)))
    for column, record in zip(columns, records, strict=True):
        hois = HOI_INDEX[record.verbs, record.object_labels]
        for hoi in np.unique(hois[hois >= 0]):
            cells[hoi, column] = _matlab_rows(record, hois == hoi)
    for number in range(len(OBJECTS)):
        own = cells[HOI_OBJECT == number]
        scipy.io.savemat(target / f'detections_{number + 1:02d}.mat', {'all_boxes': own})


def _matlab_rows(record: ImageRecord, mine: np.ndarray) -> np.ndarray:
    scores = record.scores[mine, None]
    rows = (record.subject_boxes[mine], record.object_boxes[mine], scores)
    return np.concatenate(rows, axis=1).astype(np.float64)
