"""RVOSInferencer on a tiny ReferFormer, whose weights are random but depend on the sentence."""

import json

import av
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco
from torch import nn

from mmvl.apis import RVOSInferencer
from mmvl.cli import main as cli
from mmvl.engine import CheckpointError, save_safetensors
from mmvl.engine.images import ImageError
from mmvl.video.decode import VideoError, read_frames
from mmvl.video.preprocessing import ClipPreprocessor
from mmvl.video.structures import ClipDataSample
from mmvl.video.transforms import ClipError

WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] the red blue circle square moves left right'
TEXTS = ['the red circle', 'the blue square moves right', 'left']
FRAMES, HEIGHT, WIDTH = 7, 90, 122


def tiny_config(vocab, **changes):
    model = {
        'type': 'ReferFormer',
        'text_encoder': {
            'type': 'RobertaText', 'vocab': str(vocab), 'num_hidden_layers': 1, 'hidden_size': 32,
            'num_attention_heads': 2, 'intermediate_size': 32, 'vocab_size': 13,
            'max_position_embeddings': 20,
        },
        'backbone': {
            'type': 'VideoSwin', 'embed_dims': 8, 'depths': (1, 1, 2, 1), 'num_heads': (1, 1, 2, 2),
            'window': (2, 3, 3), 'drop_path_rate': 0.0,
        },
        'in_channels': (8, 16, 32, 64), 'embed_dims': 32, 'num_heads': 4, 'ffn_dims': 32,
        'encoder_layers': 1, 'decoder_layers': 2, **changes,
    }  # fmt: skip
    pipeline = [{'type': 'LoadClip'}, {'type': 'ResizeClip', 'sizes': [64]}, {'type': 'PackClip'}]
    return Config({'model': model, 'test_dataloader': {'dataset': {'pipeline': pipeline}}})


def lively(inferencer):
    """Spread what an untrained model answers, so that queries, frames and sentences differ."""
    model = inferencer.model
    torch.manual_seed(1)
    nn.init.normal_(model.query_embed.weight, std=3)
    for heads, std in ((model.class_embed, 0.5), (model.bbox_embed, 0.2)):
        for parameter in heads.parameters():
            nn.init.normal_(parameter, std=std)
    nn.init.normal_(model.mask_head.controller.layers[-1].bias, std=0.2)
    return inferencer


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    vocab = tmp_path_factory.mktemp('words') / 'vocab.txt'
    vocab.write_text('\n'.join(WORDS.split()) + '\n')
    return tiny_config(vocab)


@pytest.fixture(scope='module')
def inferencer(config):
    torch.manual_seed(0)
    return lively(RVOSInferencer(config, device='cpu'))


def pictures(count=FRAMES):
    """A red square that moves to the right over a coarse ground."""
    rng = np.random.default_rng(0)
    ground = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
    ground = np.array(ground.resize((WIDTH, HEIGHT)))
    for i in range(count):
        frame = ground.copy()
        frame[30:50, 10 + 12 * i : 30 + 12 * i] = (220, 10, 10)
        yield frame


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / 'clip.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=24, options={'bf': '2'})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, 'yuv420p'
        for frame in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'frames'
    path.mkdir()
    for i, frame in enumerate(pictures()):
        Image.fromarray(frame).save(path / f'f{i:02d}.png')
    return path


def run(inferencer, *args, **options):
    return inferencer(*args, show_progress=False, **options)


def masks_of(result):
    return np.stack([coco.decode(code).astype(bool) for code in result['masks']])


def by_hand(inferencer, frames, text):
    """Prediction for frames that are prepared without the pipeline."""
    small = [Image.fromarray(f).resize((86, 64), Image.Resampling.BILINEAR) for f in frames]
    pixels = torch.from_numpy(np.stack([np.asarray(each) for each in small])).permute(0, 3, 1, 2)
    meta = {'text': text, 'frame_names': tuple(map(str, range(len(frames)))), 'target': None}
    sample = ClipDataSample(metainfo={**meta, 'ori_shape': (HEIGHT, WIDTH)})
    batch = ClipPreprocessor()({'inputs': [pixels], 'data_samples': [sample]})
    with torch.no_grad():
        return inferencer.model(**batch, mode='predict')[0]


