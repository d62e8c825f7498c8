"""Occupancy of key frames, from a config and its weights."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from tqdm import tqdm

from mmvl.engine import write_atomically
from mmvl.occupancy.structures import OccupancySample
from mmvl.occupancy.transforms import LoadSurroundImages
from mmvl.occupancy.visualization import OccupancyVisualizer
from mmvl.registry import DATASETS, VISUALIZERS

from .inferencer import Inferencer, as_list, write_predictions

LABEL_STEP = 'LoadOccupancy'


class OccupancyInferencer(Inferencer):
    """Finds what fills the space round a car.

    Frames are those of the info file of the config's test dataset, which holds the calibration;
    labels are not needed. A scene is always run from its first frame on, for models remember.

    Args:
        config: path of a config, or a config.
        weights: ``.pth`` or ``.safetensors`` file; None leaves the model untrained and says so.
        device: such as 'cuda:0' or 'cpu'; None takes the best there is.
        labels: load the labels too, which pictures then show beside the prediction.

    Raises:
        FileNotFoundError: there is no such config, info file or image.
        AnnotationError: the info file is damaged or of another form.
        ValueError: the config has no model or no test pipeline that begins with the loader.
        CheckpointError: the weights are missing, refused, or those of another model.
    """

    loader = LoadSurroundImages
    example = 'configs/alocc/occ3d_2d_mini.py'

    def __init__(
        self,
        config: str | os.PathLike | Config,
        weights: str | os.PathLike | None = None,
        device: str | None = None,
        labels: bool = False,
    ) -> None:
        cfg = config if isinstance(config, Config) else Config.fromfile(config)
        super().__init__(cfg, weights, device)
        settings = cfg.test_dataloader.dataset
        while 'dataset' in settings:
            settings = settings.dataset
        steps = [step for step in settings.pipeline if labels or step['type'] != LABEL_STEP]
        with DefaultScope.overwrite_default_scope('mmvl'):
            self.dataset = DATASETS.build({**settings, 'pipeline': steps})
            self.visualizer = _visualizer(cfg, self.dataset.metainfo)

    def __call__(
        self,
        inputs: str | Sequence[str] | None = None,
        out_dir: str | os.PathLike | None = None,
        viewer: bool = True,
        show_progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Predict key frames.

        Args:
            inputs: name of a scene, token of a sample, or a list of these; None means all scenes.
            out_dir: folder for ``predictions.json``, the returned list, and for every frame
                ``<scene>/<number>_<token>`` with the endings ``.npz`` (``semantics`` (X, Y, Z)
                uint8 and, from a model with flow, ``flow`` (X, Y, Z, 2) float32 m/s), ``.jpg``
                (the cameras beside the voxels) and ``.html`` (voxels to turn in a browser); None
                writes nothing.
            viewer: write the ``.html`` files.
            show_progress: show a progress bar when there is more than one frame.

        Returns:
            One dictionary a frame, ready for JSON: ``sample_token``, ``scene``, ``sample_index``,
            ``voxels`` (name of a class -> its voxels) and ``file``, relative to the folder and
            without its ending, or None.

        Raises:
            ValueError: an input is neither a scene nor a sample of the info file.
            OSError: an image is missing or damaged.
        """
        results = []
        for sample in self.predict(inputs, show_progress):
            name = f'{sample.scene_name}/{sample.sample_index:05d}_{sample.sample_token}'
            results.append(self._describe(sample, None if out_dir is None else name))
            if out_dir is not None:
                self._write(sample, Path(out_dir, name), viewer)
        if out_dir is not None:
            write_predictions(results, out_dir)
        return results

    def predict(
        self, inputs: str | Sequence[str] | None = None, show_progress: bool = True
    ) -> Iterator[OccupancySample]:
        """Give the samples with their predictions, frame after frame, on the CPU.

        Args:
            inputs: as above.
            show_progress: as above.

        Raises:
            ValueError: an input is neither a scene nor a sample of the info file.
            OSError: an image is missing or damaged.
        """
        wanted = self._select(inputs)
        numbers = self._with_past(wanted)
        self.model.reset_state()
        quiet = not show_progress or len(numbers) < 2
        for number in tqdm(numbers, unit='frame', disable=quiet):
            with torch.no_grad():
                (sample,) = self.model.test_step(pseudo_collate([self.dataset[number]]))
            if number in wanted:
                yield sample.cpu()

    def _select(self, inputs: str | Sequence[str] | None) -> set[int]:
        """Numbers of the samples that are asked for."""
        infos = [self.dataset.get_data_info(number) for number in range(len(self.dataset))]
        if inputs is None:
            return set(range(len(infos)))
        places: dict[str, list[int]] = {}
        for number, info in enumerate(infos):
            for name in (info['scene_name'], info['scene_token'], info['sample_token']):
                members = places.setdefault(name, [])
                if number not in members[-1:]:
                    members.append(number)
        wanted: set[int] = set()
        for name in as_list(inputs):
            if name not in places:
                near = difflib.get_close_matches(str(name), places, 3) or sorted(places)[:3]
                raise ValueError(
                    f"'{name}' is no scene and no sample of {self.dataset.ann_file}.\n"
                    f'What to do: take one of it, such as {", ".join(near)}.'
                )
            wanted.update(places[name])
        return wanted

    def _with_past(self, wanted: set[int]) -> list[int]:
        """The samples, and all of their scenes before them, in order."""
        scenes = self.dataset.scene_numbers
        last: dict[int, int] = {}
        for number in sorted(wanted):
            last[int(scenes[number])] = number
        return [i for i, scene in enumerate(scenes.tolist()) if i <= last.get(scene, -1)]

    def _describe(self, sample: OccupancySample, file: str | None) -> dict[str, Any]:
        classes = self.visualizer.classes
        counts = np.bincount(sample.pred_semantics.numpy().ravel(), minlength=len(classes))
        return {
            'sample_token': sample.sample_token,
            'scene': sample.scene_name,
            'sample_index': sample.sample_index,
            'voxels': {
                name: int(count) for name, count in zip(classes[:-1], counts, strict=False) if count
            },
            'file': file,
        }

    def _write(self, sample: OccupancySample, path: Path, viewer: bool) -> None:
        arrays = {'semantics': sample.pred_semantics.numpy()}
        if 'pred_flow' in sample:
            arrays['flow'] = sample.pred_flow.numpy()
        path.parent.mkdir(parents=True, exist_ok=True)

        def save(temporary: Path) -> None:
            # a stream, for numpy gives a name an ending of its own
            with temporary.open('wb') as stream:
                np.savez_compressed(stream, **arrays)

        write_atomically(path.with_name(f'{path.name}.npz'), save)
        picture = path.with_name(f'{path.name}.jpg')
        self.visualizer.add_datasample(
            path.name, None, sample, out_file=str(picture), viewer=viewer
        )


def _visualizer(cfg: Config, metainfo: dict[str, Any]) -> OccupancyVisualizer:
    """The config's visualizer, which knows its grid, or that of Occ3D; it keeps no files."""
    settings = dict(cfg.get('visualizer') or {'type': 'OccupancyVisualizer'})
    settings.update(name='occupancy_inferencer', vis_backends=None, save_dir=None)
    visualizer = VISUALIZERS.build(settings)
    visualizer.dataset_meta = metainfo
    return visualizer
