"""Child registries of MMEngine's, under the scope ``mmvl``.

A wing is imported when a config first asks one of these registries for a name, not before:
``import mmvl`` stays light. A name that nobody registered gets an error that helps.
"""

import difflib
from typing import Any

from mmengine import registry as base
from mmengine.registry import Registry

GROUND_FLOOR = ('mmvl.layers', 'mmvl.language', 'mmvl.engine', 'mmvl.visualization')
WINGS = ('mmvl.hoi',)


class WingRegistry(Registry):
    """A registry of scope ``mmvl`` whose unknown names are answered with the nearest known ones."""

    def build(self, cfg: dict, *args: Any, **kwargs: Any) -> Any:
        """Build the object that ``cfg['type']`` names.

        Raises:
            KeyError: no registry on the path knows the name; the message lists the nearest names,
                the scope that was searched and how to make the name known.
        """
        kind = cfg.get('type') if isinstance(cfg, dict) else None
        if isinstance(kind, str) and self.get(kind) is None:
            raise KeyError(self._unknown(kind))
        return super().build(cfg, *args, **kwargs)

    def _unknown(self, kind: str) -> str:
        names = set(self.module_dict)
        if self.parent is not None:
            self.parent.import_from_location()
            names.update(self.parent.module_dict)
        known = sorted(names)
        near = difflib.get_close_matches(kind.split('.')[-1], known, n=3, cutoff=0.4)
        guess = f'nearest: {", ".join(near)}' if near else f'known here: {", ".join(known[:8])}'
        scope = kind.split('.')[0] if '.' in kind else f'{self.scope}, then mmengine'
        return (
            f"'{kind}' is not in the registry '{self.name}' (searched: {scope}; {guess}).\n"
            "A component of another library needs its scope, as in 'mmdet.ResNet', and that "
            'library installed;\n'
            'your own needs custom_imports=dict(imports=["your.module"]) in the config.'
        )


def _child(parent: Registry) -> WingRegistry:
    return WingRegistry(parent.name, parent=parent, scope='mmvl', locations=[*GROUND_FLOOR, *WINGS])


DATASETS = _child(base.DATASETS)
DATA_SAMPLERS = _child(base.DATA_SAMPLERS)
TRANSFORMS = _child(base.TRANSFORMS)
MODELS = _child(base.MODELS)
METRICS = _child(base.METRICS)
HOOKS = _child(base.HOOKS)
LOOPS = _child(base.LOOPS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(base.OPTIM_WRAPPER_CONSTRUCTORS)
TASK_UTILS = _child(base.TASK_UTILS)
VISUALIZERS = _child(base.VISUALIZERS)
