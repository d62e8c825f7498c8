"""GroundingInferencer on a tiny VG-LAW, whose weights are random but depend on the sentence."""

import json
import logging

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image
from pycocotools import mask as coco
from torch import nn

from mmvl.apis import GroundingInferencer
from mmvl.cli import main as cli
from mmvl.engine import CheckpointError, save_safetensors
from mmvl.engine.images import ImageError
from mmvl.grounding.visualization import PREDICTION_COLOR
from mmvl.structures import ReferringDataSample

WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] the red blue circle square on left right of'
TEXTS = ['the red circle', 'the blue square on the right of the red circle', 'blue']
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def tiny_config(vocab, **changes):
    model = {
        'type': 'VGLAW',
        'rank': 4,
        'generator_heads': 2,
        'text_encoder': {
            'type': 'BertText', 'vocab': str(vocab), 'num_layers': 1, 'hidden_size': 32,
            'num_attention_heads': 2, 'intermediate_size': 32, 'vocab_size': 15,
        },
        'backbone': {
            'type': 'AdaptiveViTDet', 'image_size': 64, 'patch_size': 8, 'embed_dims': 32,
            'depth': 3, 'num_heads': 2, 'window': 4, 'global_blocks': (2,), 'drop_path_rate': 0.0,
            'pretrain_grid': 8,
        },
        **changes,
    }  # fmt: skip
    pipeline = [
        {'type': 'LoadReferringImage'},
        {'type': 'ResizeLongSide', 'sizes': [64]},
        {'type': 'PadToSquare', 'size': 64, 'mode': 'centre'},
        {'type': 'PackReferringInputs', 'original_mask': True},
    ]
    return Config({'model': model, 'test_dataloader': {'dataset': {'pipeline': pipeline}}})


def lively(inferencer):
    """Spread what an untrained model answers, so that sentences and images differ."""
    torch.manual_seed(1)
    model = inferencer.model
    with torch.no_grad():
        for each in model.weight_generator.proj:
            nn.init.normal_(each[-1].weight, std=2)
        for head in (model.box_head, model.mask_head):
            for each in () if head is None else head.parameters():
                each.mul_(3)
    return inferencer


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    vocab = tmp_path_factory.mktemp('words') / 'vocab.txt'
    vocab.write_text('\n'.join(WORDS.split()) + '\n')
    return tiny_config(vocab)


@pytest.fixture(scope='module')
def inferencer(config):
    torch.manual_seed(0)
    return lively(GroundingInferencer(config, device='cpu'))


@pytest.fixture
def photos(tmp_path):
    """a.png is 96 high and 128 wide, b.png upright."""
    rng = np.random.default_rng(0)
    for name, shape in (('a.png', (96, 128)), ('b.png', (120, 60))):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
        coarse.resize(shape[::-1]).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_instance('test_grounding_inferencer')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        yield caplog
    logger.removeHandler(caplog.handler)


def boxes_of(results):
    return np.array([result['box'] for result in results])


def test_result_is_that_of_the_model_on_a_sample_prepared_by_hand(inferencer, photos):
    photo = Image.open(photos / 'a.png')
    small = np.asarray(photo.resize((64, 48), Image.Resampling.BILINEAR), np.float32)
    square = torch.zeros(1, 3, 64, 64)
    square[0, :, 8:56] = torch.from_numpy((small - MEAN) / STD).permute(2, 0, 1)
    meta = {'square': 64, 'pad_offset': (8, 0), 'img_shape': (48, 64), 'ori_shape': (96, 128)}
    found = inferencer(photos / 'a.png', TEXTS, show_progress=False)
    for result, text in zip(found, TEXTS, strict=True):
        sample = ReferringDataSample(metainfo={**meta, 'text': text})
        with torch.no_grad():
            (expected,) = inferencer.model(square, [sample], 'predict')
        assert (result['image'], result['expression']) == (str(photos / 'a.png'), text)
        assert result['box'] == pytest.approx(expected.pred_box.tolist(), abs=0.0501)
        mask = coco.decode(result['mask']).astype(bool)
        assert mask.shape == (96, 128)
        assert (mask != expected.pred_mask.numpy()).mean() < 1e-3
        assert 0.02 < mask.mean() < 0.98
    boxes = boxes_of(found)
    assert np.abs(boxes[0] - boxes[2]).max() > 5, 'the sentence matters'


