"""``mmvl infer``: run a trained model on images."""

import argparse
import json
import sys

from mmengine.config import DictAction

from .config import read_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of inference."""
    parser.add_argument('task', choices=['hoi'], help='hoi: human-object interactions')
    parser.add_argument('images', nargs='+', help='image files or folders of images')
    parser.add_argument('--config', default='configs/eoid/hico.py', help='default: %(default)s')
    parser.add_argument('--weights', required=True, help='.pth of a training, or .safetensors')
    parser.add_argument(
        '--out-dir', metavar='DIR', help='write pictures and predictions.json there'
    )
    parser.add_argument(
        '--score-threshold', type=float, default=0.1, help='leave out what scores lower (0.1)'
    )
    parser.add_argument('--top-k', type=int, default=10, help='triplets of an image (10)')
    parser.add_argument('--batch-size', type=int, default=1, help='images in one go (1)')
    parser.add_argument('--device', help="such as 'cuda:0' or 'cpu'; default: the best there is")
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )


def run(args: argparse.Namespace) -> None:
    """Run the model; without ``--out-dir`` the predictions are printed as JSON.

    Raises:
        UsageError: the config or a key does not exist.
        CheckpointError: the weights are refused or do not fit.
    """
    config = read_config(args.config, args.cfg_options)

    from mmvl.apis import HOIInferencer

    inferencer = HOIInferencer(config, args.weights, args.device)
    found = inferencer(
        args.images,
        out_dir=args.out_dir,
        score_threshold=args.score_threshold,
        top_k=args.top_k,
        batch_size=args.batch_size,
    )
    if args.out_dir is None:
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + '\n')
