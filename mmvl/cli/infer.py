"""``mmvl infer``: run a trained model on images, a video or the key frames of a dataset."""

import argparse
import json
import sys
from typing import Any, NamedTuple

from mmengine.config import DictAction

from .config import read_config
from .errors import UsageError


class Task(NamedTuple):
    """A task.

    Attributes:
        config: is used when none is given.
        inferencer: name of the class.
        thing: what its first input is, where sentences about it follow.
        example: of its inputs.
    """

    config: str
    inferencer: str
    thing: str = ''
    example: str = ''


TASKS = {
    'hoi': Task('configs/eoid/hico.py', 'HOIInferencer'),
    'grounding': Task(
        'configs/vg_law/refcoco.py',
        'GroundingInferencer',
        'an image',
        'photo.jpg "the man in red on the left"',
    ),
    'rvos': Task(
        'configs/referformer/refytvos_r50.py',
        'RVOSInferencer',
        'a video',
        'clip.mp4 "the dog that jumps over the fence"',
    ),
    'occupancy': Task('configs/alocc/occ3d_2d_mini.py', 'OccupancyInferencer'),
}
# option -> the tasks that have it
OPTIONS = {
    'score_threshold': ('hoi',),
    'top_k': ('hoi',),
    'batch_size': ('hoi', 'grounding'),
    'window': ('rvos',),
    'frame_step': ('rvos',),
    'short_side': ('rvos',),
    'mask_threshold': ('rvos',),
    'labels': ('occupancy',),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of inference."""
    parser.add_argument(
        'task',
        choices=list(TASKS),
        help='hoi: human-object interactions; grounding: what a sentence refers to; '
        'rvos: what a sentence refers to in a video; occupancy: what fills the space round a car',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='hoi: image files or folders of images; grounding: an image file, then one or more '
        'sentences about it, each in quotes; rvos: a video file or a folder of frames, then '
        "sentences; occupancy: scenes or samples of the config's test data, or 'all'",
    )
    defaults = ', '.join(f'{task.config} ({name})' for name, task in TASKS.items())
    parser.add_argument('--config', help=f'default: {defaults}')
    parser.add_argument('--weights', required=True, help='.pth of a training, or .safetensors')
    parser.add_argument(
        '--out-dir',
        metavar='DIR',
        help='write pictures, masks of videos and predictions.json there',
    )
    parser.add_argument(
        '--score-threshold', type=float, help='hoi: leave out what scores lower (0.1)'
    )
    parser.add_argument('--top-k', type=int, help='hoi: triplets of an image (10)')
    parser.add_argument(
        '--batch-size', type=int, help='hoi, grounding: images or sentences in one go (1)'
    )
    parser.add_argument(
        '--window',
        type=int,
        metavar='N',
        help='rvos: go through the video in clips of N frames with bounded memory, each with a '
        'query of its own; 0: see it whole; default: as the config has it',
    )
    parser.add_argument('--frame-step', type=int, help='rvos: take every so many-th frame (1)')
    parser.add_argument('--short-side', type=int, help='rvos: of the frames that the model sees')
    parser.add_argument(
        '--mask-threshold', type=float, help='rvos: probability of a pixel of the referent'
    )
    parser.add_argument(
        '--labels',
        action='store_true',
        default=None,
        help='occupancy: draw the labels too, which must be there',
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
    options, task = _options(args), TASKS[args.task]
    inputs: tuple = (args.inputs,)
    # what the inferencer itself is made with
    settings = {name: options.pop(name) for name in ('labels',) if name in options}
    if args.task == 'occupancy' and args.inputs == ['all']:
        inputs = (None,)
    if task.thing:
        _require_sentences(args.task, args.inputs)
        inputs = (args.inputs[0], args.inputs[1:])
    config = read_config(args.config or task.config, args.cfg_options)
    from mmvl import apis

    inferencer = getattr(apis, task.inferencer)(config, args.weights, args.device, **settings)
    found = inferencer(*inputs, out_dir=args.out_dir, **options)
    if args.out_dir is None:
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + '\n')


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, all of them of the task."""
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    for name in given:
        if args.task not in OPTIONS[name]:
            option = '--' + name.replace('_', '-')
            raise UsageError(
                f"'{option}' is an option of {' and '.join(OPTIONS[name])}.\n"
                'What to do: leave it out.'
            )
    return given


def _require_sentences(name: str, inputs: list[str]) -> None:
    task = TASKS[name]
    if len(inputs) < 2:
        raise UsageError(
            f"'{inputs[0]}' is the only input, where {task.thing} and a sentence are needed.\n"
            f'What to do: mmvl infer {name} {task.example} ...'
        )
