"""``mmvl ops``: say which operators are compiled, or compile them."""

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of both actions."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    text = 'say what is compiled, for what, and where it lies'
    info = actions.add_parser('info', help=text, description=text)
    info.add_argument('--json', action='store_true', help='print JSON instead of lines')
    text = "compile for this torch, into the user's cache folder; nothing is compiled otherwise"
    build = actions.add_parser('build', help=text, description=text)
    build.add_argument(
        '--cuda',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='with the operators for GPUs; default: where a GPU and nvcc are here',
    )
    build.add_argument('--force', action='store_true', help='compile again what is there')
    for action in (info, build):
        # as the other commands have it, after their arguments
        action.add_argument(
            '--debug', action='store_true', default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def run(args: argparse.Namespace) -> None:
    """Report or compile.

    Raises:
        OpsBuildError: there is no compiler, or the compile failed.
    """
    if args.action == 'build':
        from mmvl.ops import build

        sys.stdout.write(f'{build(args.cuda, args.force)}\n')
        return
    from mmvl.ops import info

    found = info()
    if args.json:
        sys.stdout.write(json.dumps(found, indent=1) + '\n')
        return
    width = max(map(len, found))
    sys.stdout.writelines(f'{name:<{width}}  {value}\n' for name, value in found.items())
