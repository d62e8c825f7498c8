"""CLIP: the six published architectures, both file forms, the frozen teacher, preprocessing."""

import copy
import pickle
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import build_model_from_openai_state_dict
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)

from mmvl.language import CLIP, cached_text_embeddings, infer_config, read_weights
from mmvl.registry import MODELS

TEXT = {'context_length': 16, 'vocab_size': 49408, 'width': 64, 'heads': 1, 'layers': 1}
RESNET = {
    'embed_dim': 32,
    'quick_gelu': True,
    'vision_cfg': {'image_size': 64, 'layers': [1, 1, 1, 1], 'width': 8, 'patch_size': None},
    'text_cfg': TEXT,
}
VIT = {
    'embed_dim': 32,
    'quick_gelu': True,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 64, 'patch_size': 8},
    'text_cfg': TEXT,
}
COUNTS = {
    'RN50': 102_007_137,
    'RN101': 119_688_033,
    'RN50x16': 290_979_217,
    'ViT-B-32': 151_277_313,
    'ViT-B-16': 149_620_737,
    'ViT-L-14-336': 427_944_193,
}
PHRASES = ['a picture of person riding bicycle', 'a picture of person holding umbrella']


class OpenAIArchive(nn.Module):
    """A network with the three integer entries of OpenAI's archives beside the weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name in ('input_resolution', 'context_length', 'vocab_size'):
            self.register_buffer(name, torch.tensor(16))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.visual(images)


@pytest.fixture(scope='module', params=[RESNET, VIT], ids=['resnet', 'vit'])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    network = open_clip.model.CLIP(**copy.deepcopy(request.param)).eval()
    nn.init.normal_(network.text_projection, std=0.1)
    return network.requires_grad_(False)


@pytest.fixture(scope='module')
def archive(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('ckpt') / 'tiny.pt'
    size = network.visual.image_size
    example = torch.zeros(1, 3, *((size, size) if isinstance(size, int) else size))
    torch.jit.trace(OpenAIArchive(network), example, check_trace=False).save(path)
    return path


@pytest.fixture(scope='module')
def clip() -> CLIP:
    torch.manual_seed(1)
    return CLIP.from_config(RESNET)


def features(network: nn.Module, side: int) -> torch.Tensor:
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(5))
    tokens = open_clip.SimpleTokenizer(context_length=16)(PHRASES)
    image, text = network.encode_image(images, True), network.encode_text(tokens, True)
    return torch.cat((image, text))


def our_features(clip: CLIP) -> torch.Tensor:
    side = clip.image_size
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(5))
    return torch.cat((clip.encode_image(images), clip.encode_text(PHRASES)))


def test_token_ids(clip: CLIP) -> None:
    ids = [49406, 320, 1674, 539, 2533, 6765, 11652, 49407]
    assert clip.tokenizer(PHRASES[:1])[0].tolist() == ids + [0] * 8


@pytest.mark.parametrize('name', sorted(COUNTS))
def test_published_sizes_and_inferred_architectures(name: str) -> None:
    with torch.device('meta'):
        clip = CLIP.from_config(f'{name}-quickgelu')
    assert sum(p.numel() for p in clip.network.parameters()) == COUNTS[name]
    with torch.device('meta'):
        again = CLIP.from_config(infer_config(clip.network.state_dict()))
    shapes = {k: v.shape for k, v in clip.network.state_dict().items()}
    assert {k: v.shape for k, v in again.network.state_dict().items()} == shapes
    assert again.image_size == clip.image_size
    heads = [m.num_heads for m in clip.network.modules() if hasattr(m, 'num_heads')]
    assert [m.num_heads for m in again.network.modules() if hasattr(m, 'num_heads')] == heads


def test_archive_reader_agrees_with_torch(archive: Path) -> None:
    expected = torch.jit.load(archive, map_location='cpu').state_dict()
    state, openai = read_weights(archive)
    assert openai
    assert set(expected) - set(state) == {'input_resolution', 'context_length', 'vocab_size'}
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_all_files_give_the_same_features(
    network: nn.Module, archive: Path, tmp_path: Path
) -> None:
    state = network.state_dict()
    config = infer_config(state)
    torch.save(state, tmp_path / 'plain.pth')
    torch.save({'state_dict': {f'module.{k}': v for k, v in state.items()}}, tmp_path / 'ddp.pt')
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / 'w.safetensors')
    from_archive = CLIP.from_pretrained(archive)
    expected = features(network, from_archive.image_size)
    torch.testing.assert_close(our_features(from_archive), expected, rtol=0, atol=1e-6)
    for name in ('plain.pth', 'ddp.pt', 'w.safetensors'):
        clip = CLIP.from_pretrained(tmp_path / name, model=config)
        assert torch.equal(our_features(clip), our_features(from_archive))
    official = build_model_from_openai_state_dict(dict(state)).float()
    rounded = features(official, from_archive.image_size)
    torch.testing.assert_close(our_features(from_archive), rounded, rtol=0, atol=2e-3)


def test_quickgelu_is_not_lost(network: nn.Module, archive: Path) -> None:
    config = {**infer_config(network.state_dict()), 'quick_gelu': False}
    with pytest.raises(ValueError, match='QuickGELU'):
        CLIP.from_pretrained(archive, model=config)
    assert CLIP.from_pretrained(archive).config['quick_gelu'] is True


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / 'owned',))

    with zipfile.ZipFile(tmp_path / 'script.pt', 'w') as file:
        file.writestr('script/data.pkl', pickle.dumps(Evil()))
        file.writestr('script/constants.pkl', b'')
    torch.save(Evil(), tmp_path / 'plain.pt')
    for name in ('script.pt', 'plain.pt'):
        with pytest.raises(ValueError, match='tensors|code'):
            read_weights(tmp_path / name)
    assert not (tmp_path / 'owned').exists()


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='never downloaded'):
        CLIP(weights='RN50x16')
    with pytest.raises(ValueError, match='no open_clip config on this machine'):
        CLIP(model='hf-hub:someone/model')
    torch.save({'a': torch.zeros(1)}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match="'model' must say"):
        CLIP(weights=tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='does not fit'):
        CLIP(weights=tmp_path / 'a.pth', model=VIT)


def test_teacher_stays_frozen_and_leaves_no_trace() -> None:
    clip = MODELS.build({'type': 'CLIP', 'model': RESNET})
    student = nn.ModuleDict({'head': nn.Linear(32, 2), 'teacher': clip}).train()
    before = clip.fingerprint()
    images = torch.randn(4, 3, 64, 64)
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    for _ in range(2):
        output = student['head'](clip.encode_image(images))
        optimizer.zero_grad()
        output.square().sum().backward()
        optimizer.step()
    assert not clip.training and not any(m.training for m in clip.network.modules())
    assert set(student.state_dict()) == {'head.weight', 'head.bias'}
    assert clip.state_dict() == {}
    student.load_state_dict(student.state_dict())
    assert all(p.grad is None for p in clip.network.parameters())
    assert clip.fingerprint() == before
    student.double()
    assert clip.network.logit_scale.dtype == torch.float64
    assert clip.encode_image(images).dtype == torch.float32


def test_trainable_model_registers_everything() -> None:
    clip = CLIP.from_config(RESNET, frozen=False).train()
    assert any(m.training for m in clip.network.modules())
    (clip.encode_image(torch.randn(2, 3, 64, 64)) @ clip.encode_text(PHRASES).T).sum().backward()
    assert all(p.grad is not None for n, p in clip.named_parameters() if 'logit_scale' not in n)
    torch.testing.assert_close(clip.logit_scale, torch.tensor(1 / 0.07))


def test_embeddings_ignore_autocast(clip: CLIP) -> None:
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = clip.encode_image(images)
    assert torch.equal(inside, clip.encode_image(images))
    torch.testing.assert_close(inside.norm(dim=-1), torch.ones(2))


@pytest.mark.parametrize('shape', [(90, 131), (64, 64), (201, 40), (33, 35)])
def test_preprocessing_is_openai_s(clip: CLIP, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    reference = Compose(
        [
            Resize(64, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(64),
            ToTensor(),
            Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    expected = reference(Image.fromarray(image))
    torch.testing.assert_close(clip.preprocess(image), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(clip.preprocess(Image.fromarray(image)), expected, rtol=0, atol=1e-6)


def test_text_cache(clip: CLIP, tmp_path: Path) -> None:
    first = cached_text_embeddings(clip, PHRASES, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = cached_text_embeddings(clip, PHRASES, tmp_path)
    assert torch.equal(first, again) and torch.equal(again, clip.encode_text(PHRASES))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    changed = cached_text_embeddings(clip, [*PHRASES[:1], 'another'], tmp_path)
    assert not torch.equal(changed, first) and len(list(tmp_path.iterdir())) == 2
    other = copy.deepcopy(clip)
    other.network.text_projection += 0.01
    assert not torch.equal(cached_text_embeddings(other, PHRASES, tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 3
