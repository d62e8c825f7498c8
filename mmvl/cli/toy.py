"""``mmvl toy``: draw a toy world in the files of the real dataset, or train what its runs need."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of the toy worlds."""
    parser.add_argument(
        'what',
        choices=['hoi', 'hoi-teacher', 'grounding', 'grounding-start', 'occupancy'],
        help='a world, a small CLIP trained on that of hoi, a small backbone on that of grounding',
    )
    parser.add_argument('folder', help='where the files of the world go, or are')
    parser.add_argument('--seed', type=int, default=0, help='the same seed makes the same files')


def run(args: argparse.Namespace) -> None:
    """Draw a world, or train what runs on it start from; that reports how well it knows things."""
    from mmvl.grounding import toy as grounding
    from mmvl.hoi.toy import train_teacher, write_world
    from mmvl.occupancy import toy as occupancy

    if args.what == 'occupancy':
        occupancy.write_world(args.folder, args.seed)
    elif args.what == 'grounding':
        grounding.write_world(args.folder, args.seed)
    elif args.what == 'grounding-start':
        grounding.train_start(args.folder, Path(args.folder) / 'start.safetensors', args.seed)
    elif args.what == 'hoi':
        write_world(args.folder, args.seed)
    else:
        train_teacher(args.folder, Path(args.folder) / 'clip.safetensors', args.seed)
