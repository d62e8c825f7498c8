"""``mmvl test``: measure a checkpoint by the protocol that a config names."""

import argparse

from mmengine.config import Config, ConfigDict

from .errors import UsageError
from .options import add_shared_options, add_trust_options, shared_config, trusting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of testing."""
    parser.add_argument('config', help='config file, such as configs/eoid/hico.py')
    parser.add_argument('checkpoint', help='.pth of a training, or converted .safetensors')
    parser.add_argument('--out', metavar='FILE.json', help='write the predictions there')
    parser.add_argument('--show-dir', metavar='DIR', help='draw the predictions into this folder')
    parser.add_argument('--tta', action='store_true', help='average over flipped and scaled views')
    add_trust_options(parser)
    add_shared_options(parser)


def run(args: argparse.Namespace) -> None:
    """Test.

    Raises:
        UsageError: an option does not fit the config.
        CheckpointError: the checkpoint is refused or does not fit the model.
    """
    from mmvl.engine.distributed import leave_together
    from mmvl.engine.download import local_file
    from mmvl.engine.dump import DumpPredictions
    from mmvl.engine.file_checks import recognise
    from mmvl.engine.runner import Runner

    config = shared_config(args)
    recognise(local_file(args.checkpoint))
    for part in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        if config.get(part) is None:
            raise UsageError(f"'{args.config}' has no {part}: there is nothing to test on.")
    if args.tta:
        _use_views(config)
    if args.show_dir:
        _draw_into(config, args.show_dir)
    # The checkpoint replaces whatever the training starts from.
    config.load_from = None
    config.resume = False
    dump = DumpPredictions(args.out) if args.out else None

    def measure() -> None:
        runner = trusting(Runner.from_cfg(config), args)
        if dump is not None:
            runner.test_evaluator.metrics.append(dump)
        runner.load_checkpoint(args.checkpoint, strict=True)
        runner.test()

    leave_together(measure)


def _use_views(config: Config) -> None:
    if 'tta_model' not in config or 'tta_pipeline' not in config:
        raise UsageError(
            '--tta: the config has no tta_model and tta_pipeline.\n'
            'What to do: leave --tta out, or add both to the config (see the docs).'
        )
    config.model = ConfigDict(**config.tta_model, module=config.model)
    dataset = config.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = config.tta_pipeline


def _draw_into(config: Config, folder: str) -> None:
    hook = (config.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UsageError(
            '--show-dir: the config has no default_hooks.visualization, which draws.\n'
            "What to do: add visualization=dict(type='HOIVisualizationHook') to default_hooks."
        )
    hook.show_dir = folder
