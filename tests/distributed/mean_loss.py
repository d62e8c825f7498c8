"""A hook that writes each step's loss terms, averaged over all ranks."""

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook

from mmvl.registry import HOOKS


@HOOKS.register_module()
class MeanLoss(Hook):
    """Append ``{name: mean over ranks}`` to ``mean_loss.jsonl`` after every step."""

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        names = sorted(name for name in outputs if name.startswith('loss'))
        values = torch.tensor([float(outputs[name]) for name in names], dtype=torch.float64)
        all_reduce(values, 'mean')
        if is_main_process():
            with open(Path(runner.work_dir) / 'mean_loss.jsonl', 'a') as stream:
                stream.write(json.dumps(dict(zip(names, values.tolist(), strict=True))) + '\n')
