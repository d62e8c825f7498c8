"""``mmvl convert``: turn a released checkpoint into ours."""

import argparse
import tempfile
from pathlib import Path

METHODS = ('eoid', 'detr')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of conversion."""
    parser.add_argument('method', choices=METHODS, help='whose checkpoint it is')
    parser.add_argument('source', help='the released file')
    parser.add_argument('target', help='the .safetensors file to make')
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='run the code in the file: only for an author whom you trust as you trust a program',
    )


def run(args: argparse.Namespace) -> None:
    """Convert.

    Raises:
        CheckpointError: the file is refused.
        ValueError: a tensor in it has no place in the method.
    """
    from mmvl.hoi.eoid.convert import convert_file

    if not args.trust_pickle:
        convert_file(args.method, args.source, args.target)
        return
    import torch

    from mmvl.engine.checkpoint import load_checkpoint_file, state_dict_of

    state = state_dict_of(load_checkpoint_file(args.source, trust='pickle'))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / 'weights.pth'
        torch.save({'model': state}, plain)
        convert_file(args.method, plain, args.target)
