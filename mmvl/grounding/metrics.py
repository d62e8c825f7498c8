"""Metrics of visual grounding: boxes, masks, and the phrases of Flickr30k Entities.

Every sentence counts once: repeats, which samplers add to fill up a process, are dropped by
``sent_id``. What is kept of a sentence is a few numbers, and hits are counted as integers, so that
the result depends on neither order nor number of processes.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmvl.registry import METRICS
from mmvl.structures import pairwise_iou
from mmvl.structures.masks import mask_overlaps

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
AP_THRESHOLDS = tuple(number / 100 for number in range(50, 100, 5))


def _share(hits: np.ndarray) -> float:
    """Percentage of true values of (N,) bool, NaN without any."""
    return 100 * int(hits.sum()) / len(hits) if len(hits) else float('nan')


def _once(results: Sequence[tuple[int, ...]], width: int) -> np.ndarray:
    """(N, width) int64 rows of N different sentences, by their id, which is left out."""
    rows = np.array(results, dtype=np.int64).reshape(-1, width + 1)
    _, first = np.unique(rows[:, 0], return_index=True)
    return rows[first, 1:]


def _hit(box: Tensor, truth: Tensor, threshold: float) -> bool:
    """Whether a (4,) xyxy box overlaps any of (..., 4) others with at least this IoU.

    Boxes without area overlap nothing, themselves included.
    """
    iou = pairwise_iou(box.double().reshape(1, 4), truth.double().reshape(-1, 4))
    return bool((iou >= threshold).any())


@METRICS.register_module()
class RECMetric(BaseMetric):
    """Referring expression comprehension: share of sentences whose box is right, in percent.

    Reads ``sent_id``, ``ori_box`` and ``pred_box`` of every data sample. Result: ``acc``. Boxes are
    continuous (no +1); a box is right with an IoU of at least the threshold.

    Args:
        threshold: of the IoU.
        collect_device: as in :class:`mmengine.evaluator.BaseMetric`.
        prefix: put before the names of the results.
        collect_dir: as in :class:`mmengine.evaluator.BaseMetric`.

    Source: TransVG (Deng et al. 2021), released evaluation.
    """

    default_prefix: ClassVar[str] = 'rec'

    def __init__(
        self,
        threshold: float = 0.5,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.threshold = threshold

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of every sentence whether its box is right.

        Args:
            data_batch: not used.
            data_samples: ``ReferringDataSample.to_dict()`` of every sentence.
        """
        for sample in data_samples:
            hit = _hit(sample['pred_box'], sample['ori_box'], self.threshold)
            self.results.append((int(sample['sent_id']), int(hit)))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Count the hits of all processes."""
        return {'acc': _share(_once(results, 1)[:, 0] > 0)}


@METRICS.register_module()
class RESMetric(BaseMetric):
    """Referring expression segmentation: overlap of masks, in percent.

    Reads ``sent_id`` and two masks of every data sample. Results: ``mIoU``, the mean IoU of the
    sentences; ``oIoU``, the intersections of all over the unions of all (also called cIoU);
    ``Pr@0.5`` to ``Pr@0.9``, the share of sentences whose IoU reaches the threshold; and ``AP``
    where it is asked for.

    VG-LAW prints ``space='square', comparison='>', eps=1e-10, average_precision=True``.

    Args:
        space: ``'original'``: ``ori_mask`` and ``pred_mask``, of the image on disk; ``'square'``:
            ``gt_mask`` and ``pred_square_mask``, of the padded network input. The results are
            named ``res/...`` and ``res_square/...``: they differ, and are not to be compared.
        comparison: ``'>='``, as LAVT, or ``'>'``, as MTTR and ReferFormer, of IoU and threshold.
        empty_union: IoU of a sentence where neither mask has a pixel: 1, since the prediction is
            right; 0 in LAVT and mmdet.
        eps: added to intersection and union of a sentence, not to those of ``oIoU``; with more than
            0, ``empty_union`` does not come into play, and the IoU of a sentence has single
            precision, as in the codes that add it (VG-LAW, MTTR, ReferFormer).
        average_precision: also give ``AP``, the mean share of sentences whose IoU is greater than
            0.5, 0.55, ..., 0.95.
        collect_device: as in :class:`mmengine.evaluator.BaseMetric`.
        prefix: put before the names of the results, instead of those above.
        collect_dir: as in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: unknown space or comparison.
    """

    def __init__(
        self,
        space: str = 'original',
        comparison: str = '>=',
        empty_union: float = 1.0,
        eps: float = 0.0,
        average_precision: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        fields = {'original': ('ori_mask', 'pred_mask'), 'square': ('gt_mask', 'pred_square_mask')}
        if space not in fields:
            raise ValueError(f"unknown space '{space}'; known: {', '.join(fields)}")
        if comparison not in ('>=', '>'):
            raise ValueError(f"unknown comparison '{comparison}'; known: >=, >")
        default = 'res' if space == 'original' else 'res_square'
        super().__init__(collect_device, prefix or default, collect_dir)
        self.fields = fields[space]
        self.reaches = np.greater_equal if comparison == '>=' else np.greater
        self.empty_union = empty_union
        self.eps = eps
        self.average_precision = average_precision

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of every sentence how many pixels its masks have in common and in all.

        Args:
            data_batch: not used.
            data_samples: ``ReferringDataSample.to_dict()`` of every sentence.

        Raises:
            KeyError: a sample lacks one of the two masks.
            ValueError: the masks of a sample differ in size.
        """
        for sample in data_samples:
            missing = [name for name in self.fields if name not in sample]
            if missing:
                raise KeyError(
                    f'{sample.get("img_path")}: no {missing[0]}. What to do: see that the pipeline '
                    'has LoadReferringImage(with_mask=True) and '
                    'PackReferringInputs(original_mask=True), and that the model predicts masks.'
                )
            truth, guess = (sample[name] for name in self.fields)
            intersection, union = mask_overlaps(truth, guess)
            self.results.append((int(sample['sent_id']), int(intersection), int(union)))

    def compute_metrics(self, results: list[tuple[int, int, int]]) -> dict[str, float]:
        """Evaluate the sentences of all processes."""
        overlaps = _once(results, 2)
        intersection, union = overlaps.sum(axis=0).tolist()
        # in double precision eps would put an IoU that equals a threshold above it; in single
        # precision, which released codes have, it vanishes beside areas of more than a few pixels
        areas: np.ndarray = overlaps.astype(np.float32 if self.eps else np.float64)
        areas += self.eps
        with np.errstate(invalid='ignore'):
            iou = areas[:, 0] / areas[:, 1]
        iou[np.isnan(iou)] = self.empty_union
        summary = {
            'mIoU': 100 * float(iou.mean(dtype=np.float64)) if len(iou) else float('nan'),
            'oIoU': 100 * intersection / union if union else float('nan'),
        }
        # MTTR compares as Python does, in double precision; VG-LAW, for AP, in single
        exact = iou.astype(np.float64)
        summary |= {f'Pr@{x}': _share(self.reaches(exact, x)) for x in PRECISIONS}
        if self.average_precision:
            summary['AP'] = float(np.mean([_share(iou > x) for x in AP_THRESHOLDS]))
        return summary


