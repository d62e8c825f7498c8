"""Options that training and testing share, and what they do to a config."""

import argparse
import os
import tempfile
from typing import TYPE_CHECKING

from mmengine.config import Config, DictAction

from .config import read_config
from .errors import UsageError

if TYPE_CHECKING:
    from mmvl.engine import Runner

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both commands take."""
    parser.add_argument('--work-dir', metavar='DIR', help='default: work_dirs/<config name>')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change the config: optim_wrapper.optimizer.lr=1e-5 data_root=/data/hico',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='who starts them')
    parser.add_argument('--compile', action='store_true', help='use torch.compile on the model')
    # torchrun passes the variable, its older form the option
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that let a doubtful checkpoint through; no config can do that."""
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='run the code in the checkpoint: only for an author whom you trust like a program',
    )
    parser.add_argument(
        '--allow-nonfinite', action='store_true', help='load weights with NaN or infinite values'
    )


def trusting(runner: 'Runner', args: argparse.Namespace) -> 'Runner':
    """Hand the options of :func:`add_trust_options` to a runner."""
    runner.trust = 'pickle' if args.trust_pickle else 'weights'
    runner.allow_nonfinite = args.allow_nonfinite
    return runner


def shared_config(args: argparse.Namespace) -> Config:
    """Read the config of a command and apply the shared options.

    Raises:
        UsageError: the config or a key does not exist, or the work folder cannot be written.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = read_config(args.config, args.cfg_options, args.work_dir)
    config.launcher = args.launcher
    if args.compile:
        config.compile = True
    try:
        os.makedirs(config.work_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.work_dir):
            pass
    except OSError as error:
        raise UsageError(
            f'the work folder {config.work_dir} cannot be written: {error.strerror}.\n'
            'What to do: give another --work-dir.'
        ) from None
    return config
