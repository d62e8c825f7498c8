"""A toy world for visual grounding."""

from .world import write_world

__all__ = ['write_world']
