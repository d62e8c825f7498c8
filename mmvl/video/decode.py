"""Frames of video files by their exact index, decoded with FFmpeg.

The index of a frame is its place in the order of presentation, counted from 0, whatever the time
stamps say. Playlists and everything else that could lead to another file are not opened.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from mmvl.engine.images import MAX_PIXELS

# demuxers of plain video files, by FFmpeg's names; none reads a second file
FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg'
OPTIONS = {'protocol_whitelist': 'file', 'format_whitelist': FORMATS}


class VideoError(OSError):
    """A file is no video, or its frames cannot be had.

    Attributes:
        kind: 'damaged video', 'no video stream', 'zero frames', 'video too large' or
            'missing frame'.
    """

    kind = 'damaged video'


def count_frames(path: str | os.PathLike) -> int:
    """Count the frames of a video, without decoding them.

    Raises:
        FileNotFoundError: there is no such file.
        VideoError: the file is not a video, or has no frames.
    """
    with _opened(path) as (container, stream):
        count = sum(bool(p.size) and not p.is_discard for p in container.demux(stream))
    if count == 0:
        raise _refusal(path, 'there is not a single frame in it', 'zero frames')
    return count


def iterate_frames(
    path: str | os.PathLike, frame_ids: Collection[int] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Go through a video in its order, holding one frame at a time.

    Args:
        path: MP4, QuickTime, Matroska, WebM, AVI, MPEG or Ogg, recognised by content. A rotation
            that the file asks players for is not applied.
        frame_ids: which frames to give, counted from 0; all by default. Decoding ends at the last.

    Yields:
        Index and (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: there is no such file.
        VideoError: the file is not a video, has no frames, or has no decoder; a frame that was
            asked for does not exist or is damaged.
    """
    wanted = None if frame_ids is None else set(frame_ids)
    if wanted is not None and (not wanted or min(wanted) < 0):
        raise ValueError(f'frame_ids must be indices from 0 on, got {sorted(wanted)[:3]}')
    last = None if wanted is None else max(wanted)
    count = 0
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            if wanted is None or count in wanted:
                if frame.is_corrupt:
                    raise _refusal(path, f'frame {count} is damaged', 'damaged video')
                yield count, frame.to_ndarray(format='rgb24')
            count += 1
            if last is not None and count > last:
                return
    if count == 0:
        raise _refusal(path, 'there is not a single frame in it', 'zero frames')
    if last is not None:
        reason = f'there is no frame {last}: it has {count} frames, counted from 0'
        raise _refusal(path, reason, 'missing frame')


def read_frames(path: str | os.PathLike, frame_ids: Sequence[int]) -> list[np.ndarray]:
    """Read some frames of a video, in any order and as often as they are asked for.

    Returns:
        One (H, W, 3) uint8 RGB for each index.

    Raises:
        FileNotFoundError: there is no such file.
        VideoError: as in :func:`iterate_frames`.
    """
    frames = dict(iterate_frames(path, frame_ids))
    return [frames[index] for index in frame_ids]


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'Video not found: {path}\nWhat to do: check the name, or set data_root.'
        )
    try:
        # the prefix keeps FFmpeg from reading another protocol into the name
        with av.open(f'file:{os.fspath(path)}', options=OPTIONS) as container:
            if not container.streams.video:
                raise _refusal(path, 'there is no video stream in it', 'no video stream')
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise _refusal(path, 'there is no decoder for its codec', 'damaged video')
            if stream.width * stream.height > MAX_PIXELS:
                size = f'frames of {stream.width} x {stream.height} pixels'
                raise _refusal(
                    path, f'{size} exceed the limit of {MAX_PIXELS:,}', 'video too large'
                )
            yield container, stream
    except av.error.FFmpegError as error:
        reason = f'not a video, damaged, or of an unknown codec ({error.strerror})'
        raise _refusal(path, reason, 'damaged video') from error


def _refusal(path: str | os.PathLike, reason: str, kind: str) -> VideoError:
    remedy = 'fetch it again, or convert it to H.264 in MP4'
    if kind == 'missing frame':
        remedy = 'fetch it again, or use the annotation of this video'
    error = VideoError(f'Cannot read the video {path}: {reason}.\nWhat to do: {remedy}.')
    error.kind = kind
    return error
