"""Child registries of MMEngine's, under the scope ``mmvl``.

A wing is imported when a config first asks one of these registries for a name, not before:
``import mmvl`` stays light. A name that nobody registered gets an error that helps.
"""

import difflib
from typing import Any

from mmengine import registry as base
from mmengine.registry import Registry

GROUND_FLOOR = ('mmvl.layers', 'mmvl.language', 'mmvl.engine', 'mmvl.visualization')
WINGS = ('mmvl.hoi', 'mmvl.grounding', 'mmvl.video', 'mmvl.occupancy')


class UnknownNameError(KeyError):
    """A name that no registry knows; its text keeps its line breaks, which KeyError's does not."""

    def __str__(self) -> str:
        return str(self.args[0])


class WingRegistry(Registry):
    """A registry of scope ``mmvl`` whose unknown names are answered with the nearest known ones."""

    def get(self, key: str) -> Any:
        """Find a class or function by its registered name, here, in the parent or by scope.

        Raises:
            UnknownNameError: no registry on the path knows the name; the message lists the nearest
                names, the scopes that were searched and how to make the name known.
        """
        found = super().get(key)
        if found is None:
            raise UnknownNameError(self._unknown(key))
        return found

    def _unknown(self, key: str) -> str:
        scope, _, name = key.rpartition('.')
        near = difflib.get_close_matches(name, sorted(self._names(scope)), n=3, cutoff=0.4)
        guess = f'nearest: {", ".join(near)}' if near else 'no name is near'
        return (
            f"'{key}' is not in the registry '{self.name}' "
            f'(searched: {scope or "mmvl, then mmengine"}; {guess}).\n'
            "A component of another library needs its scope, as in 'mmdet.ResNet', and that "
            'library installed;\n'
            'your own needs custom_imports=dict(imports=["your.module"]) in the config.'
        )

    def _names(self, scope: str) -> set[str]:
        """All names that could have been meant: of one scope, or of ours and MMEngine's."""
        if self.parent is None:
            return set(self.module_dict)
        self.parent.import_from_location()
        if scope in self.parent.children:
            return set(self.parent.children[scope].module_dict)
        return {*self.module_dict, *self.parent.module_dict}


def _child(parent: Registry) -> WingRegistry:
    return WingRegistry(parent.name, parent=parent, scope='mmvl', locations=[*GROUND_FLOOR, *WINGS])


DATASETS = _child(base.DATASETS)
DATA_SAMPLERS = _child(base.DATA_SAMPLERS)
HOOKS = _child(base.HOOKS)
LOOPS = _child(base.LOOPS)
METRICS = _child(base.METRICS)
MODELS = _child(base.MODELS)
MODEL_WRAPPERS = _child(base.MODEL_WRAPPERS)
OPTIMIZERS = _child(base.OPTIMIZERS)
OPTIM_WRAPPERS = _child(base.OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(base.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = _child(base.PARAM_SCHEDULERS)
TASK_UTILS = _child(base.TASK_UTILS)
TRANSFORMS = _child(base.TRANSFORMS)
VISBACKENDS = _child(base.VISBACKENDS)
VISUALIZERS = _child(base.VISUALIZERS)
WEIGHT_INITIALIZERS = _child(base.WEIGHT_INITIALIZERS)
