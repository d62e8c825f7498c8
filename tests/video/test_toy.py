"""The toy world: its files, that sentences are true, and that one frame does not tell the twins."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from mmvl.engine.images import read_image
from mmvl.registry import DATASETS, MODELS
from mmvl.video.datasets import RefYouTubeVOS
from mmvl.video.datasets.masks import read_ids
from mmvl.video.toy import train_start, write_world
from mmvl.video.toy.scenes import MOTIONS, PAIRS, draw_scene
from mmvl.video.toy.start import ATTRIBUTES, BACKBONE, read_videos
from mmvl.video.transforms import LoadClip

CONFIG = Path(__file__).parents[2] / 'configs/referformer/toy.py'
VIDEOS = 40
CONTRARY = {motion: other for pair in PAIRS for motion, other in (pair, pair[::-1])}
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, seed=3, num_train=VIDEOS, num_valid=4)
    return folder


def read(folder, split='train'):
    """(sentence, mask (T, H, W) of the referent, its entry, those of the others) of all videos."""
    said = json.loads((folder / f'meta_expressions/{split}/meta_expressions.json').read_text())
    meta = json.loads((folder / split / 'meta.json').read_text())['videos']
    for video, entry in said['videos'].items():
        paths = [folder / split / 'Annotations' / video / f'{n}.png' for n in entry['frames']]
        ids = np.stack([read_ids(path) for path in paths])
        objects = meta[video]['objects']
        for each in entry['expressions'].values():
            others = [thing for key, thing in objects.items() if key != each['obj_id']]
            yield each, ids == int(each['obj_id']), objects[each['obj_id']], others


@pytest.fixture(scope='module')
def sentences(world):
    return list(read(world))


def centres(masks):
    """x of the middle of each frame's mask; NaN where it is not to be seen."""
    found = [np.nonzero(mask)[1] for mask in masks]
    return np.array([(each.min() + each.max()) / 2 if len(each) else np.nan for each in found])


def test_every_motion_is_said_as_often_as_its_contrary(sentences):
    said = [each['exp'].split(' that ')[1] for each, *_ in sentences if each['kind'] == 'motion']
    assert len(said) == 2 * VIDEOS and {*said} == {*MOTIONS}
    for motion in MOTIONS:
        assert said.count(motion) == said.count(CONTRARY[motion]) >= 3


def test_what_is_said_is_true_of_the_referent_alone(sentences):
    for each, _, referent, others in sentences:
        phrase, _, motion = each['exp'].removeprefix('the ').partition(' that ')
        asked = {*phrase.split()} - {'one'}
        called = [
            asked <= {thing['colour'], thing['category']} and motion in ('', thing['motion'])
            for thing in (referent, *others)
        ]
        assert called == [True, False, False], each
        assert (each['kind'] == 'motion') == bool(motion)


def test_no_frame_tells_the_twins(sentences):
    """Who is meant by a sentence about motion has a twin of the same look and contrary motion."""
    for each, _, referent, others in sentences:
        twins = [
            thing
            for thing in others
            if (thing['colour'], thing['category']) == (referent['colour'], referent['category'])
        ]
        assert len(twins) == (each['kind'] == 'motion')
        assert all(thing['motion'] == CONTRARY[referent['motion']] for thing in twins)


def test_where_a_twin_is_in_a_frame_does_not_tell_either():
    """Over many videos both are equally often in each part of the frame, or outside."""
    places = {motion: [] for motion in (*MOTIONS, 'stands still')}
    for seed in range(800):
        for thing in draw_scene(np.random.default_rng(seed)).things:
            places[thing.motion] += thing.path[:, 0].tolist()
    borders = [-100, 0, 16, 32, 48, 64, 200]
    for one, other in PAIRS:
        shares = [np.histogram(places[m], borders)[0] / len(places[m]) for m in (one, other)]
        assert abs(shares[0] - shares[1]).max() < 0.05, (one, shares)


def moving(sentences, motion):
    found = [masks for each, masks, *_ in sentences if each['exp'].endswith(f' that {motion}')]
    assert len(found) >= 3
    return found


@pytest.mark.parametrize(('motion', 'sign'), [('moves left', -1), ('moves right', 1)])
def test_directions(sentences, motion, sign):
    for masks in moving(sentences, motion):
        assert (np.diff(centres(masks)) * sign > 3).all()


@pytest.mark.parametrize(
    ('motion', 'moved'), [('stops', slice(0, 2)), ('starts to move', slice(2, 4))]
)
def test_stops_and_starts(sentences, motion, moved):
    for masks in moving(sentences, motion):
        steps = abs(np.diff(centres(masks)))
        assert (steps[moved] > 5).all()
        assert np.delete(steps, moved).max() <= 1


@pytest.mark.parametrize(
    ('motion', 'last'), [('leaves the picture', -1), ('comes into the picture', 0)]
)
def test_leaving_and_coming(sentences, motion, last):
    for masks in moving(sentences, motion):
        seen = masks.any((1, 2))
        assert not seen[last] and seen[-1 - last]
        assert (np.diff(seen.astype(int)) * (1 if last == 0 else -1) >= 0).all()
        # the last that is seen of it, or the first, is near the border
        x = centres(masks)[seen][last]
        assert min(x, WIDTH - 1 - x) < 12


