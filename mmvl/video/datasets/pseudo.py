"""Images with referring expressions as clips of one frame."""

from typing import Any

from mmvl.registry import DATASETS, TRANSFORMS

from .base import Sample, until_visible, warn_invisible


@DATASETS.register_module()
class PseudoClip:
    """Any dataset of images with sentences and masks, whose samples become clips of one frame.

    The transform ``ImageToClip`` makes more frames of it. As in the released code the box of the
    only frame is the annotated one; sentences stay as they are. Samples that show nothing of their
    referent after the transforms are replaced in training, see :class:`.ReferringVideoDataset`.

    Args:
        dataset: config of the dataset, such as ``dict(type='RefCOCO', split='train')``, without a
            pipeline. Its samples hold ``img_path``, ``text``, ``box``, ``segmentation``,
            ``img_id``, ``sent_id``, ``ref_id``, ``dataset``, ``split`` and ``rng``.
        pipeline: transforms of clips, or configs of such.
        test_mode: nothing is replaced.
    """

    def __init__(
        self, dataset: dict[str, Any], pipeline: list | tuple = (), test_mode: bool = False
    ) -> None:
        self.dataset = DATASETS.build({**dataset, 'test_mode': test_mode, 'pipeline': [_as_clip]})
        self.test_mode = test_mode
        self.pipeline = [
            TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline
        ]
        self._told = False

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the inner dataset says about itself."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the inner dataset, if it waits for that."""
        self.dataset.full_init()

    def get_data_info(self, idx: int) -> Sample:
        """Give a sample of the inner dataset before its pipeline."""
        return self.dataset.get_data_info(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> Any:
        """Give a sample.

        Raises:
            AnnotationError: many samples in a row do not show what they refer to.
        """
        rng = self.dataset[idx]['rng']
        if self.test_mode:
            return self._make(idx, rng)
        return until_visible(lambda i: self._make(i, rng), idx, len(self), rng, self._tell)

    def _make(self, idx: int, rng: Any) -> Any:
        sample = {**self.dataset[idx], 'rng': rng}
        for step in self.pipeline:
            sample = step(sample)
            if sample is None:
                return None
        return sample

    def _tell(self, idx: int) -> None:
        if not self._told:
            sample = self.get_data_info(idx)
            warn_invisible(f'{sample["img_path"]}, sentence {sample["sent_id"]}')
        self._told = True


def _as_clip(image: Sample) -> Sample:
    """A sample of a dataset of images in the form of :class:`.ReferringVideoDataset`."""
    source = {'form': 'coco', 'segmentation': image['segmentation']}
    return {
        'video_id': str(image['img_id']),
        'exp_id': str(image['sent_id']),
        'obj_id': image['ref_id'],
        'text': image['text'],
        'dataset': image['dataset'],
        'split': image['split'],
        'frame_names': ('0',),
        'img_paths': [image['img_path']],
        'mask_sources': [source],
        'box': image['box'],
        'target': None,
        'image_id': str(image['sent_id']),
        'rng': image['rng'],
    }