@METRICS.register_module()
class PhraseGroundingMetric(BaseMetric):
    """Flickr30k Entities: share of phrases whose best box is right, in percent.

    Reads ``sent_id``, ``pred_box`` and the annotated boxes of every data sample: ``ori_boxes``
    (N, 4), all N boxes of the phrase, or ``ori_box`` where the annotation has only one. The result
    is named after the protocol, ``recall@1_any`` or ``recall@1_merged``: never compare across.

    Args:
        protocol: ``'any'``: an IoU of at least the threshold with any of the phrase's boxes (MDETR:
            any-box); ``'merged'``: with the smallest box that holds them all.
        threshold: of the IoU.
        collect_device: as in :class:`mmengine.evaluator.BaseMetric`.
        prefix: put before the name of the result.
        collect_dir: as in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: unknown protocol.
    """

    default_prefix: ClassVar[str] = 'phrase'

    def __init__(
        self,
        protocol: str = 'any',
        threshold: float = 0.5,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        if protocol not in ('any', 'merged'):
            raise ValueError(f"unknown protocol '{protocol}'; known: any, merged")
        super().__init__(collect_device, prefix, collect_dir)
        self.protocol = protocol
        self.threshold = threshold

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of every phrase whether its box is right.

        Args:
            data_batch: not used.
            data_samples: ``ReferringDataSample.to_dict()`` of every phrase.
        """
        for sample in data_samples:
            boxes = sample['ori_boxes'] if 'ori_boxes' in sample else sample['ori_box'][None]
            if self.protocol == 'merged':
                boxes = torch.cat((boxes[:, :2].amin(0), boxes[:, 2:].amax(0)))
            hit = _hit(sample['pred_box'], boxes, self.threshold)
            self.results.append((int(sample['sent_id']), int(hit)))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Count the hits of all processes."""
        return {f'recall@1_{self.protocol}': _share(_once(results, 1)[:, 0] > 0)}
