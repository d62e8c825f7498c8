"""``mmvl toy``: draw a toy world in the files of the real dataset, or train its teacher."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of the toy worlds."""
    parser.add_argument(
        'what',
        choices=['hoi', 'hoi-teacher', 'grounding'],
        help='a world, or a small CLIP trained on that of hoi',
    )
    parser.add_argument('folder', help='where the files of the world go, or are')
    parser.add_argument('--seed', type=int, default=0, help='the same seed makes the same files')


def run(args: argparse.Namespace) -> None:
    """Draw the world, or train its teacher, which reports how well it knows the verbs."""
    from mmvl.grounding import toy as grounding
    from mmvl.hoi.toy import train_teacher, write_world

    if args.what == 'grounding':
        grounding.write_world(args.folder, args.seed)
    elif args.what == 'hoi':
        write_world(args.folder, args.seed)
    else:
        train_teacher(args.folder, Path(args.folder) / 'clip.safetensors', args.seed)
