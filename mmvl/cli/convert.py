"""``mmvl convert``: turn a released checkpoint into ours, or join such files into one."""

import argparse
import importlib
import tempfile
from pathlib import Path

from .errors import UsageError

JOIN = 'join'
# method -> module with its ``convert_file``
METHODS = {
    'eoid': 'mmvl.hoi.eoid.convert',
    'detr': 'mmvl.hoi.eoid.convert',
    'vitdet': 'mmvl.grounding.vg_law.convert',
    'bert': 'mmvl.grounding.vg_law.convert',
    'vg_law': 'mmvl.grounding.vg_law.convert',
    'referformer': 'mmvl.video.referformer.convert',
    'referformer_start': 'mmvl.video.referformer.convert',
    'referformer_backbone': 'mmvl.video.referformer.convert',
    'roberta': 'mmvl.video.referformer.convert',
    'alocc': 'mmvl.occupancy.alocc.convert',
    'bevdet': 'mmvl.occupancy.alocc.convert',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of conversion."""
    parser.add_argument(
        'method',
        choices=[*METHODS, JOIN],
        help='whose checkpoint it is; join: put the tensors of several files into one',
    )
    parser.add_argument('sources', nargs='+', metavar='source', help='the released file')
    parser.add_argument('target', help='the .safetensors file to make')
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='run the code in the file: only for an author whom you trust as you trust a program',
    )


def run(args: argparse.Namespace) -> None:
    """Convert or join.

    Raises:
        CheckpointError: a file is refused.
        ValueError: a tensor in it has no place in the method.
        UsageError: several files to convert, or files to join that hold the same tensor.
    """
    if args.method == JOIN:
        _join(args)
        return
    if len(args.sources) > 1:
        raise UsageError(
            f"'mmvl convert {args.method}' takes one file, not {len(args.sources)}.\n"
            f"What to do: convert each on its own, then put them together by 'mmvl convert {JOIN}'."
        )
    convert_file = importlib.import_module(METHODS[args.method]).convert_file
    (source,) = args.sources
    if not args.trust_pickle:
        convert_file(args.method, source, args.target)
        return
    import torch

    from mmvl.engine.checkpoint import load_checkpoint_file, state_dict_of

    state = state_dict_of(load_checkpoint_file(source, trust='pickle'))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / 'weights.pth'
        torch.save({'model': state}, plain)
        convert_file(args.method, plain, args.target)


def _join(args: argparse.Namespace) -> None:
    from mmengine.logging import print_log

    from mmvl.engine.checkpoint import (
        Trust,
        load_checkpoint_file,
        save_safetensors,
        state_dict_of,
    )

    joined = {}
    origin: dict[str, str] = {}
    trust: Trust = 'pickle' if args.trust_pickle else 'weights'
    for source in args.sources:
        state = state_dict_of(load_checkpoint_file(source, trust))
        twice = next((name for name in state if name in joined), None)
        if twice is not None:
            raise UsageError(
                f"'{twice}' is in {origin[twice]} and in {source}.\n"
                'What to do: join files that hold different parts of a model.'
            )
        joined.update(state)
        origin.update(dict.fromkeys(state, source))
    names = ', '.join(Path(source).name for source in args.sources)
    save_safetensors(joined, args.target, metadata={'method': JOIN, 'source': names})
    print_log(f'{len(joined)} tensors of {len(args.sources)} files: {args.target}', 'current')
