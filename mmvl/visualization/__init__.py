"""Drawing of results on images, from plain arrays, and the hook that does it during a run."""

from .canvas import add_title, beside, fit_canvas, save_picture
from .caption import caption_bar
from .hook import SampleVisualizationHook
from .layout import place_labels
from .pairs import Pair, draw_pairs, group_triplets

__all__ = [
    'Pair',
    'SampleVisualizationHook',
    'add_title',
    'beside',
    'caption_bar',
    'draw_pairs',
    'fit_canvas',
    'group_triplets',
    'place_labels',
    'save_picture',
]
