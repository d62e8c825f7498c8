"""Metrics of referring video segmentation.

Every sentence counts once, whatever sampler repeats it, and results are put in the order of their
names before they are summed, so they depend on neither order nor number of processes.

Letters in shapes: T frames, Q queries, H and W of the frames on disk.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from mmvl.registry import METRICS

from .jf import frame_scores

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
EPS = 1e-6
"""Of the released evaluation of A2D, added to intersection and union."""
AP_NAMES = ('mAP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large')


@METRICS.register_module()
class JFMetric(BaseMetric):
    """Region similarity J and contour accuracy F of every expression, in percent.

    Reads ``video_id``, ``exp_id``, ``pred_masks`` and ``ori_masks`` (T, H, W) of every data sample.
    Results: ``J``, ``F`` and ``J&F``: the mean over the frames of an expression, then over
    expressions, as the server of Ref-YouTube-VOS does. For videos with annotations of their own:
    those of its validation set are not public.

    Source: DAVIS (Perazzi et al. 2016), see :mod:`mmvl.video.jf`.
    """

    default_prefix: ClassVar[str] = 'jf'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep J and F of every expression.

        Args:
            data_batch: not used.
            data_samples: ``ClipDataSample.to_dict()`` of every expression.

        Raises:
            KeyError: a sample lacks masks.
            ValueError: the masks of a sample differ in size or number.
        """
        for sample in data_samples:
            name = _name(sample)
            pred, truth = (_field(sample, field, name) for field in ('pred_masks', 'ori_masks'))
            _same_size(pred, truth, name)
            scores = [frame_scores(pred[t], truth[t], 1, 1) for t in range(len(truth))]
            region, contour = np.array(scores)[..., 0].mean(0).tolist()
            self.results.append((name, region, contour))

    def compute_metrics(self, results: list[tuple[str, float, float]]) -> dict[str, float]:
        """Average over the expressions of all processes."""
        rows = dict(sorted((name, values) for name, *values in results))
        if not rows:
            return dict.fromkeys(('J&F', 'J', 'F'), float('nan'))
        region, contour = 100 * np.array([*rows.values()]).mean(0)
        return {'J&F': (region + contour) / 2, 'J': region, 'F': contour}


class _Answer(NamedTuple):
    """What is kept of a sentence of A2D or JHMDB: run-length codes at the size on disk."""

    name: str
    image_id: str
    truth: dict[str, Any]
    masks: list[dict[str, Any]]
    scores: list[float]
    overlap: int
    union: int


