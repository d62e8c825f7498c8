"""Small datasets in the forms of their releases."""

import csv
import json
import types

import av
import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

SHAPE = (48, 64)
YTVOS_FRAMES = [f'{i:05d}' for i in range(0, 60, 5)]


def write_video(path, levels, shape=SHAPE, codec='libx264', options=None):
    """A video of plain frames, whose brightness tells which one it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = shape
        stream.pix_fmt = 'yuv420p'
        for level in levels:
            image = np.full((*shape, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    return path


def write_frame(path, level=0, shape=SHAPE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), level, np.uint8)).save(path)


def write_ids(path, ids):
    """A PNG with a palette, as the releases have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(ids, np.uint8), mode='P')
    # fewer colours would be stored in fewer bits
    image.putpalette(list(range(256)) * 3)
    image.save(path)


def squares(step):
    """Object 1 moves right by a pixel a step; object 2 is there in the first four steps."""
    ids = np.zeros(SHAPE, np.uint8)
    ids[10:20, 5 + step : 15 + step] = 1
    if step < 4:
        ids[30:41, 20:24] = 2
    return ids


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_ytvos(root, split='train', videos=('aaa', 'bbb'), frames=YTVOS_FRAMES, **changes):
    """Ref-YouTube-VOS; the sentences of valid and test do not say which object they mean."""
    said, meta = {}, {}
    for video in videos:
        expressions = {
            '0': {'exp': '  The LEFT\tsquare ', 'obj_id': '1'},
            '1': {'exp': 'a square that goes', 'obj_id': '2'},
        }
        if split != 'train':
            expressions = {key: {'exp': value['exp']} for key, value in expressions.items()}
        # not in order
        said[video] = {'expressions': expressions, 'frames': list(frames[::-1])}
        meta[video] = {'objects': {key: {'category': 'dog', 'frames': []} for key in ('1', '2')}}
        for step, name in enumerate(frames):
            write_frame(root / split / 'JPEGImages' / video / f'{name}.jpg', 10 * step)
            if split == 'train':
                write_ids(root / split / 'Annotations' / video / f'{name}.png', squares(step))
    said.update(changes)
    write_json(root / f'meta_expressions/{split}/meta_expressions.json', {'videos': said})
    if split == 'train':
        write_json(root / split / 'meta.json', {'videos': meta})
    return str(root)


A2D_MASKS = {5: [1, 2], 9: [2]}
A2D_ROWS = [
    ['Left  Man walks', 'vid-1', 5, 1],
    ['a dog', 'vid-1', 5, 2],
    ['a dog', 'vid-1', 9, 2],
]


def a2d_mask(instance, frame):
    mask = np.zeros(SHAPE, np.uint8)
    mask[4 * instance : 4 * instance + 6, frame : frame + 20] = 1
    return mask


def write_a2d(root, rows=A2D_ROWS, split='test', length=12):
    write_json(root / f'a2d_sentences_single_frame_{split}_annotations.json', rows)
    write_video(root / 'Release/clips320H/vid-1.mp4', [15 * i for i in range(length)])
    folder = root / 'text_annotations/a2d_annotation_with_instances/vid-1'
    folder.mkdir(parents=True, exist_ok=True)
    for frame, instances in A2D_MASKS.items():
        # MATLAB stores columns first, and drops an axis of length 1
        masks = np.stack([a2d_mask(instance, frame).T for instance in instances])
        boxes = np.array([[i, 2.0 * i, 30.5, 40.0] for i in instances]).T
        with h5py.File(folder / f'{frame:05d}.h5', 'w') as file:
            file['instance'] = np.array(instances, np.float64)
            file['reMask'] = masks[0] if len(instances) == 1 else masks
            file['reBBox'] = boxes
    return str(root)


def write_a2d_release(root):
    """The lists of A2D-Sentences as released, beside what :func:`write_a2d` writes."""
    (root / 'Release').mkdir(parents=True, exist_ok=True)
    rows = [[name, 11, 0, 1, 2, 3, 4, 5, s] for name, s in (('vid-1', 1), ('out', 1), ('tr', 0))]
    with (root / 'Release/videoset.csv').open('w', newline='') as stream:
        csv.writer(stream).writerows(rows)
    text = root / 'text_annotations'
    text.mkdir(exist_ok=True)
    (text / 'a2d_missed_videos.txt').write_text('out\n')
    with (text / 'a2d_annotation.txt').open('w', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(['video_id', 'instance_id', 'query'])
        writer.writerow(['vid-1', 1, 'Left  Man walks'])
        writer.writerow(['out', 1, 'nobody'])
        writer.writerow(['tr', 1, 'of train'])
        writer.writerow(['vid-1', '1 (copy)', 'twice'])
        writer.writerow(['vid-1', 2, 'a dog, "Rex"'])


JHMDB_VIDEO = 'clap_video_1'


def jhmdb_masks(total=6):
    masks = np.zeros((*SHAPE, total), np.uint8)
    for t in range(total):
        masks[5 : 15 + t, 7:30, t] = 1
    return masks


def write_jhmdb(root, total=6):
    """Root is the folder ``jhmdb_sentences``, whose name the released paths have in them."""
    base = f'./jhmdb_sentences/{{}}/clap/{JHMDB_VIDEO}/{{}}'
    masks = base.format('puppet_mask', 'puppet_mask.mat')
    rows = [
        [JHMDB_VIDEO, base.format('Rename_Images', f'{f:05d}.png'), masks, total, 'Man  claps']
        for f in (1, 3, 6)
    ]
    write_json(root / 'jhmdb_sentences_samples_metadata.json', rows)
    for frame in range(1, total + 1):
        path = root / f'Rename_Images/clap/{JHMDB_VIDEO}/{frame:05d}.png'
        write_frame(path, 10 * frame)
    folder = root / f'puppet_mask/clap/{JHMDB_VIDEO}'
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / 'puppet_mask.mat', {'part_mask': jhmdb_masks(total)})
    return str(root)


@pytest.fixture(scope='session')
def disk():
    """The functions above."""
    return types.SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith('_')})
