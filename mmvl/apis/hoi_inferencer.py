"""Human-object interactions of images, from a config and its weights."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvl.hoi.structures import HOIPairs
from mmvl.hoi.transforms import LoadHOIImage
from mmvl.hoi.visualization import draw_predictions, interaction_text
from mmvl.hoi.vocabulary import OBJECTS, VERBS
from mmvl.visualization import save_picture

from .inferencer import ImageInput, Inferencer, list_images, picture_names, write_predictions


class HOIInferencer(Inferencer):
    """Finds who does what with which object.

    Takes the arguments of :class:`mmvl.apis.inferencer.Inferencer`.
    """

    loader = LoadHOIImage
    example = 'configs/eoid/hico.py'

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        out_dir: str | os.PathLike | None = None,
        score_threshold: float = 0.1,
        top_k: int = 10,
        batch_size: int = 1,
        show_progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Find the interactions in images.

        Args:
            inputs: path of an image, path of a folder (its images, not those of folders inside
                it), (H, W, 3) uint8 RGB array, or a list of these.
            out_dir: folder for ``predictions.json``, the returned list, and ``vis/<name>.jpg``,
                a picture of each image; None writes nothing.
            score_threshold: triplets below it are left out.
            top_k: triplets of an image that are kept, best first.
            batch_size: images that go through the model together.
            show_progress: show a progress bar when there is more than one image.

        Returns:
            One dictionary an image, ready for JSON: ``file_name`` (the path; ``array_<i>`` for the
            i-th input when it is an array), ``width``, ``height`` and ``triplets``, each with
            ``subject_box`` and ``object_box`` (x1, y1, x2, y2 in pixels of the image as given),
            ``object``, ``verb``, ``phrase`` ("person riding bicycle") and ``score`` in 0-1.

        Raises:
            ValueError: an input is a URL, a folder without images or an array of another form,
                or the batch size is below 1.
            TypeError: an input is of another type.
            FileNotFoundError: an input does not exist.
            OSError: a file is no image or is damaged.
        """
        images = list_images(inputs)
        results = []
        found = self._predictions(images, batch_size, show_progress, 'image')
        names = picture_names(images)
        for source, name, (image, sample) in zip(images, names, found, strict=True):
            pairs = _best(sample.pred_pairs, score_threshold, top_k)
            results.append(_describe(source['file_name'], image, pairs))
            if out_dir is not None:
                picture = draw_predictions(image, pairs, score_threshold, top_k)
                save_picture(picture, Path(out_dir, 'vis', name))
        if out_dir is not None:
            write_predictions(results, out_dir)
        return results


def _best(pairs: HOIPairs, score_threshold: float, top_k: int) -> HOIPairs:
    return pairs[pairs.scores >= score_threshold][:top_k]


def _describe(name: str, image: np.ndarray, pairs: HOIPairs) -> dict[str, Any]:
    """The result of an image in plain Python types; pixels to a tenth, scores to 1e-4."""
    subjects, objects = (
        boxes.double().numpy().round(1).tolist()
        for boxes in (pairs.subject_boxes, pairs.object_boxes)
    )
    scores = pairs.scores.double().numpy().round(4).tolist()
    columns = zip(
        subjects, objects, pairs.object_labels.tolist(), pairs.verbs.tolist(), scores, strict=True
    )
    triplets = [
        {
            'subject_box': subject,
            'object_box': object_,
            'object': OBJECTS[label],
            'verb': VERBS[verb],
            'phrase': f'person {interaction_text(verb, label)}',
            'score': score,
        }
        for subject, object_, label, verb, score in columns
    ]
    height, width = image.shape[:2]
    return {'file_name': name, 'width': width, 'height': height, 'triplets': triplets}
