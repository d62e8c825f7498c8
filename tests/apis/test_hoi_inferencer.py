"""HOIInferencer on a tiny EoID whose heads answer with constants."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmvl.apis import HOIInferencer
from mmvl.engine import CheckpointError, save_safetensors
from mmvl.hoi.vocabulary import OBJECTS, VERBS
from mmvl.registry import MODELS

RIDE, HOLD, BICYCLE = VERBS.index('ride'), VERBS.index('hold'), OBJECTS.index('bicycle')


@MODELS.register_module()
class PatchBackbone(nn.Module):
    """One convolution with the stride of a ResNet."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 32, 32)

    def forward(self, x):
        return (self.conv(x),)


CONFIG = Config(
    {
        'model': {
            'type': 'EoID',
            'backbone': {'type': 'PatchBackbone'},
            'data_preprocessor': {
                'type': 'ImgDataPreprocessor',
                'mean': [120] * 3,
                'std': [60] * 3,
            },
            'in_channels': 8,
            'num_queries': 4,
            'embed_dims': 16,
            'num_heads': 2,
            'ffn_dims': 16,
            'encoder_layers': 1,
            'decoder_layers': 1,
            'teacher': {'type': 'OnlineTeacher', 'clip': {'type': 'CLIP', 'weights': 'absent.pt'}},
            'nms': {},
        },
        'test_dataloader': {
            'dataset': {
                'pipeline': [
                    {'type': 'LoadHOIImage'},
                    {'type': 'ResizeShortestEdge', 'scales': [96], 'max_size': 160},
                    {'type': 'PackHOIInputs'},
                ]
            }
        },
    }
)


def logit(p):
    return float(np.log(p / (1 - p)))


@pytest.fixture(scope='module')
def inferencer():
    """Every query sees a bicycle in the lower half, ridden (0.9) and held (0.6) by its subject."""
    model = HOIInferencer(CONFIG, device='cpu')
    with torch.no_grad():
        heads = model.model
        for head in (heads.object_head, heads.verb_head):
            head.weight.zero_()
            head.bias.fill_(-30)
        heads.object_head.bias[BICYCLE] = 30
        heads.verb_head.bias[[RIDE, HOLD]] = torch.tensor([logit(0.9), logit(0.6)])
        for head, (cx, cy, w, h) in (
            (heads.subject_box_head, (0.5, 0.5, 0.5, 0.5)),
            (heads.object_box_head, (0.5, 0.75, 0.8, 0.5)),
        ):
            last = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
            last.weight.zero_()
            last.bias.copy_(torch.tensor([logit(cx), logit(cy), logit(w), logit(h)]))
    return model


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / 'images'
    images.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (('b.png', (200, 100)), ('a.PNG', (40, 60)), ('c.jpg', (70, 70))):
        Image.fromarray(rng.integers(0, 255, (*shape, 3)).astype(np.uint8)).save(images / name)
    (images / 'notes.txt').write_text('no image')
    (images / 'inner.png').mkdir()
    return images


def test_boxes_are_in_pixels_of_the_image_as_given(inferencer, folder):
    result = inferencer(folder / 'b.png')[0]
    assert (result['width'], result['height']) == (100, 200)
    assert result['triplets'] == [
        {
            'subject_box': [25.0, 50.0, 75.0, 150.0],
            'object_box': [10.0, 100.0, 90.0, 200.0],
            'object': 'bicycle',
            'verb': verb,
            'phrase': phrase,
            'score': score,
        }
        for verb, phrase, score in (
            ('ride', 'person riding bicycle', 0.9),
            ('hold', 'person holding bicycle', 0.6),
        )
    ]


def test_folder_in_order_json_and_pictures_out(inferencer, folder, tmp_path):
    out = tmp_path / 'out'
    results = inferencer(folder, out_dir=out, batch_size=2)
    names = [str(folder / name) for name in ('a.PNG', 'b.png', 'c.jpg')]
    assert [result['file_name'] for result in results] == names
    assert [r['triplets'][0]['subject_box'] for r in results] == [
        [15.0, 10.0, 45.0, 30.0],
        [25.0, 50.0, 75.0, 150.0],
        [17.5, 17.5, 52.5, 52.5],
    ]
    assert json.loads((out / 'predictions.json').read_text()) == results
    assert sorted(p.name for p in (out / 'vis').iterdir()) == ['a.jpg', 'b.jpg', 'c.jpg']
    assert Image.open(out / 'vis' / 'a.jpg').size == (960, 640)


