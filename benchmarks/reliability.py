"""Kill trainings and look at what is left: exact resume, saving, and what our engine costs.

    python benchmarks/reliability.py resume [--kills 40] [--engine mmvl|mmengine]
    python benchmarks/reliability.py saving [--kills 100] [--engine mmvl|mmengine]
    python benchmarks/reliability.py cost [--pairs 5] [--config configs/eoid/toy_ua.py]

``resume`` kills (-9) a training of a small model with dropout, random augmentation and an average
of its weights at random points, resumes it once, and compares weights, average and optimizer with
those of a run that was never stopped, bit by bit. ``saving`` kills while a checkpoint is written
and asks whether a whole one is there. ``cost`` times training iterations of a config with our
runner and hooks against MMEngine's, interleaved; a ratio above 1 means that ours is faster.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine import runner as base
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

import mmvl.engine as ours

SAMPLES, BATCH, EPOCHS = 24, 4, 3
ITERATIONS = EPOCHS * SAMPLES // BATCH
# a training that does little but save some megabytes
LARGE = {
    'train_cfg.max_iters': 10**6,
    'model.width': 100_000,
    'default_hooks.checkpoint.interval': 1,
}


@MODELS.register_module(force=True)
class NoisyModel(BaseModel):
    """Two layers with dropout between them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, width), nn.Dropout(0.5), nn.Linear(width, 1))

    def forward(self, inputs: list[torch.Tensor], mode: str = 'loss') -> Any:
        x = torch.stack(list(inputs))
        return {'loss': (self.layers(x) - x.sum(1, keepdim=True)).square().mean()}


@DATASETS.register_module(force=True)
class NoisyDataset(Dataset):
    """Fixed samples with noise from the global generators, as most transforms draw it."""

    def __init__(self) -> None:
        self.samples = np.random.default_rng(0).normal(size=(SAMPLES, 8))
        self.metainfo: dict[str, Any] = {}

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        noise = np.random.normal(size=8) + random.random() + torch.rand(8).numpy()
        return {'inputs': torch.from_numpy(self.samples[index] + noise).float()}


class Kill(Hook):
    """End the process with -9 at an iteration, at a point of it."""

    priority = 'LOWEST'

    def __init__(self, iteration: int, point: str) -> None:
        self.iteration, self.point = iteration, point

    def _maybe(self, runner: base.Runner, point: str) -> None:
        if point == self.point and runner.iter >= self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_train_iter(self, runner: base.Runner, *args: Any, **kwargs: Any) -> None:
        self._maybe(runner, 'before')

    def after_train_iter(self, runner: base.Runner, *args: Any, **kwargs: Any) -> None:
        self._maybe(runner, 'after')

    def before_save_checkpoint(self, runner: base.Runner, checkpoint: dict) -> None:
        self._maybe(runner, 'saving')


def train(engine: str, folder: Path, kind: str, workers: int, **changes: Any) -> None:
    """Train in this process; ``kill=(iteration, point)`` and ``resume=True`` are changes."""
    kill, resume = changes.pop('kill', None), changes.pop('resume', False)
    epochs = kind == 'epoch'
    loop = dict(
        by_epoch=epochs, **({'max_epochs': EPOCHS} if epochs else {'max_iters': ITERATIONS})
    )
    interval = 1 if epochs else 5
    sampler = dict(type='DefaultSampler' if epochs else 'InfiniteSampler', shuffle=True)
    config = Config(
        dict(
            model=dict(type='NoisyModel'),
            work_dir=str(folder),
            train_dataloader=dict(
                batch_size=BATCH,
                num_workers=workers,
                sampler=sampler,
                dataset=dict(type='NoisyDataset'),
            ),
            train_cfg=loop,
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
            param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=10)],
            custom_hooks=[dict(type='EMAHook', momentum=0.1)],
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook', interval=interval, by_epoch=epochs, max_keep_ckpts=1
                )
            ),
            randomness=dict(seed=5),
            log_level='ERROR',
            default_scope='mmvl' if engine == 'mmvl' else 'mmengine',
            resume=resume,
        )
    )
    config.merge_from_dict(changes)
    kind_of_runner = ours.Runner if engine == 'mmvl' else base.Runner
    runner = kind_of_runner.from_cfg(config)
    if kill:
        runner.register_hook(Kill(*kill))
    runner.train()


