"""A model and a dataset that train in milliseconds, registered for configs of tests."""

from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmvl.registry import DATASETS, METRICS, MODELS


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Linear regression behind dropout, so that a run depends on the generators."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(width, 1)

    def forward(self, inputs: Any, index: Any, mode: str = 'loss') -> Any:
        x = torch.stack(list(inputs))
        if mode == 'loss':
            return {'loss': (self.linear(self.dropout(x)) - x.sum(1, keepdim=True)).square().mean()}
        return [self._predict(row, i) for row, i in zip(x, index, strict=True)]

    def _predict(self, row: Tensor, index: int) -> BaseDataElement:
        sample = BaseDataElement(metainfo={'img_id': int(index), 'ori_shape': (3, 4)})
        sample.pred_pairs = InstanceData(scores=self.linear(row).detach())
        return sample


@DATASETS.register_module(force=True)
class TinyDataset(Dataset):
    """Twelve rows of noise; each a pure function of (seed, epoch, index)."""

    METAINFO = {'name': 'tiny'}

    def __init__(self, length: int = 12, fail_at: int | None = None) -> None:
        self.length = length
        self.fail_at = fail_at
        self.metainfo = self.METAINFO
        self.key = [0, 0]

    def set_seed(self, seed: int) -> None:
        self.key[0] = seed

    def set_epoch(self, epoch: int) -> None:
        self.key[1] = epoch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.fail_at:
            raise ValueError(f'row {index} is broken.\nWhat to do: mend it.')
        noise = np.random.default_rng([*self.key, index]).normal(size=4)
        return {'inputs': torch.from_numpy(noise).float(), 'index': index}


@METRICS.register_module(force=True)
class TinyMetric(BaseMetric):
    """Mean score."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.extend(float(s['pred_pairs']['scores'].sum()) for s in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {'mean': float(np.mean(results)), 'count': len(results)}


CONFIG = """
custom_imports = dict(imports=['tiny'])
default_scope = 'mmvl'
length = 12
model = dict(type='TinyModel', width=4)
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='TinyDataset', length=length),
)
val_dataloader = dict(
    batch_size=5,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='TinyDataset', length=length),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='TinyMetric')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=3)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=10)]
randomness = dict(seed=3)
log_level = 'WARNING'
visualizer = None
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
"""