def test_a_batch_of_many_equals_batches_of_one(inferencer, photos):
    images = [photos / name for name in ('a.png', 'b.png', 'a.png')]
    alone = inferencer(images, TEXTS)
    together = inferencer(images, TEXTS, batch_size=3)
    np.testing.assert_allclose(boxes_of(alone), boxes_of(together), atol=0.11)
    for one, other in zip(alone, together, strict=True):
        first, second = coco.decode(one['mask']), coco.decode(other['mask'])
        assert (first != second).mean() < 1e-3
    assert [one['image'] for one in together] == [str(image) for image in images]


def test_forms_of_input(inferencer, photos):
    path = photos / 'a.png'
    array = np.asarray(Image.open(path))
    (expected,) = inferencer(path, TEXTS[0])
    for images, name in ((array, 'array_0'), ([array], 'array_0'), ([str(path)], str(path))):
        (found,) = inferencer(images, [TEXTS[0]])
        assert found == {**expected, 'image': name}
    assert inferencer([path], TEXTS) == inferencer([path] * 3, TEXTS)
    assert inferencer(photos, TEXTS[:2]) == inferencer([path, photos / 'b.png'], TEXTS[:2])
    assert np.array_equal(array, np.asarray(Image.open(path)))


def test_json_and_pictures_out(inferencer, photos):
    out = photos / 'out'
    texts = [*TEXTS[:2], '🚲 左边的狗']
    results = inferencer(photos / 'b.png', texts, out_dir=out, batch_size=2)
    assert json.loads((out / 'predictions.json').read_text('utf-8')) == results
    assert sorted(path.name for path in out.iterdir()) == ['predictions.json', 'vis']
    names = sorted(path.name for path in (out / 'vis').iterdir())
    assert names == ['b.jpg', 'b_2.jpg', 'b_3.jpg']
    for name, result in zip(names, results, strict=True):
        picture = np.asarray(Image.open(out / 'vis' / name).convert('RGB')).astype(int)
        height, width = picture.shape[:2]
        assert width == 640 and height > 1280, 'a title above the photograph, a sentence below'
        assert picture[100:1200].std() > 30, 'the photograph is seen'
        outline = np.abs(picture - PREDICTION_COLOR).max(axis=2) < 40
        columns = np.flatnonzero(outline.any(axis=0)) / 640 * 60
        left, _, right, _ = result['box']
        assert columns.min() < left + 2 and columns.max() > min(right, 60) - 2
    assert not np.array_equal(
        *(np.asarray(Image.open(out / 'vis' / name))[-60:] for name in ('b.jpg', 'b_3.jpg'))
    ), 'each sentence stands under its picture'


def test_a_model_without_masks(config, photos):
    changed = Config(config.to_dict())
    changed.model.with_mask = False
    torch.manual_seed(0)
    model = lively(GroundingInferencer(changed, device='cpu'))
    (result,) = model(photos / 'a.png', TEXTS[0], out_dir=photos / 'out')
    assert set(result) == {'image', 'expression', 'box', 'mask'}
    assert result['mask'] is None
    left, top, right, bottom = result['box']
    assert 0 <= left < right <= 128 and 0 <= top < bottom <= 96
    assert (photos / 'out' / 'vis' / 'a.jpg').is_file()


def test_grey_sixteen_bit_and_smallest_images(inferencer, photos):
    ramp = np.linspace(0, 255, 96 * 128).reshape(96, 128).astype(np.uint8)
    Image.fromarray(ramp).save(photos / 'grey.png')
    Image.fromarray(ramp.astype(np.uint16) * 257).save(photos / 'deep.png')
    rgb = np.repeat(ramp[..., None], 3, axis=2)
    expected, *others = inferencer([rgb, photos / 'grey.png', photos / 'deep.png'], [TEXTS[0]] * 3)
    assert all(found['box'] == expected['box'] for found in others)
    assert all(found['mask'] == expected['mask'] for found in others)
    dot, line = np.full((1, 1, 3), 90, np.uint8), np.full((2, 300, 3), 90, np.uint8)
    results = inferencer([dot, line], TEXTS[:2], out_dir=photos / 'out')
    assert [found['mask']['size'] for found in results] == [[1, 1], [2, 300]]
    boxes = boxes_of(results)
    assert (boxes >= 0).all() and (boxes[:, 2:] <= [[1, 1], [300, 2]]).all()
    assert len(list((photos / 'out' / 'vis').iterdir())) == 2


