"""Pictures of annotated and predicted interactions: functions, visualizer and hook."""

from typing import Any

import numpy as np
from mmengine.visualization import Visualizer
from torch import Tensor

from mmvl.registry import HOOKS, VISUALIZERS
from mmvl.visualization import (
    SampleVisualizationHook,
    add_title,
    beside,
    draw_pairs,
    save_picture,
)

from .structures import HOIDataSample, HOIPairs
from .vocabulary import NO_INTERACTION, OBJECTS, VERB_ING

# More pairs than a label each can be read of; the title says that some are left out.
MAX_TRUE_PAIRS = 12


def interaction_text(verb: int, object_label: int) -> str:
    """What a person does with an object, such as "riding bicycle".

    Args:
        verb: index of the verb, 0-116.
        object_label: COCO-80 index.
    """
    name = OBJECTS[object_label].replace('_', ' ')
    if verb == NO_INTERACTION:
        return f'not interacting with {name}'
    return f'{VERB_ING[verb]} {name}'


def draw_predictions(
    image: np.ndarray, pairs: HOIPairs, score_threshold: float = 0.1, top_k: int = 5
) -> np.ndarray:
    """Draw predicted triplets.

    Args:
        image: (H, W, 3) uint8 RGB, the original image.
        pairs: predictions, see :class:`HOIPairs`.
        score_threshold: triplets below it are left out.
        top_k: pairs that are drawn, the best ones.

    Returns:
        uint8 RGB picture of the size that :func:`mmvl.visualization.fit_canvas` gives.
    """
    columns = zip(pairs.verbs.tolist(), pairs.object_labels.tolist(), strict=True)
    return draw_pairs(
        image,
        pairs.subject_boxes.cpu().numpy(),
        pairs.object_boxes.cpu().numpy(),
        [interaction_text(*column) for column in columns],
        pairs.scores.cpu().numpy(),
        score_threshold=score_threshold,
        top_k=top_k,
    )


def draw_truth(image: np.ndarray, boxes: Tensor, labels: Tensor, hois: Tensor) -> np.ndarray:
    """Draw annotated interactions; a pair's label lists all of its verbs.

    Args:
        image: (H, W, 3) uint8 RGB, the original image.
        boxes: (N, 4) float32 xyxy pixels, N annotated boxes.
        labels: (N,) int64 COCO-80.
        hois: (M, 3) int64, M triplets of subject index, object index and verb.

    Returns:
        uint8 RGB picture of the size that :func:`mmvl.visualization.fit_canvas` gives, with the
        first 12 pairs.
    """
    subjects, objects, verbs = hois.cpu().numpy().T
    corners, classes = boxes.cpu().numpy(), labels.cpu().numpy()[objects]
    return draw_pairs(
        image,
        corners[subjects],
        corners[objects],
        [interaction_text(*pair) for pair in zip(verbs.tolist(), classes.tolist(), strict=True)],
        top_k=MAX_TRUE_PAIRS,
        max_lines=len(VERB_ING),
    )


@VISUALIZERS.register_module()
class HOIVisualizer(Visualizer):
    """Draws data samples: annotation on the left, predictions on the right.

    Takes the arguments of :class:`mmengine.visualization.Visualizer`.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: HOIDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        step: int = 0,
        score_threshold: float = 0.1,
        top_k: int = 5,
        out_file: str | None = None,
    ) -> np.ndarray:
        """Draw one data sample and write it to a file or to the backends.

        Args:
            name: name of the picture in the backends.
            image: (H, W, 3) uint8 RGB, the original image.
            data_sample: a sample with an annotation, predictions or both.
            draw_gt: draw the annotation, if there is one.
            draw_pred: draw the predictions, if there are any.
            step: step of the picture in the backends.
            score_threshold: predictions below it are left out.
            top_k: predicted pairs that are drawn.
            out_file: write this file (in every process) instead of the backends.

        Returns:
            The picture, uint8 RGB; with nothing to draw, the image as it was.
        """
        panels = []
        if draw_gt and 'gt_hois' in data_sample:
            truth, hois = data_sample.gt_instances, data_sample.gt_hois
            panel = draw_truth(image, truth.boxes, truth.labels, hois)
            panels.append(add_title(panel, _truth_title(hois)))
        if draw_pred and 'pred_pairs' in data_sample:
            panel = draw_predictions(image, data_sample.pred_pairs, score_threshold, top_k)
            panels.append(add_title(panel, f'prediction (score ≥ {score_threshold:g})'))
        picture = beside(panels) if panels else image
        if out_file is None:
            self.add_image(name, picture, step)
        else:
            save_picture(picture, out_file)
        return picture


@HOOKS.register_module()
class HOIVisualizationHook(SampleVisualizationHook):
    """:class:`~mmvl.visualization.SampleVisualizationHook` for pairs.

    Args:
        score_threshold: predictions below it are left out.
        top_k: predicted pairs that are drawn.
        **kwargs: of the base class: ``draw``, ``show_dir``, ``max_images``, ``val_images``.
    """

    def __init__(self, score_threshold: float = 0.1, top_k: int = 5, **kwargs: Any) -> None:
        super().__init__(score_threshold=score_threshold, top_k=top_k, **kwargs)


def _truth_title(hois: Tensor) -> str:
    count = len(hois[:, :2].unique(dim=0))
    shown = f', the first {MAX_TRUE_PAIRS} of {count} pairs' if count > MAX_TRUE_PAIRS else ''
    return f'annotation{shown}'
