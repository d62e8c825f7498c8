"""Optimizers that do not spend their time on bookkeeping."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mmvl.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupingOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with one group for all parameters that are treated alike.

    With ``paramwise_cfg`` MMEngine makes a group of every single parameter, and optimizers loop
    over groups. The steps are the same; a small model on a CPU makes them a tenth faster. Resuming
    needs the constructor that the checkpoint was saved with.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model."""
        wrapper = super().__call__(model)
        groups: dict[str, dict] = {}
        for group in wrapper.optimizer.param_groups:
            alike = repr({key: value for key, value in group.items() if key != 'params'})
            if alike in groups:
                groups[alike]['params'] += group['params']
            else:
                groups[alike] = group
        wrapper.optimizer.param_groups[:] = groups.values()
        return wrapper
