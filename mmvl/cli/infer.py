"""``mmvl infer``: run a trained model on images, or on the key frames of a data set."""

import argparse
import json
import sys

from mmengine.config import DictAction

from .config import read_config
from .errors import UsageError

# task -> config that is used when none is given
TASKS = {
    'hoi': 'configs/eoid/hico.py',
    'grounding': 'configs/vg_law/refcoco.py',
    'occupancy': 'configs/alocc/occ3d_2d_mini.py',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of inference."""
    parser.add_argument(
        'task',
        choices=list(TASKS),
        help='hoi: human-object interactions; grounding: what a sentence refers to; occupancy: '
        'what fills the space round a car',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='hoi: image files or folders of images; grounding: an image file, then one or more '
        'sentences about it, each in quotes; occupancy: scenes or samples of the info file of the '
        "config's test data, or 'all'",
    )
    defaults = ', '.join(f'{config} ({task})' for task, config in TASKS.items())
    parser.add_argument('--config', help=f'default: {defaults}')
    parser.add_argument('--weights', required=True, help='.pth of a training, or .safetensors')
    parser.add_argument(
        '--out-dir', metavar='DIR', help='write pictures and predictions.json there'
    )
    parser.add_argument(
        '--score-threshold', type=float, help='hoi: leave out what scores lower (0.1)'
    )
    parser.add_argument('--top-k', type=int, help='hoi: triplets of an image (10)')
    parser.add_argument(
        '--labels', action='store_true', help='occupancy: draw the labels too, which must be there'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='hoi, grounding: images or sentences in one go (1)',
    )
    parser.add_argument('--device', help="such as 'cuda:0' or 'cpu'; default: the best there is")
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )


def run(args: argparse.Namespace) -> None:
    """Run the model; without ``--out-dir`` the predictions are printed as JSON.

    Raises:
        UsageError: the config or a key does not exist, or inputs or options are not the task's.
        CheckpointError: the weights are refused or do not fit.
    """
    _require_options(args)
    config = read_config(args.config or TASKS[args.task], args.cfg_options)
    common = {'out_dir': args.out_dir}
    if args.task == 'occupancy':
        from mmvl.apis import OccupancyInferencer

        names = None if args.inputs == ['all'] else args.inputs
        fill = OccupancyInferencer(config, args.weights, args.device, args.labels)
        found = fill(names, **common)
    elif args.task == 'grounding':
        from mmvl.apis import GroundingInferencer

        ground = GroundingInferencer(config, args.weights, args.device)
        found = ground(args.inputs[0], args.inputs[1:], batch_size=args.batch_size, **common)
    else:
        from mmvl.apis import HOIInferencer

        only_hoi = {'score_threshold': args.score_threshold, 'top_k': args.top_k}
        selection = {name: value for name, value in only_hoi.items() if value is not None}
        pairs = HOIInferencer(config, args.weights, args.device)
        found = pairs(args.inputs, batch_size=args.batch_size, **common, **selection)
    if args.out_dir is None:
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + '\n')


def _require_options(args: argparse.Namespace) -> None:
    """Refuse options of another task, and grounding without a sentence."""
    given = {
        'hoi': {'--score-threshold': args.score_threshold, '--top-k': args.top_k},
        'occupancy': {'--labels': args.labels or None},
    }
    for task, options in given.items():
        for option, value in options.items():
            if value is not None and task != args.task:
                raise UsageError(f"'{option}' is an option of {task}.\nWhat to do: leave it out.")
    if args.task == 'grounding' and len(args.inputs) < 2:
        raise UsageError(
            f"'{args.inputs[0]}' is the only input, where an image and a sentence are needed.\n"
            'What to do: mmvl infer grounding photo.jpg "the man in red on the left" ...'
        )
