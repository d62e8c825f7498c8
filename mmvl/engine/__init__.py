"""Training and testing: safe checkpoints, resuming, hooks, distributed start, report."""

from .amp import BFloat16OptimWrapper
from .checkpoint import (
    load_checkpoint_file,
    save_safetensors,
    state_dict_of,
    write_atomically,
)
from .checkpoint_hook import CheckpointHook
from .file_checks import CheckpointError
from .finite import FiniteLossHook
from .hooks import InterruptHook
from .loops import ResumableEpochLoop, ResumableIterLoop
from .optimizers import GroupingOptimWrapperConstructor
from .runner import Runner
from .samplers import GroupedSampler
from .weights import KeyReport, compare_keys, load_weights

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointError',
    'CheckpointHook',
    'FiniteLossHook',
    'GroupedSampler',
    'GroupingOptimWrapperConstructor',
    'InterruptHook',
    'KeyReport',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'Runner',
    'compare_keys',
    'load_checkpoint_file',
    'load_weights',
    'save_safetensors',
    'state_dict_of',
    'write_atomically',
]
