"""What sentences refer to in a video, from a config and its weights."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from pycocotools import mask as coco
from torch import Tensor
from tqdm import tqdm

from mmvl.video.streaming import FrameSource, write_video
from mmvl.video.structures import ClipDataSample
from mmvl.video.transforms import LoadClip, ResizeClip
from mmvl.video.visualization import (
    draw_frame,
    evenly_spaced,
    filmstrip,
    filmstrip_cell,
    score_curve,
    with_caption,
)
from mmvl.visualization import save_picture

from .inferencer import Inferencer, list_images, list_sentences, run_lengths, write_predictions


class _Clip(NamedTuple):
    """Frames that go through the model together.

    Attributes:
        names: T names.
        inputs: (T, 3, h, w) uint8 RGB, resized.
        sample: a data sample without names and sentence.
    """

    names: list[str]
    inputs: Tensor
    sample: ClipDataSample


class RVOSInferencer(Inferencer):
    """Segments the one thing in a video that a sentence refers to, in every frame.

    A video is seen whole, as on Ref-YouTube-VOS: every frame attends to every other, and the query
    is the one with the best mean score over the video. Memory grows with the length. With a
    ``window`` of N frames the video is gone through in clips of N, as on Ref-DAVIS17 (N = 36), and
    memory stays that of one clip however long the video is: frames are decoded, run, written and
    freed clip by clip. The result differs from that of the whole video:

    * no frame attends to frames of another clip, so that a motion must be seen within one;
    * scores are averaged, and the query is chosen, for each clip by itself: from one clip to the
      next another thing may be taken for the referent, and nothing is done to keep its identity.

    A folder of results has ``predictions.json``, the returned list, and for each sentence a folder
    ``sentence_1``, ... with ``masks/FRAME.png`` (0 and 255), ``overlay.mp4``, ``filmstrip.png`` and
    ``scores.png``. Files of these names that are there already are replaced, others stay.

    Takes the arguments of :class:`mmvl.apis.inferencer.Inferencer`. The test pipeline of the config
    runs frame by frame.
    """

    loader = LoadClip
    example = 'configs/referformer/refytvos_r50.py'

    def __init__(
        self,
        config: str | os.PathLike | Config,
        weights: str | os.PathLike | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(config, weights, device)
        self._test_cfg = dict(self.model.test_cfg)

    def __call__(
        self,
        video: str | os.PathLike,
        expressions: str | Sequence[str],
        out_dir: str | os.PathLike | None = None,
        window: int | None = None,
        frame_step: int = 1,
        short_side: int | None = None,
        mask_threshold: float | None = None,
        strip_frames: int = 8,
        show_progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Find what sentences refer to.

        Args:
            video: path of a video file (MP4, QuickTime, Matroska, WebM, AVI, MPEG or Ogg), or of a
                folder with its frames as images, in the order of their names.
            expressions: a sentence, or several; each goes through the model by itself.
            out_dir: folder of results; None writes nothing.
            window: frames that are seen together, 0 for the whole video; None: as in the config.
            frame_step: every how many-th frame is taken.
            short_side: pixels of the shorter side that the model sees; None: as in the config.
            mask_threshold: probability of a pixel of the referent; None: as in the config.
            strip_frames: frames of the filmstrip.
            show_progress: show progress bars.

        Returns:
            One dictionary a sentence, ready for JSON: ``video``, ``expression``, ``height`` and
            ``width`` of the frames, ``window``, ``score`` (mean over the frames), and lists with
            an entry for every frame: ``frames`` (names), ``scores``, ``boxes`` (xyxy in pixels),
            ``masks`` (run-length codes of COCO) and ``queries`` (numbers of the chosen queries;
            None where the model does not tell).

        Raises:
            ValueError: there is no sentence, one is empty or no Unicode, the video is a URL or a
                folder without images, its frames differ in size, or an option is out of range.
            TypeError: the video or a sentence is of another type.
            FileNotFoundError: the video does not exist.
            OSError: the video or a frame is damaged, or the folder cannot be written to.
        """
        texts = _sentences(expressions)
        _check_options(window, short_side, mask_threshold, strip_frames)
        source = FrameSource(_paths(video), frame_step)
        if out_dir is not None:
            _require_writable(Path(out_dir))
        self._set(mask_threshold)
        window = self._window(window)
        clips = self._clips(source, self._transform_to(short_side), window)
        results: list[dict[str, Any]] = [
            {'video': str(video), 'expression': text, 'window': window} for text in texts
        ]
        with _progress('segment', source, results, show_progress) as bar:
            self._segment_all(clips, results, out_dir, bar)
        if out_dir is not None:
            with _progress('draw', source, results, show_progress) as bar:
                for number, result in enumerate(results, start=1):
                    _draw(result, source, _folder(out_dir, number), strip_frames, bar)
            write_predictions(results, out_dir)
        return results

    def _set(self, mask_threshold: float | None) -> None:
        """Let the model take each clip for a video, which is what windows of it are."""
        cfg = {**self._test_cfg, 'mode': 'video'}
        if mask_threshold is not None:
            cfg['threshold'] = mask_threshold
        self.model.test_cfg = cfg

    def _window(self, window: int | None) -> int:
        if window is not None:
            return window
        return self._test_cfg['window'] if self._test_cfg['mode'] == 'windows' else 0

    def _transform_to(self, short_side: int | None) -> Compose:
        if short_side is None:
            return self._transform
        steps = [each for each in self._transform.transforms if not isinstance(each, ResizeClip)]
        return Compose([ResizeClip([short_side]), *steps])

    def _clips(self, source: FrameSource, transform: Compose, window: int) -> Iterator[_Clip]:
        """Clips of ``window`` frames, the last one of those that are left; 0 for one of all."""
        names: list[str] = []
        parts: list[Tensor] = []
        sample: ClipDataSample | None = None
        for name, frame in source:
            shape = frame.shape[:2]
            meta = dict.fromkeys(('exp_id', 'obj_id', 'dataset', 'split', 'image_id', 'text'), '')
            packed = transform(
                {
                    **meta,
                    'video_id': 'video',
                    'frame_names': (name,),
                    'target': None,
                    'imgs': [frame],
                    'ori_shape': shape,
                    'img_shape': shape,
                }
            )
            names.append(name)
            parts.append(packed['inputs'])
            sample = packed['data_samples']
            if len(parts) == window:
                yield _Clip(names, torch.cat(parts), sample)
                names, parts = [], []
        if sample is not None and parts:
            yield _Clip(names, torch.cat(parts), sample)

    def _segment_all(
        self,
        clips: Iterable[_Clip],
        results: list[dict[str, Any]],
        out_dir: str | os.PathLike | None,
        bar: tqdm,
    ) -> None:
        """Complete the results of all sentences, clip by clip, and write their masks."""
        for clip in clips:
            for number, result in enumerate(results, start=1):
                sample = self._segment(clip, result['expression'])
                masks = sample.pred_masks.cpu().numpy()
                _collect(result, clip.names, sample, masks)
                if out_dir is not None:
                    _write_masks(masks, clip.names, _folder(out_dir, number) / 'masks')
                bar.update(len(masks))
        for result in results:
            result['score'] = round(float(np.mean(result['scores'])), 4)

    @torch.no_grad()
    def _segment(self, clip: _Clip, text: str) -> ClipDataSample:
        sample = clip.sample.clone()
        sample.set_metainfo({'text': text, 'frame_names': tuple(clip.names)})
        return self.model.test_step({'inputs': [clip.inputs], 'data_samples': [sample]})[0]


