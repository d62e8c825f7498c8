"""One, two, three and five processes evaluate to the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[1] / 'engine'
# A model whose output depends on which images share its batch, as padding makes it; a metric whose
# floating sum depends on the order of the results; and one that keeps two results an image.
MODULE = """
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
import tiny
from mmvl.registry import METRICS, MODELS


@MODELS.register_module()
class BatchModel(tiny.TinyModel):
    def _predict(self, row, index):
        sample = super()._predict(row, index)
        sample.pred_pairs.scores = sample.pred_pairs.scores * self.scale
        return sample

    def forward(self, inputs, index, mode='loss'):
        self.scale = 1 + torch.stack(list(inputs)).square().sum() / 7
        return super().forward(inputs, index, mode)


@METRICS.register_module()
class Sum(BaseMetric):
    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += [(int(sample['img_id']), float(sample['pred_pairs']['scores'].sum()))]*2

    def compute_metrics(self, results):
        total = np.float32(0)
        for _, value in results:
            total += np.float32(value)
        return {'total': float(total), 'order': str([i for i, _ in results])}
"""
RUN = """
import json, os, sys
import torch, world, tiny
from mmengine.config import Config
from mmvl.engine import Runner
from mmvl.engine.distributed import leave_together

config = Config.fromstring(tiny.CONFIG, file_format='.py')
config.work_dir = sys.argv[1]
config.launcher = 'pytorch' if 'RANK' in os.environ else 'none'
config.model.type = 'BatchModel'
config.merge_from_dict({'test_dataloader.dataset.length': 13, 'test_dataloader.num_workers': 1})
config.test_evaluator = [dict(type='TinyMetric'), dict(type='Sum')]

def run():
    torch.manual_seed(0)
    found = Runner.from_cfg(config).test()
    with open(f'{sys.argv[1]}/{os.environ.get("RANK", 0)}.json', 'w') as stream:
        json.dump(found, stream)

leave_together(run)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('world')
    (folder / 'world.py').write_text(MODULE)
    (folder / 'run.py').write_text(RUN)
    return folder


def evaluate(folder: Path, processes: int) -> list[dict]:
    """The result of each process."""
    out = folder / str(processes)
    out.mkdir()
    path = os.pathsep.join([str(folder), str(ENGINE), os.environ.get('PYTHONPATH', '')])
    env = {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}
    start = [sys.executable]
    if processes > 1:
        start += ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
    command = [*start, str(folder / 'run.py'), str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f'{rank}.json').read_text()) for rank in range(processes)]


def test_f36_the_number_of_processes_changes_no_bit(folder: Path) -> None:
    """13 images in batches of 5: uneven over 2 and 3 processes, and nothing to do for two of 5."""
    (alone,) = evaluate(folder, 1)
    assert alone['order'] == str([i for i in range(13) for _ in range(2)])
    assert alone['count'] == 13
    for processes in (2, 3, 5):
        assert evaluate(folder, processes) == [alone] * processes
