"""Evaluation that gives the same bits on any number of processes.

Two things would otherwise depend on it. Which images share a batch decides how they are padded,
and so the last bits of their predictions: here every process takes whole batches, those that one
process would form. And results arrive in the order of processes: here they are put back into the
order of batches before a metric sees them, and nothing is repeated to fill up a process.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.evaluator.metric import _to_cpu
from mmengine.runner import TestLoop, ValLoop
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from mmvl.registry import LOOPS

from .loops import with_batches


class EveryNthBatch:
    """Of the batches in a dataset's own order, those with numbers rank, rank + n, rank + 2 n, ...

    Args:
        dataset: what is evaluated.
        batch_size: images of a batch.
    """

    def __init__(self, dataset: Any, batch_size: int) -> None:
        self.rank, self.world_size = get_dist_info()
        self.batches = BatchSampler(SequentialSampler(dataset), batch_size, drop_last=False)

    def __len__(self) -> int:
        return len(range(self.rank, len(self.batches), self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batches):
            if number % self.world_size == self.rank:
                yield batch


class OrderedEvaluator(Evaluator):
    """MMEngine's evaluator, with results in the order of batches for every metric.

    Expects the batches of :class:`EveryNthBatch`, one a call of ``process``.
    """

    def __init__(self, metrics: Any) -> None:
        super().__init__(metrics)
        self._ends: list[list[int]] = []

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Let each metric see a batch, and note which results come from it."""
        super().process(data_samples, data_batch)
        self._ends.append([len(metric.results) for metric in self.metrics])

    def evaluate(self, size: int) -> dict[str, Any]:
        """Compute every metric from the results of all processes.

        Args:
            size: images in the dataset; not needed, since no image is repeated.

        Returns:
            Name -> value, the same in every process.

        Raises:
            ValueError: two metrics give a value of the same name.
        """
        found: dict[str, Any] = {}
        ends, self._ends = self._ends, []
        for number, metric in enumerate(self.metrics):
            bounds = [0, *(each[number] for each in ends)]
            batches = [
                metric.results[start:end] for start, end in zip(bounds, bounds[1:], strict=False)
            ]
            values = _compute(metric, batches)
            twice = found.keys() & values.keys()
            if twice:
                raise ValueError(
                    f"two metrics give '{min(twice)}'.\nWhat to do: give one of them a prefix."
                )
            found.update(values)
        return found


def _compute(metric: BaseMetric, batches: list[list[Any]]) -> dict[str, Any]:
    shares = all_gather_object(_to_cpu(batches))
    values: list[Any] = [None]
    if is_main_process():
        most = max(len(share) for share in shares)
        order = [share[i] for i in range(most) for share in shares if i < len(share)]
        computed = metric.compute_metrics([result for batch in order for result in batch])
        prefix = f'{metric.prefix}/' if metric.prefix else ''
        values = [{f'{prefix}{name}': value for name, value in computed.items()}]
    broadcast_object_list(values)
    metric.results.clear()
    return values[0]


class _InOrder:
    """What validation and test share: the batches of one process, dealt out to all."""

    dataloader: DataLoader
    evaluator: Evaluator

    def deal(self) -> None:
        """Deal out the batches, and put the results back into their order.

        A loader with another sampler (whole videos, for instance) or a metric that collects in its
        own way keeps it.
        """
        loader, batches = self.dataloader, self.dataloader.batch_sampler
        if type(batches) is not BatchSampler or batches.drop_last:
            return
        if getattr(batches.sampler, 'shuffle', True):
            return
        if any(type(each).evaluate is not BaseMetric.evaluate for each in self.evaluator.metrics):
            return
        ours = EveryNthBatch(loader.dataset, batches.batch_size)
        self.dataloader = with_batches(loader, ours, loader.dataset)
        meta = self.evaluator.dataset_meta
        self.evaluator = OrderedEvaluator(self.evaluator.metrics)
        if meta is not None:
            self.evaluator.dataset_meta = meta


@LOOPS.register_module()
class OrderedValLoop(_InOrder, ValLoop):
    """MMEngine's validation, with the same result on any number of processes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deal()


@LOOPS.register_module()
class OrderedTestLoop(_InOrder, TestLoop):
    """MMEngine's test, with the same result on any number of processes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deal()
