"""What sentences refer to in images, from a config and its weights."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmvl.engine.images import read_image
from mmvl.grounding.transforms import LoadReferringImage
from mmvl.grounding.visualization import ReferringVisualizer
from mmvl.structures import ReferringDataSample

from .inferencer import (
    ImageInput,
    Inferencer,
    list_images,
    list_sentences,
    picture_names,
    run_lengths,
    write_predictions,
)


class GroundingInferencer(Inferencer):
    """Finds the one thing in an image that a sentence refers to.

    Takes the arguments of :class:`mmvl.apis.inferencer.Inferencer`.
    """

    loader = LoadReferringImage
    example = 'configs/vg_law/refcoco.py'

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        expressions: str | Sequence[str],
        out_dir: str | os.PathLike | None = None,
        batch_size: int = 1,
        show_progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Find what sentences refer to.

        Args:
            images: one image for all sentences, or as many as there are sentences: path of an
                image, (H, W, 3) uint8 RGB array, or a list of these. A folder stands for its
                images, sorted by name.
            expressions: a sentence, or a list of them. The model cuts what is longer than it can
                read, and logs that.
            out_dir: folder for ``predictions.json``, the returned list, and ``vis/<name>.jpg``,
                a picture for each sentence; None writes nothing.
            batch_size: sentences that go through the model together.
            show_progress: show a progress bar when there is more than one sentence.

        Returns:
            One dictionary a sentence, ready for JSON: ``image`` (the path; ``array_<i>`` for the
            i-th image when it is an array), ``expression``, ``box`` (x1, y1, x2, y2 in pixels of
            the image as given) and ``mask``, a run-length code of COCO with ``size``
            [height, width] and ``counts`` as text, or None where the model finds boxes only.

        Raises:
            ValueError: a sentence is empty or no Unicode, there are neither one image nor as many
                as sentences, an image is a URL, a folder without images or an array of another
                form, or the batch size is below 1.
            TypeError: an image or a sentence is of another type.
            FileNotFoundError: an image does not exist.
            OSError: a file is no image or is damaged.
        """
        samples = _pair(list_images(images), list_sentences(expressions))
        results = []
        visualizer = ReferringVisualizer()
        found = self._predictions(samples, batch_size, show_progress, 'sentence')
        names = picture_names(samples)
        for source, name, (image, sample) in zip(samples, names, found, strict=True):
            results.append(_describe(source, sample))
            if out_dir is not None:
                file = str(Path(out_dir, 'vis', name))
                visualizer.add_datasample(name, image, sample, out_file=file)
        if out_dir is not None:
            write_predictions(results, out_dir)
        return results


def _pair(images: list[dict[str, Any]], texts: list[str]) -> list[dict[str, Any]]:
    """Samples, one a sentence; an image for all of them is read once."""
    if len(images) == 1 and len(texts) > 1:
        (image,) = images
        pixels = image['img'] if 'img' in image else read_image(image['img_path'])
        images = [{'file_name': image['file_name'], 'img': pixels}] * len(texts)
    if len(images) != len(texts):
        raise ValueError(
            f'{len(images)} images and {len(texts)} sentences do not make pairs.\n'
            'What to do: pass one image for all sentences, or as many images as sentences.'
        )
    return [{**image, 'text': text} for image, text in zip(images, texts, strict=True)]


def _describe(source: dict[str, Any], sample: ReferringDataSample) -> dict[str, Any]:
    """The result of a sentence in plain Python types; pixels to a tenth."""
    mask = sample.get('pred_mask')
    return {
        'image': source['file_name'],
        'expression': source['text'],
        'box': sample.pred_box.cpu().double().numpy().round(1).tolist(),
        'mask': None if mask is None else run_lengths(mask.cpu().numpy()),
    }
