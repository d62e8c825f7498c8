"""A video in and a video out, one frame at a time, so that memory does not grow with the length."""

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from av.video.stream import VideoStream

from mmvl.engine import write_atomically
from mmvl.engine.images import read_image

from .decode import OPTIONS, count_frames, iterate_frames
from .transforms import ClipError

DEFAULT_RATE: Final = 10
"""Frames a second where nothing says otherwise: of a folder of images."""
# encoder and its options, best first; the builds of FFmpeg differ in what they can encode
ENCODERS: Final = (
    ('libx264', {'crf': '20', 'preset': 'veryfast'}),
    ('libopenh264', {'b': '6M'}),
    ('mpeg4', {'q': '3'}),
)


class FrameSource:
    """The frames of a video file or those in image files, in order; it can be gone through again.

    Args:
        source: path of a video file, or the paths of its frames as images.
        step: every how many-th frame is taken, from the first on.

    Attributes:
        rate: frames taken from a second of the video; 10 for images.

    Raises:
        FileNotFoundError: there is no such video.
        VideoError: the file is not a video, or has no frames.
        ValueError: the step is below 1, or there are no images.
    """

    def __init__(self, source: str | os.PathLike | Sequence[str], step: int = 1) -> None:
        if step < 1:
            raise ValueError(f'frame_step is {step}.\nWhat to do: set it to 1 or more.')
        self.step = step
        self.path: str | None = None
        self.files: Sequence[str] = ()
        self.rate = Fraction(DEFAULT_RATE)
        if isinstance(source, (str, os.PathLike)):
            self.path = os.fspath(source)
            self._count = count_frames(source)
            self.rate = _frame_rate(self.path) / step
        else:
            if not source:
                raise ValueError('There are zero frames.\nWhat to do: pass at least one image.')
            self.files = source[::step]
            self._count = len(source)

    def __len__(self) -> int:
        """Frames to expect; a damaged end of a file may give fewer."""
        return -(-self._count // self.step)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Read the frames.

        Yields:
            Name, of five digits in a video file, that of the file without its suffix otherwise;
            and the frame, (H, W, 3) uint8 RGB.

        Raises:
            VideoError: a frame of a video file is damaged.
            ImageError: an image is damaged.
            ClipError: a frame has another size than the first.
        """
        size: tuple[int, ...] | None = None
        for name, frame in self._read():
            size = size or frame.shape
            if frame.shape != size:
                raise ClipError(
                    f'{self.path or Path(self.files[0]).parent}: frame {name} has '
                    f'{frame.shape[1]} x {frame.shape[0]} pixels, the first {size[1]} x {size[0]}.'
                    '\nWhat to do: bring all frames of the video to one size.'
                )
            yield name, frame

    def _read(self) -> Iterator[tuple[str, np.ndarray]]:
        if self.path is None:
            yield from ((Path(file).stem, read_image(file)) for file in self.files)
            return
        for index, frame in iterate_frames(self.path):
            if index % self.step == 0:
                yield f'{index:05d}', frame


def _frame_rate(path: str) -> Fraction:
    with av.open(f'file:{path}', options=OPTIONS) as container:
        return container.streams.video[0].average_rate or Fraction(DEFAULT_RATE)


def write_video(
    path: str | os.PathLike, pictures: Iterable[np.ndarray], rate: Fraction | float
) -> None:
    """Write an MP4, H.264 where this FFmpeg can encode it and MPEG-4 otherwise.

    It appears only when it is complete.

    Args:
        path: the file; its folder is made.
        pictures: (H, W, 3) uint8 RGB of one size, taken one by one. Where a side is odd, its last
            row or column is repeated.
        rate: pictures a second.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(path, lambda tmp: _encode(tmp, pictures, rate))


def _encode(path: Path, pictures: Iterable[np.ndarray], rate: Fraction | float) -> None:
    name, options = next(each for each in ENCODERS if each[0] in av.codecs_available)
    # MPEG-4 counts time in at most 65535 parts of a second
    rate = max(Fraction(rate).limit_denominator(100), Fraction(1, 10))
    with av.open(str(path), 'w', format='mp4') as container:
        stream = cast(VideoStream, container.add_stream(name, rate=rate, options=options))
        stream.pix_fmt = 'yuv420p'
        for i, picture in enumerate(pictures):
            even = _even(picture)
            if i == 0:
                stream.height, stream.width = even.shape[:2]
            frame = av.VideoFrame.from_ndarray(even, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _even(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    return np.ascontiguousarray(padded)