def test_behind_and_before(sentences):
    areas = {
        motion: [masks.sum((1, 2)) for masks in moving(sentences, motion)]
        for motion in ('passes behind the box', 'passes in front of the box')
    }
    assert all(area[2] <= 0.25 * area[[0, 4]].min() for area in areas['passes behind the box'])
    assert all(area.min() > 0.75 * area.max() for area in areas['passes in front of the box'])


def test_absent_frames_are_flagged(world):
    dataset = RefYouTubeVOS(
        split='train',
        published=False,
        data_root=str(world),
        test_mode=True,
        pipeline=[LoadClip()],
    )
    meta = json.loads((world / 'train/meta.json').read_text())['videos']
    absent = 0
    for sample in dataset:
        frames = meta[sample['video_id']]['objects'][str(sample['obj_id'])]['frames']
        assert sample['valid'].tolist() == [name in frames for name in sample['frame_names']]
        assert sample['valid'].tolist() == sample['masks'].any((1, 2)).tolist()
        absent += 5 - len(frames)
    assert len(dataset) == 3 * VIDEOS and absent > VIDEOS / 5


@pytest.mark.parametrize('split', ['train', 'valid'])
def test_nothing_is_wrong_with_the_files(world, split):
    report = RefYouTubeVOS.check(
        split=split, published=False, data_root=str(world), test_mode=split == 'valid'
    )
    # but for the numbers, which are not those of the release
    assert [each.kind for each in report.problems] == ['not as published']


def test_masks_hold_what_is_drawn(world):
    """Nothing but the things is as blue as the blue ones."""
    checked = 0
    for video in sorted((world / 'train/JPEGImages').iterdir()):
        objects = json.loads((world / 'train/meta.json').read_text())['videos'][video.name]
        blue = [int(k) for k, each in objects['objects'].items() if each['colour'] == 'blue']
        if not blue:
            continue
        for file in sorted(video.iterdir()):
            frame = read_image(file).astype(int)
            excess = frame[..., 2] - frame[..., 0]
            mask = np.isin(
                read_ids(world / f'train/Annotations/{video.name}/{file.stem}.png'), blue
            )
            if mask.any():
                assert (excess[mask] > 60).mean() > 0.8 and (excess[~mask] > 60).mean() < 0.02
                checked += 1
    assert checked > 10


def digests(folder):
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (('one', 3), ('again', 3), ('other', 4)):
        write_world(tmp_path / name, seed=seed, num_train=2, num_valid=1)
    assert digests(tmp_path / 'one') == digests(tmp_path / 'again')
    frames = [
        {d for f, d in digests(tmp_path / name).items() if f.endswith('.jpg')}
        for name in ('one', 'other')
    ]
    assert len(frames[0]) == 15 and not frames[0] & frames[1]


def test_kinds_have_files_of_their_own(world):
    for split in ('train', 'valid'):
        files = {
            kind: json.loads((world / f'meta_expressions/{split}/{kind}.json').read_text())
            for kind in ('motion', 'appearance', 'meta_expressions')
        }
        keys = {
            name: {(v, e) for v, each in file['videos'].items() for e in each['expressions']}
            for name, file in files.items()
        }
        assert keys['motion'] | keys['appearance'] == keys['meta_expressions']
        assert len(keys['motion']) == 2 * len(keys['appearance'])


def test_the_config_repeats_backbone_and_vocabulary(world, sentences):
    model = Config.fromfile(CONFIG).model
    assert {**BACKBONE, 'type': 'VideoSwin'} == model.backbone
    words = (world / 'vocab.txt').read_text().splitlines()
    assert len({*words}) == len(words) == model.text_encoder.vocab_size
    assert {word for each, *_ in sentences for word in each['exp'].split()} <= {*words}


def test_start_reads_what_is_where(world):
    videos = read_videos(world)
    assert videos.frames.shape == (VIDEOS, 5, 3, HEIGHT, WIDTH)
    assert videos.labels.shape == (VIDEOS, 5, 3, HEIGHT // 4, WIDTH // 4)
    objects = json.loads((world / 'train/meta.json').read_text())['videos']['toy00007']['objects']
    ids = read_ids(world / 'train/Annotations/toy00007/00010.png')
    for row, column in np.argwhere(ids[2::4, 2::4]).tolist():
        thing = objects[str(ids[4 * row + 2, 4 * column + 2])]
        found = [
            names[number - 1]
            for names, number in zip(
                ATTRIBUTES, videos.labels[7, 2, :, row, column].tolist(), strict=True
            )
        ]
        assert found == [thing['category'], thing['colour'], thing['motion']]
    assert (videos.labels[7, 2].sum(0) > 0).tolist() == (ids[2::4, 2::4] > 0).tolist()


def test_the_toy_config_takes_the_start_and_learns(world, tmp_path):
    for name in ('a', 'b'):
        train_start(world, tmp_path / f'{name}.safetensors', iterations=1)
    assert (tmp_path / 'a.safetensors').read_bytes() == (tmp_path / 'b.safetensors').read_bytes()
    config = Config.fromfile(CONFIG)
    config.model.text_encoder.vocab = str(world / 'vocab.txt')
    config.train_dataloader.dataset.data_root = str(world)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    missing, unexpected = model.load_state_dict(load_file(tmp_path / 'a.safetensors'), False)
    assert not unexpected and not [name for name in missing if name.startswith('backbone')]
    samples = [dataset[i] for i in range(2)]
    data = {key: [sample[key] for sample in samples] for key in samples[0]}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(5):
        batch = model.data_preprocessor(data, training=True)
        loss = sum(model(**batch, mode='loss').values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
