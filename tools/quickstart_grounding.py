"""Show VG-LAW working: toy world, start, weights that depend on the sentence or not, pictures.

Everything runs through the commands that a user types; two run side by side, each on one core.
"""

import argparse
import json
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quickstart import ROOT, last_scores, run_commands, say

WORLD = Path('data/toy_rec')
CONFIG = 'configs/vg_law/toy.py'
VARIANTS = {'static': 'static weights', 'svd': 'language-adaptive weights'}
SHOWN = 'svd'
"""The variant that is drawn, with the first seed."""
SPLITS = {'val': 'pairs seen', 'testA': 'held-out pairs', 'testB': 'left and right'}
VALIDATED = 'testA'
"""What training ends with; it is tested once more to be drawn."""


def work_dir(variant: str, seed: int) -> Path:
    """Where a run keeps its checkpoints and logs."""
    return Path('work_dirs') / f'toy_rec_{variant}_seed{seed}'


def run(variant: str, seed: int, drawn: bool) -> None:
    """Train a variant of VG-LAW, test it on the splits that training does not end with, draw."""
    folder = work_dir(variant, seed)
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    options = ('--cfg-options', f'model.variant={variant}')
    seeded = ('--seed', str(seed), '--work-dir', str(folder))
    commands = [['train', CONFIG, *seeded, *options]]
    checkpoint = f'$(cat {folder}/last_checkpoint)'
    for split in SPLITS:
        if split == VALIDATED and not drawn:
            continue
        out = str(folder / split)
        show = ('--show-dir', f'{out}/pictures') if split == VALIDATED else ()
        chosen = f'test_dataloader.dataset.split={split}'
        commands.append(['test', CONFIG, checkpoint, '--work-dir', out, *show, *options, chosen])
    run_commands(f'{variant} {seed}', commands)


def scores(variant: str, seed: int, split: str) -> tuple[float, float]:
    """REC accuracy and RES mIoU in percent of a run on a split."""
    folder = work_dir(variant, seed)
    if split == VALIDATED:
        row = last_scores(folder, 'rec/acc')
    else:
        file = sorted((ROOT / folder / split).glob('20*/20*.json'))[-1]
        row = json.loads(file.read_text().splitlines()[-1])
    return row['rec/acc'], row['res/mIoU']


def table(seeds: list[int]) -> str:
    """Markdown table of every run, and the means."""
    head = ' | '.join(f'{name}: REC / RES' for name in SPLITS.values())
    lines = [f'| seed | model | {head} |', '|---|---|' + '---|' * len(SPLITS)]
    for variant, model in VARIANTS.items():
        rows = [[scores(variant, seed, split) for split in SPLITS] for seed in seeds]
        means = [
            tuple(map(statistics.mean, zip(*column, strict=True)))
            for column in zip(*rows, strict=True)
        ]
        for name, row in [*zip(map(str, seeds), rows, strict=True), ('mean', means)]:
            cells = ' | '.join(f'{rec:.1f} / {res:.1f}' for rec, res in row)
            lines.append(f'| {name} | {model} | {cells} |')
    return '\n'.join(lines)


def main() -> None:
    """Make the world and the start, train all variants and seeds, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the runs')
    args = parser.parse_args()
    began = time.time()
    shutil.rmtree(ROOT / WORLD, ignore_errors=True)
    start = [['toy', what, str(WORLD)] for what in ('grounding', 'grounding-start')]
    run_commands('start', start, cores=2)
    shown = SHOWN, args.seeds[0]
    runs = [(variant, seed) for seed in args.seeds for variant in VARIANTS]
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(run, *each, each == shown) for each in runs]:
            job.result()
    say(f'\n{table(args.seeds)}\n')
    say(f'pictures: {work_dir(*shown) / VALIDATED}')
    say(f'{(time.time() - began) / 60:.1f} minutes')


if __name__ == '__main__':
    main()
