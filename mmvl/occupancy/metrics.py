"""Metrics of occupancy: IoU of voxels, RayIoU and the errors of flow.

Every sample counts once, whatever sampler repeats it, and counts are put in the order of the
samples before they are summed, so results depend on neither order nor number of processes.

Letters in shapes: X Y Z voxels, K classes of which the last is free space.
"""

import functools
import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmvl.registry import METRICS

from . import ray_iou
from .datasets.classes import MOVABLE

Row = tuple[int, Any]


class _CountingMetric(BaseMetric):
    """A metric whose results are (index of the sample, counts), small enough to be gathered.

    Args:
        per_class: also give the values of every class.
        **kwargs: as in :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix: ClassVar[str] = 'occ'

    def __init__(self, per_class: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.per_class = per_class

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, as the dataset gives them.

        Raises:
            ValueError: the dataset has no classes.
        """
        names = (self.dataset_meta or {}).get('classes')
        if not names:
            raise ValueError(
                f'{type(self).__name__}: the dataset names no classes in its metainfo.\n'
                'What to do: use a dataset of mmvl.occupancy, or set metainfo=dict(classes=[...]).'
            )
        return tuple(names)

    @property
    def movable(self) -> list[int]:
        """Numbers of the classes that move."""
        return [number for number, name in enumerate(self.classes) if name in MOVABLE]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch.

        Args:
            data_batch: not used.
            data_samples: ``OccupancySample.to_dict()`` of every sample.

        Raises:
            KeyError: a sample lacks labels or a prediction.
            ValueError: prediction and labels are of different grids.
        """
        for sample in data_samples:
            self.results.append((int(sample['sample_index']), self.count(sample)))

    @abstractmethod
    def count(self, sample: dict[str, Any]) -> Any:
        """Count one sample."""

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the results of all processes; whole scenes give each another number of them.

        Args:
            size: samples of the dataset; not needed, since repeated ones are dropped.
        """
        shares = all_gather_object(self.results)
        found = self.compute_metrics([row for share in shares for row in share])
        self.results.clear()
        prefix = f'{self.prefix}/' if self.prefix else ''
        return {f'{prefix}{name}': value for name, value in found.items()}

    def total(self, results: list[Row]) -> Any:
        """Sum the counts in the order of the samples, each once.

        Raises:
            ValueError: there is no sample.
        """
        if not results:
            raise ValueError('there is no sample to evaluate')
        rows = {index: counts for index, counts in reversed(results)}
        return functools.reduce(operator.add, (rows[index] for index in sorted(rows)))