@pytest.mark.parametrize(('window', 'cuts'), [(0, [0, 7]), (3, [0, 3, 6, 7]), (7, [0, 7])])
def test_results_are_those_of_the_model_on_clips_prepared_by_hand(inferencer, clip, window, cuts):
    frames = read_frames(clip, range(FRAMES))
    found = run(inferencer, clip, TEXTS, window=window)
    assert [result['expression'] for result in found] == TEXTS
    for result, text in zip(found, TEXTS, strict=True):
        parts = [
            by_hand(inferencer, frames[a:b], text) for a, b in zip(cuts, cuts[1:], strict=False)
        ]
        scores = torch.cat([part.pred_scores for part in parts])
        assert result['scores'] == pytest.approx(scores.tolist(), abs=1e-4)
        assert result['score'] == pytest.approx(float(scores.mean()), abs=1e-3)
        boxes = torch.cat([part.pred_boxes for part in parts])
        np.testing.assert_allclose(result['boxes'], boxes, atol=0.0501)
        masks = masks_of(result)
        assert np.array_equal(masks, torch.cat([part.pred_masks for part in parts]).numpy())
        assert masks.any() and not masks.all()
        assert (result['height'], result['width'], result['window']) == (HEIGHT, WIDTH, window)
        assert result['frames'] == [f'{i:05d}' for i in range(FRAMES)]
    assert found[0]['scores'] != found[1]['scores'], 'the sentence matters'


def test_a_window_changes_what_frames_see(inferencer, clip):
    (whole,), (cut,) = (run(inferencer, clip, TEXTS[0], window=n) for n in (0, 3))
    assert np.abs(np.array(whole['scores']) - cut['scores']).max() > 1e-3


def test_a_folder_of_frames_in_the_order_of_names(inferencer, folder):
    (folder / 'notes.txt').write_text('no image')
    (result,) = run(inferencer, folder, TEXTS[0], frame_step=3)
    assert result['frames'] == ['f00', 'f03', 'f06']
    sample = by_hand(inferencer, list(pictures())[::3], TEXTS[0])
    assert result['scores'] == pytest.approx(sample.pred_scores.tolist(), abs=1e-4)
    assert np.array_equal(masks_of(result), sample.pred_masks.numpy())


def test_every_third_frame_of_a_file(inferencer, clip):
    (result,) = run(inferencer, clip, TEXTS[0], frame_step=3)
    assert result['frames'] == ['00000', '00003', '00006']
    sample = by_hand(inferencer, read_frames(clip, [0, 3, 6]), TEXTS[0])
    assert result['scores'] == pytest.approx(sample.pred_scores.tolist(), abs=1e-4)


def test_sentences_are_written_as_the_datasets_have_them(inferencer, folder):
    first, second = run(inferencer, folder, ['The  RED\tcircle', 'the red circle'], window=3)
    assert first['expression'] == 'The  RED\tcircle'
    assert first['scores'] == second['scores']


def test_window_and_threshold_come_from_the_config(config, folder):
    changed = Config(config.to_dict())
    changed.model.test_cfg = {'mode': 'windows', 'window': 4, 'threshold': 0.3}
    torch.manual_seed(0)
    model = lively(RVOSInferencer(changed, device='cpu'))
    (own,) = run(model, folder, TEXTS[0])
    (same,) = run(model, folder, TEXTS[0], window=4, mask_threshold=0.3)
    (strict,) = run(model, folder, TEXTS[0], window=4, mask_threshold=0.7)
    assert own == same and own['window'] == 4
    low, high = masks_of(own), masks_of(strict)
    assert high.sum() < low.sum() and not (high & ~low).any()
    assert run(model, folder, TEXTS[0])[0] == own, 'the options of a call are forgotten'
    assert run(model, folder, TEXTS[0], window=0)[0]['window'] == 0


def test_short_side_replaces_that_of_the_config(inferencer, folder):
    (own,), (same,), (large,) = (
        run(inferencer, folder, TEXTS[0], short_side=side) for side in (None, 64, 80)
    )
    assert own == same
    assert own['scores'] != large['scores']
    assert masks_of(large).shape == (FRAMES, HEIGHT, WIDTH)


def test_queries_are_told_where_the_model_tells_them(inferencer, folder, monkeypatch):
    step = inferencer.model.test_step

    def telling(batch):
        samples = step(batch)
        samples[0].pred_queries = torch.full((len(samples[0].pred_scores),), 2)
        return samples

    monkeypatch.setattr(inferencer.model, 'test_step', telling)
    assert run(inferencer, folder, TEXTS[0], window=3)[0]['queries'] == [2] * FRAMES


