"""``mmvl data``: check the data of a config, unpack an archive without risk, convert releases."""

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import DictAction

from .config import read_config

FOUND_ERRORS = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of the actions."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    text = 'list all that is wrong with the data of a config; exit code 1 if there are errors'
    check = actions.add_parser('check', help=text, description=text)
    check.add_argument('config', help='config file, such as configs/eoid/hico.py')
    check.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    check.add_argument(
        '--json', metavar='FILE', help="write everything there; '-': print it instead of the table"
    )
    check.add_argument('--all', action='store_true', help='list each problem, not the first five')
    check.add_argument('--no-images', action='store_true', help='look at the annotation only')
    text = 'unpack a tar or zip file; refused if it would write elsewhere or far too much'
    unpack = actions.add_parser('unpack', help=text, description=text)
    unpack.add_argument('archive', help='.tar, .tar.gz, .tar.bz2, .tar.xz or .zip')
    unpack.add_argument('folder', help='the folder to make')
    text = 'bring DAVIS 2017 and its four files of sentences into the layout of Ref-YouTube-VOS'
    davis = actions.add_parser('ref-davis', help=text, description=text)
    davis.add_argument('raw', help='folder with DAVIS and davis_text_annotations, unpacked')
    davis.add_argument('folder', help='the folder to make')
    davis.add_argument('--copy', action='store_true', help='copy the frames, do not link them')
    text = "make the truth of A2D- or JHMDB-Sentences in COCO's form"
    coco = actions.add_parser('coco-form', help=text, description=text)
    coco.add_argument('dataset', choices=('a2d', 'jhmdb'))
    coco.add_argument('root', help='data_root of the dataset')
    coco.add_argument('file', help='the JSON file to write')
    for action in (check, unpack, davis, coco):
        # as the other commands have it, after their arguments
        action.add_argument(
            '--debug', action='store_true', default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def run(args: argparse.Namespace) -> int:
    """Check, unpack or convert.

    Returns:
        Exit code: 0, or 1 where a check found errors.

    Raises:
        UsageError: the config or a key does not exist.
        DataCheckError: the config names no dataset that can be checked.
        ArchiveError: the archive is refused.
        AnnotationError: what is to be converted is malformed.
    """
    if args.action == 'check':
        return _check(args)
    if args.action in ('ref-davis', 'coco-form'):
        _convert(args)
        return 0
    from mmvl.engine.archives import unpack

    unpack(args.archive, args.folder)
    return 0


def _convert(args: argparse.Namespace) -> None:
    from mmvl.video.datasets import a2d_truth, convert_ref_davis, jhmdb_truth

    if args.action == 'ref-davis':
        counts = convert_ref_davis(args.raw, args.folder, 'copy' if args.copy else 'link')
        said = ', '.join(f'{split} {count:,} sentences' for split, count in counts.items())
        sys.stdout.write(f'{args.folder}: {said}\n')
        return
    truth = (a2d_truth if args.dataset == 'a2d' else jhmdb_truth)(data_root=args.root)
    Path(args.file).write_text(json.dumps(truth))
    sys.stdout.write(f'{args.file}: {len(truth["images"]):,} annotated frames\n')


def _check(args: argparse.Namespace) -> int:
    from mmvl.engine.data_check import SHOWN, check_config

    config = read_config(args.config, args.cfg_options)
    checks = check_config(config, images=not args.no_images)
    errors = sum(check['report'].errors for check in checks)
    if args.json:
        plain = [{**check, 'report': check['report'].as_dict()} for check in checks]
        text = json.dumps({'errors': errors, 'datasets': plain}, indent=1)
        if args.json == '-':
            sys.stdout.write(f'{text}\n')
        else:
            Path(args.json).write_text(text)
    if args.json != '-':
        for check in checks:
            used_by = ', '.join(check['used_by'])
            report = check['report']
            sys.stdout.write(f'\n{check["type"]} {report.file} ({used_by})\n')
            sys.stdout.write(f'{report.as_text(None if args.all else SHOWN)}\n')
        sys.stdout.write(f'\nerrors: {errors:,}\n')
    return FOUND_ERRORS if errors else 0
