"""One of several processes dies, raises or stalls: how long until all have ended, and who is named.

    python benchmarks/lost_rank.py [--trials 20] [--processes 2] [--timeout 10]

Each trial starts a training of a small model over gloo with tools/dist_train.sh; rank 1 fails at a
random iteration. The time runs from there to the end of the launcher.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
KINDS = ('killed', 'raising', 'stalling')
CONFIG = """
custom_imports = dict(imports=['reliability', 'lost_rank'])
default_scope = 'mmvl'
model = dict(type='NoisyModel')
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='NoisyDataset'),
)
train_cfg = dict(by_epoch=True, max_epochs=4)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
env_cfg = dict(dist_cfg=dict(backend='gloo', timeout={timeout}))
custom_hooks = [dict(type='FailHook', kind='{kind}', at={at}, once='{mark}')]
randomness = dict(seed=1)
log_level = 'WARNING'
"""


@HOOKS.register_module(force=True)
class FailHook(Hook):
    """Fail on rank 1 at an iteration, the first time that it is reached; note when."""

    def __init__(self, kind: str, at: int, once: str) -> None:
        self.kind, self.at, self.mark = kind, at, Path(once)

    def before_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.rank != 1 or runner.iter != self.at or self.mark.exists():
            return
        self.mark.write_text(str(time.time()))
        if self.kind == 'killed':
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == 'raising':
            raise ValueError('sample 7 is broken.\nWhat to do: mend it.')
        while True:
            time.sleep(60)


@dataclass
class Trial:
    """How one trial ended: launcher's code, seconds since the failure, and what was printed."""

    code: int
    seconds: float
    output: str


def fail(
    kind: str, folder: Path, at: int = 5, processes: int = 2, timeout: int = 10, restarts: int = 0
) -> Trial:
    """Start a training whose rank 1 fails, and wait until everything has ended."""
    mark = folder / 'failed_at'
    config = folder / 'config.py'
    config.write_text(CONFIG.format(timeout=timeout, kind=kind, at=at, mark=mark))
    path = os.pathsep.join([str(ROOT), str(ROOT / 'benchmarks'), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'PYTHONPATH': path, 'PYTHON': sys.executable}
    command = ['bash', str(ROOT / 'tools' / 'dist_train.sh'), str(config), str(processes)]
    command += ['--work-dir', str(folder / 'run'), '--max-restarts', str(restarts)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return Trial(done.returncode, time.time() - float(mark.read_text()), done.stdout)


def main() -> None:
    """Run the trials and print median and maximum of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--trials', type=int, default=20)
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--timeout', type=int, default=10)
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
    args = parser.parse_args()
    rng = random.Random(0)
    for kind in args.kinds:
        trials = []
        for _ in tqdm(range(args.trials), desc=kind, disable=not sys.stderr.isatty()):
            with tempfile.TemporaryDirectory() as folder:
                at = rng.randrange(1, 20)
                trials.append(fail(kind, Path(folder), at, args.processes, args.timeout))
        seconds = [trial.seconds for trial in trials]
        named = sum('rank 1' in trial.output for trial in trials)
        failed = sum(trial.code != 0 for trial in trials)
        print(
            f'{kind}: all ended after {statistics.median(seconds):.1f} s (median), '
            f'{max(seconds):.1f} s (maximum) of {len(trials)}; exit code not 0 in {failed}, '
            f'rank 1 named in {named}',
            flush=True,
        )


if __name__ == '__main__':
    main()
