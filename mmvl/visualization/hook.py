"""The hook that draws data samples while a model is validated or tested."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmvl.engine.images import read_image


class SampleVisualizationHook(Hook):
    """Writes pictures while a model is tested, and shows some of each validation.

    The visualizer of the runner draws: it has ``add_datasample``. Samples have ``file_name`` and
    ``img_path``.

    Args:
        draw: draw, in validation and testing.
        show_dir: folder of the test pictures, one JPEG a sample. A folder makes the hook draw when
            testing, ``draw`` or not; ``tools/test.py --show-dir`` sets it. None means ``vis`` in
            the work folder.
        max_images: test pictures of each process; None for all samples.
        val_images: pictures of a validation, in the visualizer's backends.
        **options: handed to ``add_datasample``.
    """

    def __init__(
        self,
        draw: bool = False,
        show_dir: str | None = None,
        max_images: int | None = None,
        val_images: int = 4,
        **options: Any,
    ) -> None:
        self.draw = draw
        self.show_dir = show_dir
        self.max_images = max_images
        self.val_images = val_images
        self.options = options
        self._count = 0

    def name_of(self, sample: BaseDataElement) -> str:
        """Path of a sample's picture below the folder, without a suffix."""
        return str(Path(sample.file_name).with_suffix(''))

    def image_of(self, sample: BaseDataElement) -> Any:
        """What ``add_datasample`` takes as the image of a sample: its original, read again."""
        return read_image(sample.img_path)

    def before_val_epoch(self, runner: Runner) -> None:
        """Start counting."""
        self._count = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Start counting."""
        self._count = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Give the first samples of a validation to the backends.

        Raises:
            OSError: an image cannot be read again.
        """
        for sample in self._next(outputs, self.val_images if self.draw else 0):
            runner.visualizer.add_datasample(
                f'val_{Path(self.name_of(sample)).name}',
                self.image_of(sample),
                sample,
                step=runner.iter,
                **self.options,
            )

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Write the pictures of a batch.

        Raises:
            OSError: an image cannot be read again, or a picture cannot be written.
        """
        folder = Path(self.show_dir or Path(runner.work_dir) / 'vis')
        wanted = self.draw or self.show_dir is not None
        for sample in self._next(outputs, self.max_images if wanted else 0):
            name = self.name_of(sample)
            runner.visualizer.add_datasample(
                name,
                self.image_of(sample),
                sample,
                out_file=str(folder / f'{name}.jpg'),
                **self.options,
            )

    def _next(
        self, outputs: Sequence[BaseDataElement] | None, limit: int | None
    ) -> Sequence[BaseDataElement]:
        """The samples of a batch that are to be drawn, which are counted."""
        samples = outputs or ()
        if limit is not None:
            samples = samples[: max(0, limit - self._count)]
        self._count += len(samples)
        return samples