@METRICS.register_module()
class OccupancyMIoU(_CountingMetric):
    """IoU of voxels over the whole set, in percent.

    Reads ``pred_semantics``, ``gt_semantics`` and, where asked for, the mask of every sample.
    Results, from one matrix of confusion of all samples:

    * ``mIoU``: mean over all classes but free space; those that occur in neither labels nor
      predictions drop out. Free space counts as what something was taken for, or was.
    * ``mIoU_D``: the same over the movable classes.
    * ``IoU``: of occupied against free voxels.

    Args:
        mask: ``'camera'``, voxels that the cameras see; ``'lidar'``; another name, for a field
            ``gt_mask_<name>`` of the dataset; None, all voxels.
        ignore_in_binary: leave voxels labelled 255 out of ``IoU`` too. The released evaluation
            counts them as occupied there, and leaves them out of everything else.
        **kwargs: ``per_class`` adds ``IoU_<class>``; the rest as in MMEngine's BaseMetric.

    Source: Occ3D's evaluation in the released code of BEVDet and ALOcc.
    """

    def __init__(
        self, mask: str | None = 'camera', ignore_in_binary: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mask = mask
        self.ignore_in_binary = ignore_in_binary

    def count(self, sample: dict[str, Any]) -> np.ndarray:
        """Confusion matrix (K, K), labels by predictions, and the binary one behind it: 1-D."""
        number = len(self.classes)
        pred, truth = _field(sample, 'pred_semantics'), _field(sample, 'gt_semantics')
        _same_grid(pred, truth, sample)
        mask = _mask(sample, self.mask, truth)
        if mask is not None:
            pred, truth = pred[mask], truth[mask]
        pred, truth = pred.ravel().astype(np.int64), truth.ravel().astype(np.int64)
        known = truth < number
        matrix = _confusion(truth[known], pred[known], number)
        if self.ignore_in_binary:
            pred, truth = pred[known], truth[known]
        binary = _confusion(truth != number - 1, pred != number - 1, 2)
        return np.concatenate((matrix.ravel(), binary.ravel()))

    def compute_metrics(self, results: list[Row]) -> dict[str, float]:
        """Turn the confusion of all samples into the three measures."""
        names, total = self.classes, self.total(results)
        iou = 100 * _iou(total[:-4].reshape(len(names), -1))
        summary = {
            'mIoU': _mean(iou[:-1]),
            'mIoU_D': _mean(iou[self.movable]),
            'IoU': 100 * float(_iou(total[-4:].reshape(2, 2))[1]),
        }
        if self.per_class:
            summary |= {f'IoU_{name}': float(v) for name, v in zip(names, iou, strict=True)}
        return summary


@METRICS.register_module()
class RayIoUMetric(_CountingMetric):
    """RayIoU and, for labels with flow, its errors and the score of both together.

    Reads ``pred_semantics``, ``gt_semantics``, ``ray_origins`` and, with flow, ``pred_flow`` and
    ``gt_flow`` of every sample. Results:

    * ``RayIoU@1``, ``RayIoU@2``, ``RayIoU@4``, in percent: mean over the classes of rays with the
      right class and a distance less than so many metres off; ``RayIoU``: mean of all three.
    * ``mAVE_TP``: error of flow, m/s, where a ray is right at 2 m; OpenOcc calls it mAVE.
      ``mAVE_ray``: where a ray hits the class in the labels; ``mAVE``: in all its voxels.
    * ``occ_score``, in percent: 0.9 RayIoU + 0.1 max(1 - mAVE_TP, 0).

    Args:
        flow: whether there is flow.
        flow_error: ``'true_positives'``; or ``'all_rays'``, for ``mAVE_TP`` of a server of
            submissions, which averages over all rays of the samples where a class is matched.
        lower: corner of the grid (x, y, z), metres.
        voxel_size: metres.
        mask: as in :class:`OccupancyMIoU`: only rays that end in it in the labels.
        **kwargs: ``per_class`` adds ``RayIoU@2_<class>``; the rest as in MMEngine's BaseMetric.

    Raises:
        ValueError: unknown ``flow_error``.

    Source: SparseOcc (Liu et al., ECCV 2024), OpenOcc and ALOcc, see :mod:`.ray_iou`.
    """

    def __init__(
        self,
        flow: bool = False,
        flow_error: str = 'true_positives',
        lower: Sequence[float] = ray_iou.LOWER,
        voxel_size: float = ray_iou.VOXEL_SIZE,
        mask: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if flow_error not in ('true_positives', 'all_rays'):
            raise ValueError(f'flow_error is true_positives or all_rays, got {flow_error!r}')
        self.flow = flow
        self.flow_error = flow_error
        self.mask = mask
        self.grid = {'lower': tuple(lower), 'voxel_size': voxel_size}

    def count(self, sample: dict[str, Any]) -> ray_iou.RayCounts:
        """Cast the rays of one sample through prediction and labels, and count them."""
        number = len(self.classes)
        pred, truth = _field(sample, 'pred_semantics'), _field(sample, 'gt_semantics')
        _same_grid(pred, truth, sample)
        flows = [_field(sample, f'{side}_flow') if self.flow else None for side in ('pred', 'gt')]
        origins = _field(sample, 'ray_origins')
        found, wanted = (
            ray_iou.cast_rays(grid, origins, flow, num_classes=number, **self.grid)  # type: ignore[arg-type]
            for grid, flow in zip((pred, truth), flows, strict=True)
        )
        mask = _mask(sample, self.mask, truth)
        counts = ray_iou.count_rays(found, wanted, number, self.movable, mask)
        if self.flow:
            pred_flow, gt_flow = (_field(sample, f'{side}_flow') for side in ('pred', 'gt'))
            counts.error_voxels, counts.count_voxels = ray_iou.voxel_flow_errors(
                pred_flow, gt_flow, truth, number, self.movable
            )
        return counts

    def compute_metrics(self, results: list[Row]) -> dict[str, float]:
        """Turn the counts of all samples into the measures."""
        parts = ray_iou.summarise(self.total(results), self.movable)
        iou = 100 * parts['iou']
        summary = {'RayIoU': _mean(iou)}
        for threshold, values in zip(ray_iou.THRESHOLDS, iou, strict=True):
            summary[f'RayIoU@{threshold:g}'] = _mean(values)
        if self.flow:
            key = 'ave_matched' if self.flow_error == 'true_positives' else 'ave_all'
            summary['mAVE_TP'] = _mean(parts[key])
            summary['mAVE_ray'] = _mean(parts['ave_truth'])
            summary['mAVE'] = _mean(parts['ave_voxels'])
            speed = max(1 - summary['mAVE_TP'], 0.0)
            summary['occ_score'] = 0.9 * summary['RayIoU'] + 10 * speed
        if self.per_class:
            pairs = zip(self.classes, iou[ray_iou.FLOW_THRESHOLD], strict=False)
            summary |= {f'RayIoU@2_{name}': float(value) for name, value in pairs}
        return summary


def _field(sample: dict[str, Any], name: str) -> np.ndarray:
    value = sample.get(name)
    if value is None:
        raise KeyError(
            f'sample {sample.get("sample_token")}: no {name}. What to do: see that the test '
            'pipeline loads labels, masks and flow, and that the model predicts what is measured.'
        )
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _mask(sample: dict[str, Any], name: str | None, truth: np.ndarray) -> np.ndarray | None:
    """The mask of a sample by name, of the grid of its labels; None without a name."""
    if name is None:
        return None
    mask = _field(sample, f'gt_mask_{name}')
    _same_grid(mask, truth, sample)
    return mask


def _same_grid(ours: np.ndarray, truth: np.ndarray, sample: dict[str, Any]) -> None:
    if ours.shape != truth.shape:
        raise ValueError(
            f'sample {sample.get("sample_token")}: a grid of {ours.shape} voxels is compared with '
            f'labels of {truth.shape}.\n'
            'What to do: use the labels that the model was made for, or set its grid.'
        )


def _confusion(truth: np.ndarray, pred: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(number * truth + pred, minlength=number**2).reshape(number, number)


def _iou(matrix: np.ndarray) -> np.ndarray:
    right = np.diag(matrix)
    with np.errstate(invalid='ignore'):
        return right / (matrix.sum(0) + matrix.sum(1) - right)


def _mean(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where there is nothing else."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')
