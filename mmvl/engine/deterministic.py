"""Training with operators that repeat bit by bit, or an error that names the one that does not."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

_REFUSAL = re.compile(r"'?(\S+?)'? does not have a deterministic implementation")


class NotDeterministicError(RuntimeError):
    """An operator has no form that gives the same bits each time."""


@contextmanager
def deterministic_operators() -> Iterator[None]:
    """Set what CUDA needs beside ``randomness.deterministic``, and word the refusal of an operator.

    Raises:
        NotDeterministicError: an operator refuses; the message names it.
    """
    # cuBLAS reads it when it starts
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    try:
        yield
    except RuntimeError as error:
        found = _REFUSAL.search(str(error))
        if found is None:
            raise
        raise NotDeterministicError(
            f"--deterministic: the operator '{found[1]}' has no form that repeats bit by bit.\n"
            'What to do: train without --deterministic, or on a CPU, where fewer operators refuse '
            '(docs/train_test.md lists them).'
        ) from error
