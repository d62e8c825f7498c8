"""Show ReferFormer working: toy world, start, clips of five frames or single frames, pictures.

Everything runs through the commands that a user types; two run side by side, each on one core.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quickstart import ROOT, mmvl, run_commands, say

WORLD = Path('data/toy_rvos')
CONFIG = 'configs/referformer/toy.py'
KINDS = ('motion or occlusion', 'appearance')
MODELS = {'single': 'single frames', 'clips': 'clips of five frames'}
SHOWN = 'clips'
"""What is drawn."""
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
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
)


def work_dir(model: str, seed: int) -> Path:
    """Where a run keeps its checkpoints and logs."""
    return Path('work_dirs') / f'toy_rvos_{model}_seed{seed}'


def training(folder: Path, seed: int, options: tuple[str, ...]) -> list[str]:
    """The command that trains anew in a folder."""
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    command = ['train', CONFIG, '--seed', str(seed), '--work-dir', str(folder)]
    return [*command, *(('--cfg-options', *options) if options else ())]


def pretrain() -> None:
    """Make what all runs start from: a backbone, then single frames and how things look."""
    mmvl('start', 'toy', 'video-start', str(WORLD))
    folder = Path('work_dirs/toy_rvos_pretraining')
    mmvl('pretraining', *training(folder, 0, PRETRAINING))
    checkpoint = (ROOT / folder / 'last_checkpoint').read_text()
    shutil.copy(ROOT / checkpoint, ROOT / WORLD / 'pretrained.pth')


def run(model: str, seed: int) -> None:
    """Train on clips or on single frames, and test on the sentences about motion."""
    options = SINGLE if model == 'single' else ()
    folder = work_dir(model, seed)
    test = ['test', CONFIG, f'$(cat {folder}/last_checkpoint)', '--work-dir', f'{folder}/motion']
    test += ['--show-dir', f'{folder}/pictures'] if model == SHOWN else []
    test += ['--cfg-options', *options] if options else []
    run_commands(f'{model} {seed}', [training(folder, seed, options), test])


def scores(model: str, seed: int) -> tuple[float, float]:
    """J&F in percent of a run, on sentences about motion and on those about appearance."""
    folder = ROOT / work_dir(model, seed)
    motion = sorted((folder / 'motion').glob('20*/20*.json'))[-1].read_text().splitlines()[-1]
    logged = sorted(folder.glob('20*/vis_data/scalars.json'))[-1].read_text().splitlines()
    appearance = [row for row in map(json.loads, logged) if 'jf/J&F' in row][-1]
    return json.loads(motion)['jf/J&F'], appearance['jf/J&F']


def table(seeds: list[int]) -> str:
    """Markdown table of every run, and the means."""
    lines = [f'| seed | model | {" | ".join(KINDS)} |', '|---|---|' + '---|' * len(KINDS)]
    means = {}
    for model, name in MODELS.items():
        rows = [scores(model, seed) for seed in seeds]
        means[model] = [statistics.mean(column) for column in zip(*rows, strict=True)]
        for label, row in [*zip(map(str, seeds), rows, strict=True), ('mean', means[model])]:
            lines.append(f'| {label} | {name} | {" | ".join(f"{each:.1f}" for each in row)} |')
    gains = [a - b for a, b in zip(means['clips'], means['single'], strict=True)]
    lines.append(f'| mean | difference | {" | ".join(f"{gain:+.1f}" for gain in gains)} |')
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
    say(f'\nJ&F in percent on the sentences about:\n\n{table(args.seeds)}\n')
    say(f'pictures: {work_dir(SHOWN, args.seeds[0])}/pictures')
    minutes, spent = (time.monotonic() - began) / 60, sum(os.times()[2:4]) / 60
    say(f'{minutes:.1f} minutes, {spent:.1f} of the processors')


if __name__ == '__main__':
    main()
