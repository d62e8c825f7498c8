"""A toy world of moving shapes for referring video segmentation, and what runs on it start from."""

from .start import train_start
from .world import write_world

__all__ = ['train_start', 'write_world']
