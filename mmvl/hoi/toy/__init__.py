"""The toy world: drawn scenes in HICO-DET's files, held-out lists and a small CLIP teacher."""

from .teacher import train_teacher, verb_accuracy
from .world import TOY_HOIS, TOY_UA, TOY_UC, write_world

__all__ = ['TOY_HOIS', 'TOY_UA', 'TOY_UC', 'train_teacher', 'verb_accuracy', 'write_world']
