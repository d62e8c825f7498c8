"""Which implementation of the operators is used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from . import _build
from ._library import COMPILED_FOR, LOADED, NAMES

Backend = Literal['auto', 'compiled', 'reference']
VARIABLE = 'MMVL_OPS_BACKEND'


class OpsBackendError(RuntimeError):
    """A backend is asked for that does not exist or was not compiled."""


def _checked(name: str, where: str) -> Backend:
    for known in get_args(Backend):
        if name == known:
            return known
    raise OpsBackendError(
        f"{where} is '{name}'.\n"
        'What to do: take auto (compiled where it can be), compiled or reference (plain PyTorch).'
    )


def from_environment() -> Backend:
    """The backend that the variable asks for."""
    return _checked(os.environ.get(VARIABLE) or 'auto', VARIABLE)


_current = from_environment()


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Choose the implementation inside a ``with`` block; outside it ``MMVL_OPS_BACKEND`` counts.

    Args:
        name: 'auto' takes compiled kernels where there are some for the device, plain PyTorch
            elsewhere; 'compiled' accepts nothing else; 'reference' takes plain PyTorch with
            gradients by autograd.

    Raises:
        OpsBackendError: there is no such backend.
    """
    global _current
    before, _current = _current, _checked(name, 'the backend')
    try:
        yield
    finally:
        _current = before


def use_reference(device: str) -> bool:
    """Whether a function must go round the operators that torch knows.

    Raises:
        OpsBackendError: compiled kernels are asked for, but there are none for this device.
    """
    if _current == 'compiled' and device not in COMPILED_FOR:
        raise OpsBackendError(
            f"Compiled operators are asked for, but there are none for '{device}'.\n"
            'What to do: mmvl ops build (--cuda for GPUs), or choose the backend auto.'
        )
    return _current == 'reference'


def info() -> dict[str, str]:
    """Say what is compiled, for what, and where it lies."""
    devices = ' and '.join(device.upper() for device in sorted(COMPILED_FOR))
    remedy = 'nothing is compiled, plain PyTorch is used: mmvl ops build'
    return {
        'operators': ', '.join(name for name in NAMES if not name.endswith('_backward')),
        'compiled for': devices or remedy,
        'library': str(LOADED or 'none'),
        'torch': str(_build.torch_version()),
        'key': _build.build_key(),
        'backend': f'{_current} ({VARIABLE} changes it)',
    }
