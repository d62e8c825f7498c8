"""Show ReferFormer working: toy world, start, clips of five frames or single frames, pictures.

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

WORLD = Path('data/toy_rvos')
CONFIG = 'configs/referformer/toy.py'
METRIC = 'jf/J&F'
MODELS = {'single': 'single frames', 'clips': 'clips of five frames'}
# as many frames a batch as in clips; what is trained frame by frame is run frame by frame
SINGLE = (
    'train_dataloader.batch_size=20',
    'train_dataloader.dataset.num_frames=1',
    'train_dataloader.dataset.test_mode=False',
    'model.test_cfg.window=1',
)
PRETRAINING = (
    *SINGLE,
    f'load_from={WORLD}/start.safetensors',
    'train_dataloader.sampler.key=None',
    'train_dataloader.dataset.ann_file=meta_expressions/train/appearance.json',
    'val_dataloader.dataset.ann_file=meta_expressions/valid/appearance.json',
    'param_scheduler.1.begin=0',
)


def work_dir(model: str, seed: int) -> Path:
    """Where a run keeps its checkpoints and logs."""
    return Path('work_dirs') / f'toy_rvos_{model}_seed{seed}'


def pretrain() -> None:
    """Make what all runs start from: a backbone, then single frames and how things look."""
    mmvl('start', 'toy', 'video-start', str(WORLD))
    folder = Path('work_dirs/toy_rvos_pretraining')
    train_anew('pretraining', CONFIG, folder, 0, PRETRAINING)
    checkpoint = (ROOT / folder / 'last_checkpoint').read_text()
    shutil.copy(ROOT / checkpoint, ROOT / WORLD / 'pretrained.pth')


def run(model: str, seed: int) -> None:
    """Train on the sentences about motion, on clips or on single frames."""
    options = SINGLE if model == 'single' else ()
    train_anew(f'{model} {seed}', CONFIG, work_dir(model, seed), seed, options)


def table(seeds: list[int]) -> str:
    """Markdown table of every run, and the means."""
    names = ' | '.join(MODELS.values())
    lines = [f'| seed | {names} | gain |', '|---|' + '---|' * (len(MODELS) + 1)]
    rows = [
        [last_scores(work_dir(model, seed), METRIC)[METRIC] for model in MODELS] for seed in seeds
    ]
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    for label, (single, clips) in [*zip(map(str, seeds), rows, strict=True), ('mean', means)]:
        lines.append(f'| {label} | {single:.1f} | {clips:.1f} | {clips - single:+.1f} |')
    return '\n'.join(lines)


def main() -> None:
    """Make the world and the start, train all models and seeds, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the runs')
    args = parser.parse_args()
    began = time.monotonic()
    shutil.rmtree(ROOT / WORLD, ignore_errors=True)
    mmvl('world', 'toy', 'video', str(WORLD))
    pretrain()
    runs = [(model, seed) for seed in args.seeds for model in MODELS]
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(run, model, seed) for model, seed in runs]:
            job.result()
    pictures = draw(CONFIG, work_dir('clips', args.seeds[0]))
    say(f'\nJ&F in percent, sentences about motion or occlusion:\n\n{table(args.seeds)}\n')
    say(f'pictures: {pictures}')
    minutes, spent = (time.monotonic() - began) / 60, sum(os.times()[2:4]) / 60
    say(f'{minutes:.1f} minutes, {spent:.1f} of the processors')


if __name__ == '__main__':
    main()
