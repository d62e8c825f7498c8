"""One process with four images a step against two processes, and two nodes, with two each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmvl.hoi.toy import write_world

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = ['{root}/configs/eoid/hico_mini.py']
custom_imports = dict(imports=['mean_loss'])
custom_hooks = [dict(type='MeanLoss')]
train_cfg = dict(max_epochs=1, val_interval=5)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('two')
    # pictures of one size: padding, which depends on the batch, plays no part
    write_world(folder / 'world', seed=0, num_train=16, num_test=2)
    (folder / 'config.py').write_text(CONFIG.format(root=ROOT))
    return folder


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    return {**os.environ, 'PYTHONPATH': path, 'PATH': programs, 'OMP_NUM_THREADS': '1', **more}


def start(command: list[str], folder: Path, name: str, batch: int, **env: str) -> subprocess.Popen:
    options = ['--work-dir', str(folder / name), '--cfg-options', f'data_root={folder}/world/']
    options.append(f'train_dataloader.batch_size={batch}')
    return subprocess.Popen(
        [*command, *options],
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def curve(folder: Path, name: str, processes: list[subprocess.Popen]) -> list[dict[str, float]]:
    try:
        for process in processes:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output[-3000:]
    finally:
        # one that waits for a failed other would keep the port from the next run
        for process in processes:
            process.terminate()
    lines = (folder / name / 'mean_loss.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_same_curve_in_one_process_two_processes_and_two_nodes(folder: Path) -> None:
    config = str(folder / 'config.py')
    script = str(ROOT / 'tools' / 'dist_train.sh')
    train = [sys.executable, str(ROOT / 'tools' / 'train.py'), config]
    one = curve(folder, 'one', [start(train, folder, 'one', 4)])
    two = curve(folder, 'two', [start(['bash', script, config, '2'], folder, 'two', 2)])
    nodes = {'NNODES': '2', 'MASTER_ADDR': '127.0.0.1', 'PORT': '29617'}
    both = [
        start(['bash', script, config, '1'], folder, 'nodes', 2, NODE_RANK=rank, **nodes)
        for rank in ('1', '0')
    ]
    assert len(one) == len(two) == 4
    # divided by the pairs of all ranks: the same number, whoever computes it
    for name in ('loss_sub_bbox', 'loss_sub_giou'):
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-5)
    # the other terms are divided on each rank, as in the released code
    for first, second in zip(one, two, strict=True):
        assert second['loss'] == pytest.approx(first['loss'], rel=0.1)
    assert curve(folder, 'nodes', both) == two
