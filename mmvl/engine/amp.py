"""Mixed precision where there is no GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast on the CPU; weights and updates stay float32.

    bfloat16 has the range of float32, so there is no loss scale. MMEngine's ``AmpOptimWrapper``
    refuses to be built without an accelerator.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and hold back gradient exchange while gradients accumulate."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