def test_files_of_every_sentence(inferencer, clip, tmp_path):
    out = tmp_path / 'new' / 'out'
    results = run(inferencer, clip, TEXTS[:2], out_dir=out, window=3, strip_frames=5)
    assert json.loads((out / 'predictions.json').read_text('utf-8')) == results
    assert sorted(p.name for p in out.iterdir()) == ['predictions.json', 'sentence_1', 'sentence_2']
    for number, result in enumerate(results, start=1):
        sentence = out / f'sentence_{number}'
        assert sorted(p.name for p in sentence.iterdir()) == [
            'filmstrip.png', 'masks', 'overlay.mp4', 'scores.png',
        ]  # fmt: skip
        stored = [np.asarray(Image.open(p)) for p in sorted((sentence / 'masks').iterdir())]
        assert np.array_equal(np.stack(stored), masks_of(result) * 255)
        names = sorted(p.name for p in (sentence / 'masks').iterdir())
        assert names == [f'{i:05d}.png' for i in range(FRAMES)]
        overlay = read_frames(sentence / 'overlay.mp4', range(FRAMES))
        assert overlay[0].shape[0] > HEIGHT and overlay[0].shape[1] == WIDTH
        with av.open(str(sentence / 'overlay.mp4')) as container:
            assert container.streams.video[0].average_rate == 24
        strip = np.asarray(Image.open(sentence / 'filmstrip.png'))
        assert strip.shape[1] == 4 * 420 + 3 * 8, 'rows of four'
        assert np.asarray(Image.open(sentence / 'scores.png')).shape[1] == 960


def test_what_is_there_already_is_replaced_only_by_its_name(inferencer, clip, tmp_path):
    out = tmp_path / 'out'
    (out / 'sentence_1' / 'masks').mkdir(parents=True)
    (out / 'sentence_1' / 'masks' / 'mine.png').write_text('mine')
    (out / 'predictions.json').write_text('old')
    run(inferencer, clip, TEXTS[0], out_dir=out, frame_step=5)
    assert (out / 'sentence_1' / 'masks' / 'mine.png').read_text() == 'mine'
    assert json.loads((out / 'predictions.json').read_text())[0]['frames'] == ['00000', '00005']


def test_a_window_bounds_what_is_decoded_at_once(inferencer, folder, monkeypatch):
    """A frame that is damaged is found when its window comes, and what came before is written."""
    (folder / 'f05.png').write_bytes((folder / 'f05.png').read_bytes()[:300])
    out = folder.parent / 'out'
    with pytest.raises(ImageError, match=r'f05\.png'):
        run(inferencer, folder, TEXTS[0], out_dir=out, window=2)
    names = sorted(p.name for p in (out / 'sentence_1' / 'masks').iterdir())
    assert names == [f'f{i:02d}.png' for i in range(4)]
    assert not (out / 'predictions.json').exists()


def test_weights_are_loaded_and_foreign_ones_refused(inferencer, config, folder, tmp_path):
    file = tmp_path / 'w.safetensors'
    save_safetensors(inferencer.model.state_dict(), file)
    loaded = RVOSInferencer(config, file, device='cpu')
    assert not loaded.model.training
    assert run(loaded, folder, TEXTS[1]) == run(inferencer, folder, TEXTS[1])
    save_safetensors({'layer.weight': torch.ones(3)}, file)
    with pytest.raises(CheckpointError, match='another method'):
        RVOSInferencer(config, file, device='cpu')


@pytest.mark.parametrize(
    ('video', 'texts', 'options', 'kind', 'said'),
    [
        ('notes.txt', 'red', {}, VideoError, r'notes\.txt: not a video, damaged'),
        ('sound.mp4', 'red', {}, VideoError, r'sound\.mp4: there is no video stream'),
        ('none.mp4', 'red', {}, FileNotFoundError, r'none\.mp4'),
        ('empty', 'red', {}, ValueError, 'empty holds no images'),
        ('mixed', 'red', {}, ClipError, 'mixed: frame b has 20 x 10 pixels, the first 20 x 16'),
        ('broken', 'red', {}, ImageError, r'broken.a\.png: '),
        ('https://example.org/a.mp4', 'red', {}, ValueError, 'is a URL'),
        (7, 'red', {}, TypeError, 'the video is a int'),
        ('mixed', '', {}, ValueError, 'expression 0 is empty'),
        ('mixed', ['red', ' \t\u3000'], {}, ValueError, 'expression 1 is empty'),
        ('mixed', ['red', None], {}, TypeError, 'expression 1 is a NoneType'),
        ('mixed', 'red \udcff', {}, ValueError, 'is no Unicode from character 4 on'),
        ('mixed', [], {}, ValueError, 'There is no sentence'),
        ('mixed', 'red', {'window': -1}, ValueError, 'window is -1'),
        ('mixed', 'red', {'frame_step': 0}, ValueError, 'frame_step is 0'),
        ('mixed', 'red', {'short_side': 0}, ValueError, 'short_side is 0'),
        ('mixed', 'red', {'mask_threshold': 1.0}, ValueError, 'mask_threshold is 1.0'),
        ('mixed', 'red', {'strip_frames': 0}, ValueError, 'strip_frames is 0'),
    ],
)
def test_bad_input_is_named(inferencer, tmp_path, monkeypatch, video, texts, options, kind, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'notes.txt').write_text('no video')
    for name in ('empty', 'mixed', 'broken'):
        (tmp_path / name).mkdir()
    for name, height in (('a', 16), ('b', 10)):
        Image.new('RGB', (20, height)).save(tmp_path / 'mixed' / f'{name}.png')
    (tmp_path / 'broken' / 'a.png').write_bytes(b'\x89PNG')
    with av.open('sound.mp4', 'w') as container:
        container.add_stream('aac', rate=8000)
        container.start_encoding()
    with pytest.raises(kind, match=said) as error:
        run(inferencer, video, texts, **options)
    assert len(str(error.value).splitlines()) <= 3