@METRICS.register_module()
class SentenceSegMetric(BaseMetric):
    """A2D-Sentences and JHMDB-Sentences: P@K, IoU and mAP of the annotated frames, in percent.

    Reads ``image_id``, ``ori_masks`` (1, H, W), ``query_masks`` (Q, H, W) and ``query_scores`` (Q,)
    of every data sample. Results:

    * ``P@0.5`` to ``P@0.9``: share of sentences whose best-scored mask has a greater IoU; of equal
      scores the last query is taken. ``mIoU`` and ``oIoU`` (sum of intersections over sum of
      unions) of the same masks. IoU has single precision and an epsilon, as in the released code.
    * ``mAP`` over IoU 0.50 to 0.95, ``AP50``, ``AP75`` and ``AP_small``, ``AP_medium``,
      ``AP_large``: of all queries, by COCO's evaluation without classes; -1 where nothing counts.

    Source: MTTR (Botach et al. 2022), released evaluation, used by ReferFormer.
    """

    default_prefix: ClassVar[str] = 'sentences'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the masks of every sentence as run-length codes.

        Args:
            data_batch: not used.
            data_samples: ``ClipDataSample.to_dict()`` of every sentence.

        Raises:
            KeyError: a sample lacks masks.
            ValueError: the masks of a sample differ in size.
        """
        for sample in data_samples:
            name = _name(sample)
            truth, masks = (_field(sample, field, name) for field in ('ori_masks', 'query_masks'))
            _same_size(masks[:1], truth, name)
            scores = _field(sample, 'query_scores', name).astype(float)
            best = masks[len(scores) - 1 - int(scores[::-1].argmax())]
            self.results.append(
                _Answer(
                    name,
                    sample['image_id'],
                    _encode(truth[0]),
                    [_encode(mask) for mask in masks],
                    scores.tolist(),
                    int((best & truth[0]).sum()),
                    int((best | truth[0]).sum()),
                )
            )

    def compute_metrics(self, results: list[_Answer]) -> dict[str, float]:
        """Evaluate the sentences of all processes."""
        answers = [*{each[0]: _Answer(*each) for each in sorted(results)}.values()]
        if not answers:
            raise ValueError('there is no sentence to evaluate')
        areas = np.array([(each.overlap, each.union) for each in answers], np.int64)
        iou = np.divide(*(areas.astype(np.float32) + np.float32(EPS)).T).astype(np.float64)
        total = areas.sum(0)
        summary = {f'P@{k}': 100 * float((iou > k).mean()) for k in PRECISIONS}
        summary['mIoU'] = 100 * float(iou.mean())
        summary['oIoU'] = 100 * float(total[0] / total[1]) if total[1] else float('nan')
        return summary | average_precision(answers)


def average_precision(answers: Sequence[_Answer]) -> dict[str, float]:
    """COCO's average precision of masks, without classes, in percent."""
    truths: list[dict] = []
    guesses: list[dict] = []
    images: dict[str, dict] = {}
    for number, each in enumerate(answers, start=1):
        height, width = each.truth['size']
        common = {'image_id': each.image_id, 'category_id': 1, 'iscrowd': 0}
        if each.image_id not in images:
            images[each.image_id] = {'id': each.image_id, 'height': height, 'width': width}
            area = int(coco_mask.area(each.truth))
            truths.append({'id': number, 'segmentation': each.truth, 'area': area, **common})
        for mask, score in zip(each.masks, each.scores, strict=True):
            area = int(coco_mask.area(mask))
            found = {'id': len(guesses) + 1, 'segmentation': mask, 'score': score, 'area': area}
            guesses.append({**common, **found})
    with contextlib.redirect_stdout(None):  # it prints its progress
        evaluation = COCOeval(_index(images, truths), _index(images, guesses), 'segm')
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision']  # (thresholds, recalls, classes, areas, limits)
    thresholds = evaluation.params.iouThrs
    at = {value: int(np.argmin(abs(thresholds - value))) for value in (0.5, 0.75)}
    parts = [
        precision[..., 0, -1],
        *(precision[at[value], ..., 0, -1] for value in (0.5, 0.75)),
        *(precision[..., area, -1] for area in (1, 2, 3)),
    ]
    counted = [part[part > -1] for part in parts]
    values = [100 * float(part.mean()) if part.size else -1.0 for part in counted]
    return dict(zip(AP_NAMES, values, strict=True))


def _index(images: dict[str, dict], annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        'images': [*images.values()],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'referent'}],
    }
    coco.createIndex()
    return coco


def _name(sample: dict) -> str:
    return '/'.join(str(sample.get(key)) for key in ('video_id', 'exp_id', 'image_id'))


def _field(sample: dict, field: str, name: str) -> np.ndarray:
    value = sample.get(field)
    if value is None:
        raise KeyError(
            f'{name}: no {field}. What to do: see that the test pipeline keeps the masks of the '
            'frames on disk, and that test_cfg.mode of the model fits the dataset.'
        )
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _same_size(pred: np.ndarray, truth: np.ndarray, name: str) -> None:
    if pred.shape != truth.shape:
        raise ValueError(
            f'{name}: masks of {pred.shape} predicted, of {truth.shape} annotated (frames, height, '
            'width).'
        )


def _encode(mask: np.ndarray) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': code['size'], 'counts': code['counts']}