def test_a_sentence_too_long_is_cut_and_logged(inferencer, photos, log):
    inferencer.model.text_encoder._cut = False
    long = 'the red circle ' * 667
    cut, short = inferencer(photos / 'a.png', [long[:10_000], 'the red circle ' * 14])
    assert len(cut['expression']) == 10_000
    # both begin with the same 38 words
    assert cut['box'] == short['box']
    said = [record.getMessage() for record in log.records if 'are cut' in record.getMessage()]
    assert said == [f'sentences of more than 40 tokens are cut, first: {long[:80]}']


def test_weights_are_loaded_and_foreign_ones_refused(inferencer, config, photos):
    file = photos / 'w.safetensors'
    save_safetensors(inferencer.model.state_dict(), file)
    loaded = GroundingInferencer(config, file, device='cpu')
    assert not loaded.model.training
    assert loaded(photos / 'a.png', TEXTS) == inferencer(photos / 'a.png', TEXTS)
    save_safetensors({'layer.weight': torch.ones(3)}, file)
    with pytest.raises(CheckpointError, match='another method'):
        GroundingInferencer(config, file, device='cpu')


@pytest.mark.parametrize(
    ('images', 'texts', 'kind', 'said'),
    [
        ('a.png', '', ValueError, 'expression 0 is empty'),
        ('a.png', ['red', ' \t\u3000'], ValueError, 'expression 1 is empty'),
        ('a.png', ['red', None], TypeError, 'expression 1 is a NoneType'),
        ('a.png', 'red \udcff', ValueError, 'expression 0 is no Unicode from character 4 on'),
        ('a.png', [], ValueError, '1 images and 0 sentences'),
        (['a.png', 'b.png'], 'red', ValueError, '2 images and 1 sentences'),
        (['a.png', 'b.png'], ['red'] * 3, ValueError, '2 images and 3 sentences'),
        (['a.png', 'none.png'], ['red'] * 2, FileNotFoundError, 'Image not found: .*none.png'),
        ('notes.txt', 'red', ImageError, 'notes.txt: not an image'),
        ('notes.txt', ['red', 'blue'], ImageError, 'notes.txt: not an image'),
        ('https://example.org/a.jpg', 'red', ValueError, 'is a URL'),
        (np.zeros((4, 4)), 'red', ValueError, r'input 0 is an array of \(4, 4\) float64'),
        (7, 'red', TypeError, 'input 0 is a int'),
        ('a.png', None, TypeError, 'expression 0 is a NoneType'),
    ],
)
def test_bad_inputs_are_named(inferencer, photos, monkeypatch, images, texts, kind, said):
    monkeypatch.chdir(photos)
    (photos / 'notes.txt').write_text('no image')
    with pytest.raises(kind, match=said) as error:
        inferencer(images, texts, out_dir='out')
    assert len(str(error.value).splitlines()) <= 3
    assert not (photos / 'out').exists()


def test_a_batch_has_at_least_one(inferencer, photos):
    for size in (0, -1):
        with pytest.raises(ValueError, match=f'batch_size is {size}'):
            inferencer(photos / 'a.png', TEXTS, batch_size=size)


def test_config_of_another_task_is_refused():
    step = {'type': 'LoadHOIImage'}
    config = Config({'model': {}, 'test_dataloader': {'dataset': {'pipeline': [step]}}})
    with pytest.raises(ValueError, match='begins with LoadHOIImage, not LoadReferringImage') as no:
        GroundingInferencer(config)
    assert 'configs/vg_law/refcoco.py' in str(no.value)


def test_on_the_command_line(inferencer, config, photos, capfd, monkeypatch):
    monkeypatch.chdir(photos)
    config.dump('tiny.py')
    save_safetensors(inferencer.model.state_dict(), 'w.safetensors')
    expected = inferencer('a.png', TEXTS)
    options = ['--config', 'tiny.py', '--weights', 'w.safetensors', '--device', 'cpu']
    assert cli.main(['infer', 'grounding', 'a.png', *TEXTS, *options]) == 0
    printed = capfd.readouterr().out
    assert json.loads(printed[printed.index('[\n') :]) == expected
    assert cli.main(['infer', 'grounding', 'a.png', *TEXTS, *options, '--out-dir', 'out']) == 0
    assert '"box"' not in capfd.readouterr().out
    assert json.loads((photos / 'out' / 'predictions.json').read_text('utf-8')) == expected