def _sentences(expressions: str | Sequence[str]) -> list[str]:
    texts = list_sentences(expressions)
    if not texts:
        raise ValueError('There is no sentence.\nWhat to do: pass at least one.')
    return texts


def _check_options(
    window: int | None, short_side: int | None, mask_threshold: float | None, strip_frames: int
) -> None:
    least = {
        'window': (window, 0),
        'short_side': (short_side, 32),
        'strip_frames': (strip_frames, 1),
    }
    for name, (value, limit) in least.items():
        if value is not None and value < limit:
            raise ValueError(f'{name} is {value}.\nWhat to do: set it to {limit} or more.')
    if mask_threshold is not None and not 0 <= mask_threshold < 1:
        raise ValueError(
            f'mask_threshold is {mask_threshold}.\nWhat to do: set it to a probability below 1.'
        )


def _paths(video: str | os.PathLike) -> str | list[str]:
    """The path of a video file, or those of the images of a folder."""
    if not isinstance(video, (str, os.PathLike)):
        raise TypeError(
            f'the video is a {type(video).__name__}.\n'
            'What to do: pass the path of a video file or of a folder of frames.'
        )
    paths = [image['img_path'] for image in list_images(video)]
    return paths if Path(video).expanduser().is_dir() else paths[0]


def _require_writable(folder: Path) -> None:
    """Find out before hours of work whether the results can be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f'Cannot write into the folder {folder}: {error.strerror}.\n'
            'What to do: name another folder as out_dir (--out-dir).'
        ) from None


def _folder(out_dir: str | os.PathLike, number: int) -> Path:
    return Path(out_dir, f'sentence_{number}')


def _progress(what: str, source: FrameSource, results: Sequence[dict], shown: bool) -> tqdm:
    """A bar that counts frames times sentences."""
    return tqdm(total=len(source) * len(results), desc=what, unit='frame', disable=not shown)


def _collect(
    result: dict[str, Any], names: Sequence[str], sample: ClipDataSample, masks: np.ndarray
) -> None:
    """Add the frames of a clip to the result of a sentence."""
    result['height'], result['width'] = masks.shape[1:]
    found: dict[str, list] = {
        'frames': list(names),
        'scores': sample.pred_scores.cpu().double().numpy().round(4).tolist(),
        'boxes': sample.pred_boxes.cpu().double().numpy().round(1).tolist(),
        'masks': [run_lengths(mask) for mask in masks],
    }
    if 'pred_queries' in sample:
        found['queries'] = sample.pred_queries.tolist()
    for key, values in found.items():
        result.setdefault(key, []).extend(values)
    result.setdefault('queries', None)


def _write_masks(masks: np.ndarray, names: Sequence[str], folder: Path) -> None:
    for name, mask in zip(names, masks, strict=True):
        save_picture(np.where(mask, np.uint8(255), np.uint8(0)), folder / f'{name}.png')


def _draw(
    result: dict[str, Any], source: FrameSource, folder: Path, strip_frames: int, bar: tqdm
) -> None:
    """Write overlay, filmstrip and score curve of a sentence, reading the frames once more."""
    text, scores = result['expression'], result['scores']
    wanted = set(evenly_spaced(len(scores), strip_frames))
    cells: list[np.ndarray] = []

    def pictures() -> Iterator[np.ndarray]:
        columns = zip(source, result['masks'], result['boxes'], scores, strict=True)
        for i, ((name, frame), code, box, score) in enumerate(columns):
            mask = coco.decode(code).astype(bool)
            picture = draw_frame(frame, mask, np.array(box), score)
            if i in wanted:
                cells.append(filmstrip_cell(picture, f'frame {name}, score {score:.2f}'))
            bar.update()
            yield with_caption(picture, text)

    write_video(folder / 'overlay.mp4', pictures(), source.rate)
    save_picture(filmstrip(cells, text), folder / 'filmstrip.png')
    curve = score_curve(np.array(scores), result['frames'], text, result['window'] or None)
    save_picture(curve, folder / 'scores.png')
