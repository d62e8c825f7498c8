"""Drawing of results on images, from plain arrays."""

from .canvas import add_title, fit_canvas
from .layout import place_labels
from .pairs import Pair, draw_pairs, group_triplets

__all__ = ['Pair', 'add_title', 'draw_pairs', 'fit_canvas', 'group_triplets', 'place_labels']
