"""``mmvl train``: train what a config describes."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from mmengine.config import Config

from .errors import UsageError
from .options import add_shared_options, add_trust_options, shared_config, trusting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of training."""
    parser.add_argument('config', help='config file, such as configs/eoid/hico.py')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the newest whole one in the work folder',
    )
    parser.add_argument(
        '--exact',
        action='store_true',
        help='resume only with the settings of the checkpoint, so that the result has its bits',
    )
    parser.add_argument(
        '--max-restarts',
        type=int,
        default=0,
        metavar='N',
        help='start again after a crash, at the newest checkpoint, while there is progress',
    )
    parser.add_argument('--amp', action='store_true', help='float16 on a GPU, bfloat16 on a CPU')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument('--seed', type=int, help='seed of weights, order and augmentation')
    parser.add_argument(
        '--deterministic', action='store_true', help='only operations that repeat bit by bit'
    )
    add_trust_options(parser)
    add_shared_options(parser)


def run(args: argparse.Namespace) -> None:
    """Train.

    Raises:
        UsageError: an option does not fit the config.
        CheckpointError: the file to start or resume from is refused.
        WorkDirInUseError: another training runs in the work folder.
        NoProgressError: it was started again and got no further.
        NotDeterministicError: ``--deterministic`` and an operator that cannot.
        RankLostError: another process died, raised or stalled.
    """
    config = shared_config(args)
    if args.max_restarts and args.launcher == 'none':
        from mmvl.engine.restarts import is_supervised, supervise

        if not is_supervised():
            sys.exit(supervise(sys.argv, args.max_restarts))
    for part in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if config.get(part) is None:
            raise UsageError(f"'{args.config}' has no {part}: it cannot be trained.")
    if args.amp:
        _use_mixed_precision(config)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (config.get('auto_scale_lr') or {}):
            raise UsageError(
                '--auto-scale-lr: the config does not say for which batch size its rate is meant.\n'
                'What to do: add auto_scale_lr = dict(base_batch_size=16).'
            )
        config.auto_scale_lr.enable = True
    if args.resume is not None:
        config.resume = True
        config.load_from = None if args.resume == 'auto' else args.resume
    randomness = dict(config.get('randomness') or {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.deterministic:
        randomness['deterministic'] = True
    config.randomness = randomness

    from mmvl.engine.deterministic import deterministic_operators
    from mmvl.engine.distributed import leave_together, restart_number
    from mmvl.engine.restarts import require_progress
    from mmvl.engine.runner import Runner, newest_checkpoint
    from mmvl.engine.work_dir import only_training_in

    def train() -> None:
        runner = trusting(Runner.from_cfg(config), args)
        runner.exact = args.exact
        with deterministic_operators() if args.deterministic else nullcontext():
            runner.train()

    folder = Path(config.work_dir)
    with only_training_in(folder, config.launcher):
        require_progress(folder, config.launcher)
        if restart_number() and newest_checkpoint(folder, lambda text: None):
            config.resume, config.load_from = True, None
        leave_together(train)


def _use_mixed_precision(config: Config) -> None:
    import torch

    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    wanted = 'AmpOptimWrapper' if torch.cuda.is_available() else 'BFloat16OptimWrapper'
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'):
        raise UsageError(f"--amp replaces 'OptimWrapper'; the config uses '{kind}'.")
    config.optim_wrapper.type = wanted
    if wanted == 'AmpOptimWrapper':
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
