"""Writing predictions down in a form that can be read without running code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmvl.registry import METRICS

from .checkpoint import write_atomically

# What identifies an image, taken over from its data sample.
IDENTITY = ('img_id', 'file_name', 'img_path', 'ori_shape')


@METRICS.register_module()
class DumpPredictions(BaseMetric):
    """Write the predictions of a test as JSON: a list with one entry an image.

    An entry has ``img_id``, ``file_name``, ``img_path``, ``ori_shape`` (height, width) as far as
    the sample has them, and its ``pred_*`` parts with tensors as nested lists.

    Args:
        out_file: the file to make, ending in ``.json``.

    Raises:
        ValueError: another ending, such as ``.pkl``: pickles run code when they are read.
    """

    def __init__(self, out_file: str) -> None:
        super().__init__(collect_device='cpu')
        if Path(out_file).suffix != '.json':
            raise ValueError(
                f'--out {out_file}: predictions are written as JSON.\n'
                "What to do: give a name that ends in '.json'."
            )
        self.out_file = Path(out_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is to be written of one batch."""
        for sample in data_samples:
            kept = {key: sample[key] for key in IDENTITY if key in sample}
            kept.update({key: sample[key] for key in sample if key.startswith('pred_')})
            self.results.append(_jsonable(kept))

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Write the file; there is nothing to measure."""
        write_atomically(self.out_file, lambda tmp: tmp.write_text(json.dumps(results)))
        return {}


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseDataElement):
        value = value.to_dict()
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value
