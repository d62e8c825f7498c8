"""Pictures of voxels beside the images of the cameras, the visualizer and its hook."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw

from mmvl.engine.images import read_image
from mmvl.registry import HOOKS, VISUALIZERS
from mmvl.visualization import SampleVisualizationHook, add_title, beside, save_picture
from mmvl.visualization.canvas import GAP, load_font

from .datasets.classes import OCC3D
from .rendering import class_colors, draw_voxels
from .structures import OccupancySample
from .viewer import write_viewer

CELLS: Final = (
    *('CAM_FRONT', 'CAM_BACK'),
    *('CAM_FRONT_LEFT', 'CAM_BACK_LEFT'),
    *('CAM_FRONT_RIGHT', 'CAM_BACK_RIGHT'),
)
"""Order of the cameras in the picture, two a row."""


def draw_cameras(images: Sequence[np.ndarray], names: Sequence[str], height: int) -> np.ndarray:
    """Lay images out two a row, the cameras that look forward on the left, each with its name.

    Args:
        images: N images (H, W, 3) uint8 RGB.
        names: of their cameras.
        height: of the picture, pixels.

    Returns:
        (height, W', 3) uint8 RGB.
    """
    order = sorted(
        range(len(images)), key=lambda i: CELLS.index(names[i]) if names[i] in CELLS else i
    )
    rows = -(-len(images) // 2)
    cell = (height - GAP * (rows - 1)) // rows
    width = round(cell * images[0].shape[1] / images[0].shape[0])
    canvas = np.full((height, 2 * width + GAP, 3), 255, np.uint8)
    for number, i in enumerate(order):
        small = cv2.resize(images[i], (width, cell), interpolation=cv2.INTER_AREA)
        label = names[i].removeprefix('CAM_').replace('_', ' ').lower()
        top, left = number // 2 * (cell + GAP), number % 2 * (width + GAP)
        canvas[top : top + cell, left : left + width] = _labelled(small, label)
    return canvas


def _labelled(image: np.ndarray, text: str) -> np.ndarray:
    picture = Image.fromarray(image)
    pen, font = ImageDraw.Draw(picture), load_font(max(10, len(image) // 14))
    pen.text((5, 3), text, (255, 255, 255), font, stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(picture)


def add_legend(picture: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Put the colours of classes under a picture, in as many lines as they need."""
    font = load_font(14)
    width, line = picture.shape[1], 22
    places, x, y = [], 8, 4
    for name in classes:
        text = name.replace('_', ' ')
        length = 18 + int(font.getlength(text)) + 14
        if x + length > width and x > 8:
            x, y = 8, y + line
        places.append((x, y, text))
        x += length
    bar = Image.new('RGB', (width, y + line + 2), (255, 255, 255))
    pen = ImageDraw.Draw(bar)
    for (left, top, text), color in zip(places, class_colors(classes).tolist(), strict=True):
        pen.rectangle((left, top + 3, left + 12, top + 15), fill=tuple(color), outline=(60, 60, 60))
        pen.text((left + 18, top), text, (40, 40, 40), font)
    return np.concatenate((picture, np.asarray(bar)))


@VISUALIZERS.register_module()
class OccupancyVisualizer(Visualizer):
    """Draws data samples: the cameras beside the voxels from behind the car and from above.

    The names of the classes are those of the dataset (``dataset_meta``), Occ3D's without one.

    Args:
        name: of this instance.
        lower: corner of the grid in the ego frame, metres.
        voxel_size: metres.
        height: pixels of a row of voxels.
        **kwargs: of :class:`mmengine.visualization.Visualizer`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        lower: Sequence[float] = (-40.0, -40.0, -1.0),
        voxel_size: float = 0.4,
        height: int = 400,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self.lower, self.voxel_size, self.row_height = tuple(lower), voxel_size, height

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, free last."""
        return (self.dataset_meta or {}).get('classes', OCC3D)

    def add_datasample(
        self,
        name: str,
        image: Sequence[np.ndarray] | None,
        data_sample: OccupancySample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        step: int = 0,
        out_file: str | None = None,
        viewer: bool = False,
    ) -> np.ndarray:
        """Draw one data sample and write it to a file or to the backends.

        Args:
            name: name of the picture in the backends.
            image: N images (H, W, 3) uint8 RGB in the order of the sample's cameras; None reads
                its ``image_paths``, or leaves the cameras out where it has none.
            data_sample: a sample with labels, predictions or both.
            draw_gt: draw the labels, if there are any.
            draw_pred: draw the prediction, if there is one.
            step: step of the picture in the backends.
            out_file: write this file (in every process) instead of the backends.
            viewer: also write a page beside ``out_file`` in which the voxels can be turned.

        Returns:
            The picture, uint8 RGB.

        Raises:
            ValueError: there is nothing to draw.
            OSError: an image cannot be read.
        """
        layers = self._layers(data_sample, draw_gt, draw_pred)
        if not layers:
            raise ValueError(
                f'{name} has neither labels nor a prediction that are to be drawn.\n'
                'What to do: load labels (LoadOccupancy) or predict first.'
            )
        picture = self._draw(layers)
        paths = data_sample.get('image_paths', [])
        if image is None:
            image = [read_image(path) for path in paths]
        if len(image):
            names = [_camera_of(path) for path in paths] or [''] * len(image)
            picture = beside([draw_cameras(image, names, len(picture)), picture])
        present = sorted(set().union(*(np.unique(grid).tolist() for grid in layers.values())))
        picture = add_legend(
            picture, [self.classes[i] for i in present if i < len(self.classes) - 1]
        )
        if out_file is None:
            self.add_image(name, picture, step)
            return picture
        save_picture(picture, out_file)
        if viewer:
            page = Path(out_file).with_suffix('.html')
            colors = class_colors(self.classes[:-1])
            write_viewer(page, layers, self.classes[:-1], colors, self.lower, self.voxel_size)
        return picture

    def _draw(self, layers: dict[str, np.ndarray]) -> np.ndarray:
        """One row of voxels a layer, under its title."""
        where = self.classes, self.lower, self.voxel_size, self.row_height
        return np.concatenate(
            [add_title(draw_voxels(grid, *where), title) for title, grid in layers.items()]
        )

    @staticmethod
    def _layers(sample: OccupancySample, truth: bool, prediction: bool) -> dict[str, np.ndarray]:
        wanted = {'labels': (truth, 'gt_semantics'), 'prediction': (prediction, 'pred_semantics')}
        return {
            title: sample.get(field).cpu().numpy()
            for title, (wish, field) in wanted.items()
            if wish and field in sample
        }


@HOOKS.register_module()
class OccupancyVisualizationHook(SampleVisualizationHook):
    """:class:`~mmvl.visualization.SampleVisualizationHook` with one picture a key frame.

    Args:
        viewer: also write a page in which the voxels can be turned, beside each test picture.
        **kwargs: of the base class: ``draw``, ``show_dir``, ``max_images``, ``val_images``.
    """

    def __init__(self, viewer: bool = False, **kwargs: Any) -> None:
        super().__init__(viewer=viewer, **kwargs)

    def name_of(self, sample: OccupancySample) -> str:
        """Scene, and number and token of the key frame."""
        return f'{sample.scene_name}/{sample.sample_index:05d}_{sample.sample_token}'

    def image_of(self, sample: OccupancySample) -> list[np.ndarray]:
        """Images of all cameras."""
        return [read_image(path) for path in sample.image_paths]


def _camera_of(path: str) -> str:
    """Name of the camera in a path of nuScenes, whose folders and files have it."""
    found = [name for name in CELLS if name in Path(path).parts or f'__{name}__' in path]
    return found[-1] if found else ''