def test_a_video_without_frames(inferencer, tmp_path):
    path = tmp_path / 'zero.avi'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=24)
        stream.height, stream.width = 32, 32
        container.start_encoding()
    with pytest.raises(VideoError, match=r'zero\.avi: there is not a single frame') as error:
        run(inferencer, path, TEXTS[0], out_dir=tmp_path / 'out')
    assert error.value.kind == 'zero frames'
    assert not (tmp_path / 'out').exists()


def test_a_folder_that_cannot_be_written_to_is_found_before_the_work(
    inferencer, folder, tmp_path, monkeypatch
):
    (tmp_path / 'file').write_text('no folder')
    monkeypatch.setattr(inferencer.model, 'test_step', lambda batch: pytest.fail('too late'))
    for out in (tmp_path / 'file', tmp_path / 'file' / 'deep'):
        with pytest.raises(OSError, match=f'Cannot write into the folder {out}') as error:
            run(inferencer, folder, TEXTS[0], out_dir=out)
        assert 'What to do' in str(error.value)


def test_config_of_another_task_is_refused():
    step = {'type': 'LoadReferringImage'}
    config = Config({'model': {}, 'test_dataloader': {'dataset': {'pipeline': [step]}}})
    with pytest.raises(ValueError, match='begins with LoadReferringImage, not LoadClip') as no:
        RVOSInferencer(config)
    assert 'configs/referformer/refytvos_r50.py' in str(no.value)


def test_on_the_command_line(inferencer, config, clip, capfd, monkeypatch):
    monkeypatch.chdir(clip.parent)
    config.dump('tiny.py')
    save_safetensors(inferencer.model.state_dict(), 'w.safetensors')
    expected = run(inferencer, 'clip.mp4', TEXTS[:2], window=3)
    options = ['--config', 'tiny.py', '--weights', 'w.safetensors', '--device', 'cpu']
    command = ['infer', 'rvos', 'clip.mp4', *TEXTS[:2], '--window', '3', *options]
    assert cli.main(command) == 0
    printed = capfd.readouterr().out
    assert json.loads(printed[printed.index('[\n') :]) == expected
    assert cli.main([*command, '--out-dir', 'out']) == 0
    assert '"masks"' not in capfd.readouterr().out
    assert json.loads((clip.parent / 'out/predictions.json').read_text('utf-8')) == expected


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['clip.mp4'], "'clip.mp4' is the only input, where a video and a sentence are needed"),
        (['clip.mp4', 'red', '--top-k', '3'], "'--top-k' is an option of hoi"),
        (['clip.mp4', 'red', '--batch-size', '2'], 'is an option of hoi and grounding'),
        (['clip.mp4', 'red', '--config', 'none.py'], "config 'none.py' does not exist"),
        (['clip.mp4', 'red'], "config 'configs/referformer/refytvos_r50.py' does not exist"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, monkeypatch, capfd, words, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['infer', 'rvos', *words, '--weights', 'w.pth']) == 2
    error = capfd.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 3


def test_windows_are_no_option_of_images(capfd):
    words = ['infer', 'hoi', 'photo.jpg', '--window', '3', '--weights', 'w.pth']
    assert cli.main(words) == 2
    assert "'--window' is an option of rvos" in capfd.readouterr().err
