"""``mmvl toy``: draw a toy world in the files of the real dataset, or train what its runs need."""

import argparse
import importlib
from pathlib import Path

# what -> module, function, and the file that it makes in the folder if it trains something
WHAT = {
    'hoi': ('mmvl.hoi.toy', 'write_world', ''),
    'hoi-teacher': ('mmvl.hoi.toy', 'train_teacher', 'clip.safetensors'),
    'grounding': ('mmvl.grounding.toy', 'write_world', ''),
    'grounding-start': ('mmvl.grounding.toy', 'train_start', 'start.safetensors'),
    'video': ('mmvl.video.toy', 'write_world', ''),
    'video-start': ('mmvl.video.toy', 'train_start', 'start.safetensors'),
    'occupancy': ('mmvl.occupancy.toy', 'write_world', ''),
    'occupancy-start': ('mmvl.occupancy.toy', 'train_start', 'start.safetensors'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of the toy worlds."""
    parser.add_argument(
        'what',
        choices=list(WHAT),
        help='a world; teacher: a small CLIP, start: a small backbone, trained on that world',
    )
    parser.add_argument('folder', help='where the files of the world go, or are')
    parser.add_argument('--seed', type=int, default=0, help='the same seed makes the same files')


def run(args: argparse.Namespace) -> None:
    """Draw a world, or train what runs on it start from; that reports how well it knows things."""
    module, function, file = WHAT[args.what]
    files = (Path(args.folder) / file,) if file else ()
    getattr(importlib.import_module(module), function)(args.folder, *files, args.seed)
