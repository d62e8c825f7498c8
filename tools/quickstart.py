"""Show zero-shot HOI detection working: toy world, CLIP teacher, EoID and its baseline, pictures.

Everything runs through the same commands that a user types; they are printed as they start. Two
run side by side, each on one core.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORLD = Path('data/toy_hoi')
SETTINGS = {'uc': 'unseen combinations', 'ua': 'unseen actions'}
SHOWN = ('Epoch(', 'Iter(', 'toy teacher: ', 'toy start: ', 'images in ')

PROGRAM = """
import json, re, sys
from mmvl.cli.main import main
cat = re.compile(r'^\\$\\(cat (.*)\\)$')
for arguments in json.loads(sys.argv[1]):
    if code := main([cat.sub(lambda found: open(found[1]).read(), each) for each in arguments]):
        sys.exit(code)
"""

_printing = threading.Lock()


def say(text: str) -> None:
    """Print one line at a time, whichever thread it comes from."""
    with _printing:
        sys.stdout.write(f'{text}\n')
        sys.stdout.flush()


def mmvl(label: str, *arguments: str, cores: int = 1) -> None:
    """Run one ``mmvl`` command, showing its progress behind a label.

    Raises:
        SystemExit: the command failed; its last lines are shown.
    """
    run_commands(label, [list(arguments)], cores)


def run_commands(label: str, commands: list[list[str]], cores: int = 1) -> None:
    """Run ``mmvl`` commands after each other in one process, which loads everything only once.

    An argument ``$(cat FILE)`` becomes what the file holds by then, as in a shell. Two cores help
    only where nothing else runs.

    Raises:
        SystemExit: one of them failed; its last lines are shown.
    """
    for arguments in commands:
        say(f'[{label}] $ mmvl {" ".join(arguments)}')
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAM, json.dumps(commands)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': str(cores)},
    )
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line.rstrip())
        if any(mark in line for mark in SHOWN):
            say(f'[{label}] {line.split(" - INFO - ")[-1].strip()[:150]}')
    if process.wait():
        say('\n'.join(lines[-20:]))
        raise SystemExit(f'[{label}] failed: mmvl {" ".join(map(" ".join, commands))}')


def train_anew(
    label: str, config: str, folder: Path, seed: int, options: tuple[str, ...] = ()
) -> None:
    """Train in an empty folder, with options of the config; training ends with a validation."""
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    changes = ('--cfg-options', *options) if options else ()
    mmvl(label, 'train', config, '--seed', str(seed), '--work-dir', str(folder), *changes)


def draw(config: str, folder: Path, options: tuple[str, ...] = ()) -> Path:
    """Test what a folder's training left last, and draw what it finds."""
    pictures = folder / 'pictures'
    where = ('--work-dir', str(folder / 'test'), '--show-dir', str(pictures))
    changes = ('--cfg-options', *options) if options else ()
    mmvl('pictures', 'test', config, f'$(cat {folder}/last_checkpoint)', *where, *changes)
    return pictures


def train(setting: str, kind: str, seed: int) -> None:
    """Train EoID ('eoid') or its baseline ('cdn') in one setting."""
    name = config_name(setting, kind)
    mmvl(
        f'{kind} {setting}',
        'train',
        f'configs/eoid/{name}.py',
        '--work-dir',
        str(work_dir(setting, kind, seed)),
        '--seed',
        str(seed),
    )


def train_detector(seed: int) -> None:
    """Train what all runs start from, as the real ones start from DETR."""
    config, folder = 'configs/eoid/toy_detector.py', str(WORLD / 'detector')
    mmvl('detector', 'train', config, '--work-dir', folder, '--seed', str(seed))


def make_teacher(seed: int) -> None:
    """Train the toy CLIP and keep its scores of all pairs."""
    mmvl('teacher', 'toy', 'hoi-teacher', str(WORLD), '--seed', str(seed))
    mmvl('cache', 'cache', 'eoid', 'configs/eoid/toy_uc.py', str(WORLD / 'teacher'))


def config_name(setting: str, kind: str) -> str:
    """Name of the toy config."""
    return f'toy_{setting}' + ('_cdn' if kind == 'cdn' else '')


def work_dir(setting: str, kind: str, seed: int) -> Path:
    """Where a run keeps its checkpoints and logs."""
    return Path('work_dirs') / f'{config_name(setting, kind)}_seed{seed}'


def last_scores(folder: Path, metric: str) -> dict[str, float]:
    """The last evaluation of a run that gives a metric, from the scalars that the logger keeps."""
    files = sorted((ROOT / folder).glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in files[-1].read_text().splitlines()]
    return [row for row in rows if metric in row][-1]


def table(settings: list[str], seeds: list[int]) -> str:
    """Markdown table of every run and of the ratio that distillation buys."""
    lines = [
        '| setting | seed | model | full | seen | unseen |',
        '|---|---|---|---|---|---|',
    ]
    for setting in settings:
        for seed in seeds:
            unseen = {}
            for kind, model in (('cdn', 'without distillation'), ('eoid', 'EoID')):
                scores = last_scores(work_dir(setting, kind, seed), 'hico/mAP')
                unseen[kind] = scores['hico/mAP_unseen']
                cells = ' | '.join(
                    f'{scores[f"hico/{key}"]:.1f}' for key in ('mAP', 'mAP_seen', 'mAP_unseen')
                )
                lines.append(f'| {SETTINGS[setting]} | {seed} | {model} | {cells} |')
            ratio = unseen['eoid'] / unseen['cdn'] if unseen['cdn'] else float('inf')
            lines.append(f'| | {seed} | unseen, EoID / without | | | {ratio:.2f} x |')
    return '\n'.join(lines)


def run_seed(seed: int, settings: list[str]) -> None:
    """Make the world and the teacher, train every model, draw what EoID finds."""
    # another seed is another world: nothing of the last one may stay
    shutil.rmtree(ROOT / WORLD, ignore_errors=True)
    mmvl('world', 'toy', 'hoi', str(WORLD), '--seed', str(seed))

    with ThreadPoolExecutor(2) as pool:
        detector = pool.submit(train_detector, seed)
        pool.submit(make_teacher, seed).result()
        detector.result()
        runs = [(setting, kind) for setting in settings for kind in ('cdn', 'eoid')]
        for job in [pool.submit(train, setting, kind, seed) for setting, kind in runs]:
            job.result()
    folder = work_dir(settings[0], 'eoid', seed)
    mmvl(
        'pictures',
        'test',
        f'configs/eoid/{config_name(settings[0], "eoid")}.py',
        f'$(cat {folder}/last_checkpoint)',
        '--work-dir',
        str(folder),
        '--show-dir',
        str(folder / 'pictures'),
    )


def main() -> None:
    """Run one seed or several and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--settings', nargs='+', choices=SETTINGS, default=['ua'])
    args = parser.parse_args()
    began = time.monotonic()
    for seed in args.seeds:
        run_seed(seed, args.settings)
    result = table(args.settings, args.seeds)
    say(f'\nToy world, measured ({time.monotonic() - began:.0f} s, mAP on {WORLD}):\n\n{result}\n')
    say(f'pictures: {work_dir(args.settings[0], "eoid", args.seeds[0])}/pictures')


if __name__ == '__main__':
    main()
