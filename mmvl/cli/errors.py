"""One place that turns a mistake of the user into a short message."""

import os
import sys
from collections.abc import Callable

# Exceptions that bad input causes: paths, values, keys, arguments of a config, a missing package.
USER_ERRORS = (OSError, ValueError, KeyError, TypeError, ImportError, AssertionError)
EXIT_CODE = 2


class UsageError(ValueError):
    """The command line asks for something that does not go."""


def run_and_report(action: Callable[[], int | None], debug: bool = False) -> int:
    """Run a command; a mistake of the user prints a message instead of a traceback.

    Args:
        action: the command; it may give an exit code of its own.
        debug: let exceptions through. The variable ``MMVL_DEBUG=1`` does the same.

    Returns:
        Exit code: 0, the command's own, or 2 after a mistake.
    """
    if debug or os.environ.get('MMVL_DEBUG') == '1':
        return action() or 0
    try:
        return action() or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not isinstance(error, USER_ERRORS) and not _speaks_for_itself(error):
            raise
        message = describe(error)
        sys.stderr.write(f'\nmmvl: {message}\n')
        if '\n' not in message:
            sys.stderr.write('(MMVL_DEBUG=1 shows where it happened)\n')
        return EXIT_CODE


def describe(error: BaseException) -> str:
    """Word an error, in at most three lines unless it is a table.

    Libraries wrap errors, and ours may wrap theirs: the innermost one that was written for users
    (several lines, or a type of mmvl's) speaks, otherwise the first cause.
    """
    chain = [error]
    while isinstance(chain[-1].__cause__, Exception):
        chain.append(chain[-1].__cause__)
    for each in reversed(chain):
        if _speaks_for_itself(each):
            return _text(each)
        if '\n' in _text(each).strip():
            return '\n'.join(_text(each).strip().splitlines()[:3])
    cause = chain[-1]
    if isinstance(cause, FileNotFoundError) and cause.filename:
        return f'{cause.filename} does not exist.\nWhat to do: check the path.'
    # a message that was not written for users needs its kind to be understood
    return f'{type(cause).__name__}: {_text(cause).strip() or "no message"}'


def _text(error: BaseException) -> str:
    if not isinstance(error, KeyError):
        return str(error)
    key = str(error.args[0]) if error.args else ''
    return key if ' ' in key else f"the key '{key}' is missing"


def _speaks_for_itself(error: BaseException) -> bool:
    return type(error).__module__.startswith('mmvl.')