def test_array_equals_file(folder):
    torch.manual_seed(0)
    random = HOIInferencer(CONFIG, device='cpu')
    path = folder / 'b.png'
    array = np.asarray(Image.open(path))
    from_file, from_array = random([path, array], score_threshold=0, top_k=100)
    assert from_array['file_name'] == 'array_1'
    assert len(from_file['triplets']) > 3
    assert from_array['triplets'] == from_file['triplets']
    assert np.array_equal(array, np.asarray(Image.open(path)))


def test_threshold_and_top_k(inferencer, folder):
    def verbs(**options):
        return [t['verb'] for t in inferencer(folder / 'c.jpg', **options)[0]['triplets']]

    assert verbs(score_threshold=0.7) == ['ride']
    assert verbs(top_k=1) == ['ride']
    assert verbs(score_threshold=0.95) == []


def test_nothing_found_still_gives_a_picture(inferencer, folder, tmp_path):
    result = inferencer(folder / 'c.jpg', out_dir=tmp_path / 'out', score_threshold=0.95)
    assert json.loads(json.dumps(result))[0]['triplets'] == []
    assert (tmp_path / 'out' / 'vis' / 'c.jpg').is_file()


def test_pictures_of_one_name_do_not_replace_each_other(inferencer, folder, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    for name in ('c.jpg', 'c_2.jpg'):
        Image.open(folder / 'c.jpg').save(other / name)
    paths = [folder / 'c.jpg', other / 'c.jpg', other / 'c_2.jpg']
    inferencer(paths, out_dir=tmp_path / 'out', show_progress=False)
    names = sorted(p.name for p in (tmp_path / 'out' / 'vis').iterdir())
    assert names == ['c.jpg', 'c_2.jpg', 'c_2_2.jpg']


def test_weights_are_loaded_and_foreign_ones_refused(inferencer, folder, tmp_path):
    path = tmp_path / 'w.safetensors'
    save_safetensors(inferencer.model.state_dict(), path, {})
    loaded = HOIInferencer(CONFIG, path, device='cpu')
    assert not loaded.model.training
    assert loaded(folder / 'b.png') == inferencer(folder / 'b.png')
    save_safetensors({'layer.weight': torch.ones(3)}, path, {})
    with pytest.raises(CheckpointError, match='another method'):
        HOIInferencer(CONFIG, path, device='cpu')


@pytest.mark.parametrize('url', ['https://example.org/a.jpg', 's3://bucket/a.jpg'])
def test_urls_are_refused(inferencer, url):
    with pytest.raises(ValueError, match=f'{url} is a URL'):
        inferencer(url)


def test_bad_inputs_are_named(inferencer, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.jpg'):
        inferencer([folder / 'c.jpg', 'absent.jpg'])
    with pytest.raises(OSError, match=r'notes\.txt'):
        inferencer(folder / 'notes.txt')
    cut = tmp_path / 'cut.png'
    cut.write_bytes((folder / 'b.png').read_bytes()[:2000])
    with pytest.raises(OSError, match=r'cut\.png'):
        inferencer(cut)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty holds no images'):
        inferencer(tmp_path / 'empty')
    with pytest.raises(ValueError, match=r'input 0 is an array of \(4, 4\) float64'):
        inferencer(np.zeros((4, 4)))
    with pytest.raises(TypeError, match='input 1 is a int'):
        inferencer([folder / 'c.jpg', 3])


def test_config_of_something_else_is_refused():
    with pytest.raises(ValueError, match='no model or no test_dataloader'):
        HOIInferencer(Config({'model': {}}))
    config = Config({'model': {}, 'test_dataloader': {'dataset': {'pipeline': []}}})
    with pytest.raises(ValueError, match='begins with nothing'):
        HOIInferencer(config)


def test_import_of_apis_is_light():
    code = 'import sys, mmvl.apis; assert not {"torch", "mmengine", "mmvl.hoi"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