def in_child(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Run a function in a forked process; its exit code, or minus the signal that ended it."""
    _, status = os.waitpid(fork(function, *args, **kwargs), 0)
    return os.waitstatus_to_exitcode(status)


def fork(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Start a function in a forked, silent process; its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    if not os.environ.get('VERBOSE'):
        with open(os.devnull, 'w') as quiet:
            os.dup2(quiet.fileno(), 1)
            os.dup2(quiet.fileno(), 2)
    torch.set_num_threads(1)
    code = 1
    try:
        function(*args, **kwargs)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the newest checkpoint: weights, their average if there is one, optimizer."""
    newest = Path((folder / 'last_checkpoint').read_text().strip()).name
    content = torch.load(folder / newest, weights_only=False)
    found: dict[str, torch.Tensor] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f'{name}.{key}')

    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        walk(content.get(part, {}), part)
    return found


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two states have the same tensors, bit by bit."""
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def kill_and_resume(
    engine: str, kills: int, seed: int = 0, **changes: Any
) -> dict[tuple[str, int], list[bool]]:
    """Kill, resume, compare; the kills are dealt out over both loops and 0 and 2 workers.

    Returns:
        (loop, workers) -> for each kill, whether the resumed run ended with the same bits.
    """
    rng = random.Random(seed)
    cases = [(kind, workers) for kind in ('epoch', 'iteration') for workers in (0, 2)]
    found: dict[tuple[str, int], list[bool]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        whole = {}
        for number in tqdm(range(kills), desc=engine, disable=not sys.stderr.isatty()):
            kind, workers = case = cases[number % len(cases)]
            if case not in whole:
                straight = Path(folder) / f'whole_{kind}_{workers}'
                assert in_child(train, engine, straight, kind, workers, **changes) == 0
                whole[case] = final_state(straight)
            cut = Path(folder) / f'cut_{number}'
            kill = rng.randrange(1, ITERATIONS), rng.choice(('before', 'after', 'saving'))
            code = in_child(train, engine, cut, kind, workers, kill=kill, **changes)
            assert code in (-signal.SIGKILL, 0), code
            code = in_child(train, engine, cut, kind, workers, resume=True, **changes)
            found[case].append(code == 0 and same_bits(final_state(cut), whole[case]))
    return found


def kill_while_saving(engine: str, kills: int, seed: int = 0) -> list[bool]:
    """Kill while a checkpoint of some megabytes is written; is a whole one there afterwards?"""
    rng = random.Random(seed)
    found = []
    for _ in tqdm(range(kills), desc=engine, disable=not sys.stderr.isatty()):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            child = fork(train, engine, folder, 'iteration', 0, **LARGE)
            deadline = time.monotonic() + 60
            while not (folder / 'last_checkpoint').exists() and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            found.append(_newest_is_whole(folder))
    return found


def _newest_is_whole(folder: Path) -> bool:
    try:
        content = torch.load(
            Path((folder / 'last_checkpoint').read_text().strip()), weights_only=False
        )
    except Exception:  # whatever a broken file makes of itself
        return False
    return {'state_dict', 'optimizer', 'meta'} <= content.keys()


def iterations_per_second(config: str, pairs: int) -> dict[str, list[float]]:
    """Training iterations per second of a config with each engine, interleaved."""
    rates: dict[str, list[float]] = {'mmengine': [], 'mmvl': []}
    for _ in tqdm(range(pairs), desc='pairs', disable=not sys.stderr.isatty()):
        for engine in rates:
            with tempfile.TemporaryDirectory() as folder:
                report = Path(folder) / 'rate'
                assert in_child(_timed_run, engine, config, folder, report) == 0
                rates[engine].append(float(report.read_text()))
    return rates


class Clock(Hook):
    """Time the iterations of the second half of the run."""

    def __init__(self, count: int, report: Path) -> None:
        self.count, self.report = count, report

    def before_train_iter(self, runner: base.Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter == self.count // 2:
            self.start = time.perf_counter()
        if runner.iter == self.count:
            rate = (self.count - self.count // 2) / (time.perf_counter() - self.start)
            self.report.write_text(str(rate))
            os._exit(0)


def _timed_run(engine: str, path: str, folder: str, report: Path, count: int = 60) -> None:
    config = Config.fromfile(path)
    config.work_dir = folder
    config.load_from = None
    config.log_level = 'ERROR'
    kind = ours.Runner if engine == 'mmvl' else base.Runner
    if engine == 'mmengine':
        config.default_hooks.checkpoint.type = 'mmengine.CheckpointHook'
    runner = kind.from_cfg(config)
    runner.register_hook(Clock(count, report))
    runner.train()


def main() -> None:
    """Run one series and print its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('series', choices=['resume', 'saving', 'cost'])
    parser.add_argument('--kills', type=int, help='default: 40 for resume, 100 for saving')
    parser.add_argument('--pairs', type=int, default=5)
    parser.add_argument('--config', default='configs/eoid/toy_ua.py')
    parser.add_argument('--engine', choices=['mmvl', 'mmengine'], nargs='+', default=['mmvl'])
    args = parser.parse_args()
    if args.series == 'resume':
        for engine in args.engine:
            found = kill_and_resume(engine, args.kills or 40)
            for (kind, workers), same in found.items():
                print(f'{engine}: {kind} loop, {workers} workers: {sum(same)} of {len(same)} equal')
            total = [each for same in found.values() for each in same]
            print(f'{engine}: {sum(total)} of {len(total)} kills end with the same bits')
    elif args.series == 'saving':
        for engine in args.engine:
            whole = kill_while_saving(engine, args.kills or 100)
            print(f'{engine}: a whole newest checkpoint after {sum(whole)} of {len(whole)} kills')
    else:
        rates = iterations_per_second(args.config, args.pairs)
        for engine, values in rates.items():
            print(
                f'{engine}: {statistics.median(values):.2f} iterations/s (median of {args.pairs})'
            )
        ratios = [a / b for a, b in zip(rates['mmvl'], rates['mmengine'], strict=True)]
        print(f'ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})')


if __name__ == '__main__':
    main()
