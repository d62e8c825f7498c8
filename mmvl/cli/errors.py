"""One place that turns a mistake of the user into a short message."""

import os
import sys
from collections.abc import Callable

# Exceptions that bad input causes: paths, values, keys, arguments of a config, a missing package.
USER_ERRORS = (OSError, ValueError, KeyError, TypeError, ImportError, AssertionError)
EXIT_CODE = 2


class UsageError(ValueError):
    """The command line asks for something that does not go."""


def run_and_report(action: Callable[[], None], debug: bool = False) -> int:
    """Run a command; a mistake of the user prints a message instead of a traceback.

    Args:
        action: the command.
        debug: let exceptions through. The variable ``MMVL_DEBUG=1`` does the same.

    Returns:
        Exit code: 0, or 2 after a mistake.
    """
    if debug or os.environ.get('MMVL_DEBUG') == '1':
        action()
        return 0
    try:
        action()
    except KeyboardInterrupt:
        return 130
    except USER_ERRORS as error:
        message = describe(error)
        sys.stderr.write(f'\nmmvl: {message}\n')
        if '\n' not in message:
            sys.stderr.write('(MMVL_DEBUG=1 shows where it happened)\n')
        return EXIT_CODE
    return 0


def describe(error: BaseException) -> str:
    """Word an error: the message of its first cause, at most three lines unless it is a table."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist.\nWhat to do: check the path.'
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, KeyError) and ' ' not in text:
        text = f"the key '{text}' is missing"
    if _speaks_for_itself(error):
        return text
    lines = text.strip().splitlines() or ['no message']
    if len(lines) == 1:
        # a message that was not written for users needs its kind to be understood
        return f'{type(error).__name__}: {lines[0]}'
    return '\n'.join(lines[:3])


def _speaks_for_itself(error: BaseException) -> bool:
    return type(error).__module__.startswith('mmvl.')
