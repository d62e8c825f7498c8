"""Entry point of the command ``mmvl``.

Each subcommand names its module; nothing heavy is imported before one is chosen, so that
``mmvl --help`` answers at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from mmvl import __version__

from .errors import run_and_report

# name -> (module, one line for the overview)
COMMANDS = {
    'env': ('env', 'say what is installed, built and found, and what to do about the rest'),
    'train': ('train', 'train what a config describes'),
    'test': ('test', 'measure a checkpoint'),
    'infer': ('infer', 'run a trained model on images'),
    'convert': ('convert', 'turn a released checkpoint into ours'),
    'toy': ('toy', 'draw a toy world in the files of the real dataset'),
    'data': ('data', 'list all that is wrong with a data set; unpack an archive without risk'),
    'ops': ('ops', 'say which operators are compiled, or compile them'),
    'cache': ('cache', 'compute the soft labels of a teacher once and keep them'),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; those of the process if None.

    Returns:
        Exit code: 0, 2 after a mistake of the user, 1 where `data check` found errors.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return run_command(words[0], words[1:])
    overview = '\n'.join(f'  {name:<9}{line}' for name, (_, line) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog='mmvl',
        usage='mmvl COMMAND ...',
        description='Published vision-language methods in one framework.',
        epilog=f"commands:\n{overview}\n\n'mmvl COMMAND --help' explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmvl {__version__}')
    parser.add_argument('command', choices=list(COMMANDS), metavar='COMMAND', help='see below')
    parser.parse_args(words)
    return 0


def run_command(name: str, arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one subcommand; ``tools/<name>.py`` calls this too.

    Args:
        name: a key of ``COMMANDS``.
        arguments: what follows the name; those of the process if None.
        prog: how help texts call the program.

    Returns:
        Exit code: 0, or 2 after a mistake of the user.
    """
    module = importlib.import_module(f'mmvl.cli.{COMMANDS[name][0]}')
    parser = argparse.ArgumentParser(prog=prog or f'mmvl {name}', description=module.__doc__)
    module.add_arguments(parser)
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    args = parser.parse_args(arguments)
    return run_and_report(lambda: module.run(args), debug=args.debug)


if __name__ == '__main__':
    sys.exit(main())
