"""One inferencer for each task, loaded when it is asked for."""

import importlib
from typing import Any

_MODULES = {
    'GroundingInferencer': 'grounding_inferencer',
    'HOIInferencer': 'hoi_inferencer',
    'OccupancyInferencer': 'occupancy_inferencer',
    'RVOSInferencer': 'video_inferencer',
}

__all__ = ['GroundingInferencer', 'HOIInferencer', 'OccupancyInferencer', 'RVOSInferencer']


def __getattr__(name: str) -> Any:
    """Import an inferencer on its first use: each brings its wing, PyTorch and MMEngine with it."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'.{_MODULES[name]}', __name__), name)
