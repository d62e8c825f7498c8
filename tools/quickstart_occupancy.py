"""Show ALOcc working: toy street, adaptive or plain lifting, with earlier frames or not, pictures.

Everything runs through the commands that a user types; two run side by side, each on one core.
"""

import argparse
import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quickstart import ROOT, draw, last_scores, mmvl, say, train_anew

WORLD = Path('data/toy_occ')
CONFIG = 'configs/alocc/toy.py'
FULL, PLAIN, SINGLE = 'adaptive', 'plain', 'single'
MODELS = {
    FULL: 'adaptive lifting, earlier frames',
    PLAIN: 'plain lift-splat, earlier frames',
    SINGLE: 'adaptive lifting, one frame',
}
OPTIONS = {
    FULL: (),
    PLAIN: (
        'model.lift.soft_filling=False',
        'model.depth_net.ray_bins=0',
        'model.depth_net.inter_pixel=False',
    ),
    SINGLE: ('model.history=None',),
}
PLACES = {'occ': 'all voxels', 'occluded': 'occluded', 'remembered': 'occluded, seen before'}
METRICS = ('mIoU', 'RayIoU')
"""What is measured in each place, in percent."""

FEW = ('default_hooks.visualization.max_images=16',)
"""Of the frames are drawn."""


def work_dir(model: str, seed: int) -> Path:
    """Where a run keeps its checkpoints and logs."""
    return Path('work_dirs') / f'toy_occ_{model}_seed{seed}'


def run(model: str, seed: int) -> None:
    """Train a model."""
    train_anew(f'{model} {seed}', CONFIG, work_dir(model, seed), seed, OPTIONS[model])


def scores(model: str, seed: int) -> list[float]:
    """What a run reached in all places."""
    found = last_scores(work_dir(model, seed), 'occ/mIoU')
    return [found[f'{place}/{metric}'] for place in PLACES for metric in METRICS]


def table(seeds: list[int]) -> str:
    """Markdown table of every run, the means, and what the full model has more than the others."""
    head = ' | '.join(f'{name}: {" / ".join(METRICS)}' for name in PLACES.values())
    lines = [f'| seed | model | {head} |', '|---|---|' + '---|' * len(PLACES)]
    means = {}
    for model, name in MODELS.items():
        rows = [scores(model, seed) for seed in seeds]
        means[model] = [statistics.mean(column) for column in zip(*rows, strict=True)]
        for label, values in [*zip(map(str, seeds), rows, strict=True), ('mean', means[model])]:
            lines.append(row(label, name, values, '.1f'))
    for model, label in ((PLAIN, 'gain of adaptive lifting'), (SINGLE, 'gain of earlier frames')):
        gains = [full - other for full, other in zip(means[FULL], means[model], strict=True)]
        lines.append(row('mean', label, gains, '+.1f'))
    return '\n'.join(lines)


def row(label: str, name: str, values: list[float], form: str) -> str:
    """Row of the table."""
    cells = [format(value, form) for value in values]
    pairs = zip(cells[::2], cells[1::2], strict=True)
    return f'| {label} | {name} | {" | ".join(map(" / ".join, pairs))} |'


def main() -> None:
    """Make the world and the start, train all models and seeds, print what came out, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the runs')
    args = parser.parse_args()
    began = time.monotonic()
    shutil.rmtree(ROOT / WORLD, ignore_errors=True)
    mmvl('world', 'toy', 'occupancy', str(WORLD))
    mmvl('start', 'toy', 'occupancy-start', str(WORLD), cores=2)
    runs = [(model, seed) for seed in args.seeds for model in MODELS]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run, model, seed) for model, seed in runs]
        jobs[0].result()
        pictures = pool.submit(draw, CONFIG, work_dir(FULL, args.seeds[0]), FEW)
        for job in (*jobs, pictures):
            job.result()
    say(f'\nIn percent:\n\n{table(args.seeds)}\n')
    say(f'pictures: {pictures.result()}')
    minutes, spent = (time.monotonic() - began) / 60, sum(os.times()[2:4]) / 60
    say(f'{minutes:.1f} minutes, {spent:.1f} of the processors')


if __name__ == '__main__':
    main()
