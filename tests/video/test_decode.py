"""Frames of video files."""

import av
import numpy as np
import pytest

from mmvl.video import decode
from mmvl.video.decode import VideoError, count_frames, iterate_frames, read_frames

LEVELS = [20 * i for i in range(12)]


@pytest.fixture(scope='module')
def video(disk, tmp_path_factory):
    # frames that are stored in another order than they are shown in
    folder = tmp_path_factory.mktemp('video')
    options = {'bf': '3', 'b-adapt': '0', 'g': '12'}
    return disk.write_video(folder / 'a.mp4', LEVELS, options=options)


def levels(frames):
    return [round(float(frame.mean()) / 20) for frame in frames]


def test_the_video_stores_frames_out_of_order(video):
    with av.open(str(video)) as container:
        stamps = [p.pts for p in container.demux(video=0) if p.size]
    assert stamps != sorted(stamps)


def test_frames_are_counted_as_they_are_shown(video):
    assert count_frames(video) == 12
    frames = list(iterate_frames(video))
    assert [index for index, _ in frames] == list(range(12))
    assert levels(frame for _, frame in frames) == list(range(12))
    assert frames[0][1].shape == (48, 64, 3)
    assert frames[0][1].dtype == np.uint8


def test_any_order_and_as_often_as_asked(video):
    assert levels(read_frames(video, [7, 0, 7, 11])) == [7, 0, 7, 11]


def test_only_the_frames_asked_for_are_given(video):
    assert [index for index, _ in iterate_frames(video, [2, 9])] == [2, 9]


def test_channels_are_red_green_blue(tmp_path):
    path = tmp_path / 'red.mkv'
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.height = stream.width = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    red, green, blue = read_frames(path, [0])[0].mean((0, 1))
    assert red > 190
    assert max(green, blue) < 10


def test_missing_frame_is_named(video):
    with pytest.raises(VideoError, match=r'a\.mp4: there is no frame 12: it has 12') as error:
        read_frames(video, [3, 12])
    assert error.value.kind == 'missing frame'


@pytest.mark.parametrize('frame_ids', [[], [-1, 3]])
def test_impossible_indices(video, frame_ids):
    with pytest.raises(ValueError, match='indices from 0 on'):
        read_frames(video, frame_ids)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'Video not found: .*none\.mp4'):
        count_frames(tmp_path / 'none.mp4')


def test_no_address_is_opened():
    with pytest.raises(FileNotFoundError):
        count_frames('http://localhost/a.mp4')


def test_playlists_are_not_followed(video, tmp_path):
    path = tmp_path / 'list.m3u8'
    path.write_text(f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video}\n#EXT-X-ENDLIST\n')
    with pytest.raises(VideoError, match='not a video'):
        count_frames(path)


def zero_frames(video, path):
    with av.open(str(path), 'w', format='avi') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width = stream.height = 32
        container.start_encoding()


def cut_off(video, path):
    data = video.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def unknown_codec(video, path):
    data = video.read_bytes()
    assert b'avc1' in data
    path.write_bytes(data.replace(b'avc1', b'zzzz').replace(b'avcC', b'zzzC'))


def no_video(video, path):
    path.write_text('a' * 4000)


def only_sound(video, path):
    with av.open(str(path), 'w', format='mp4') as container:
        stream = container.add_stream('aac', rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ('spoil', 'kind'),
    [
        (zero_frames, 'zero frames'),
        (cut_off, 'damaged video'),
        (unknown_codec, 'damaged video'),
        (no_video, 'damaged video'),
        (only_sound, 'no video stream'),
    ],
)
def test_bad_videos_are_refused_by_name(video, tmp_path, spoil, kind):
    path = tmp_path / 'bad.mp4'
    spoil(video, path)
    with pytest.raises(VideoError, match=r'bad\.mp4') as error:
        read_frames(path, [0])
    assert error.value.kind == kind
    assert str(error.value).count('\n') == 1


def test_zero_frames_when_counting(video, tmp_path):
    zero_frames(video, tmp_path / 'a.avi')
    with pytest.raises(VideoError, match='not a single frame'):
        count_frames(tmp_path / 'a.avi')


def test_damaged_frames_are_not_given(video, tmp_path):
    data = bytearray(video.read_bytes())
    start = data.index(b'mdat')
    data[start + 800 : start + 1100] = bytes(300)
    (tmp_path / 'a.mp4').write_bytes(data)
    with pytest.raises(VideoError, match='damaged'):
        list(iterate_frames(tmp_path / 'a.mp4'))


def test_too_large_a_video(video, monkeypatch):
    monkeypatch.setattr(decode, 'MAX_PIXELS', 1000)
    with pytest.raises(VideoError, match='64 x 48 pixels exceed') as error:
        count_frames(video)
    assert error.value.kind == 'video too large'
