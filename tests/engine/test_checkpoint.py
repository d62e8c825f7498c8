import argparse
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmvl.engine import (
    CheckpointError,
    compare_keys,
    load_checkpoint_file,
    load_weights,
    save_safetensors,
    state_dict_of,
    write_atomically,
)


class Bomb:
    """Pickles as a call of ``os.mkdir``."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def save(content, path: Path, **kwargs) -> Path:
    torch.save(content, path, **kwargs)
    return path


@pytest.mark.parametrize('legacy', [False, True])
def test_code_is_refused_and_not_run(tmp_path, legacy):
    marker = tmp_path / 'ran'
    file = tmp_path / 'bad.pth'
    content = {'state_dict': {'w': torch.ones(2)}, 'x': Bomb(marker)}
    save(content, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"asks for '(posix|os)\.mkdir'") as info:
        load_checkpoint_file(file)
    assert '--trust-pickle' in str(info.value)
    assert not marker.exists()
    assert len(str(info.value).splitlines()) <= 3
    load_checkpoint_file(file, trust='pickle')
    assert marker.exists(), 'the marker works: only the refusal kept it away'


def test_plain_pickle_is_refused(tmp_path):
    marker = tmp_path / 'ran'
    file = tmp_path / 'bad.pth'
    file.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(CheckpointError):
        load_checkpoint_file(file)
    assert not marker.exists()


def test_getattr_is_not_let_through(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (torch.Tensor, 'numpy')

    file = save({'state_dict': {'w': torch.ones(1)}, 'x': Reach()}, tmp_path / 'reach.pth')
    with pytest.raises(CheckpointError, match='getattr'):
        load_checkpoint_file(file)


def test_namespace_becomes_a_dictionary(tmp_path):
    args = argparse.Namespace(lr=1e-4, nested=argparse.Namespace(names=['a', 'b']))
    file = save({'model': {'w': torch.arange(3.0)}, 'args': args, 'epoch': 7}, tmp_path / 'd.pth')
    loaded = load_checkpoint_file(file)
    assert loaded['args'] == {'lr': 1e-4, 'nested': {'names': ['a', 'b']}}
    assert type(loaded['args']) is dict
    assert loaded['epoch'] == 7
    assert loaded['model']['w'].tolist() == [0, 1, 2]


def test_numpy_values_load(tmp_path):
    meta = {
        'scalar': np.float64(2.5),
        'array': np.arange(4, dtype=np.int32),
        'flag': np.bool_(True),
    }
    loaded = load_checkpoint_file(
        save({'model': {'w': torch.ones(1)}, 'meta': meta}, tmp_path / 'n.pth')
    )
    assert loaded['meta']['scalar'] == 2.5
    assert loaded['meta']['array'].tolist() == [0, 1, 2, 3]
    assert loaded['meta']['flag']


@pytest.mark.parametrize(
    ('content', 'name', 'said'),
    [
        (b'<!DOCTYPE html><html>404</html>', 'a.pth', 'web page'),
        (b'\n  <html><body>sign in</body></html>', 'a.safetensors', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'a.pth', 'Git LFS pointer'),
        (b'', 'a.pth', 'empty'),
        (b'\x1f\x8b\x08\x00garbage', 'a.pth', 'neither a PyTorch nor'),
    ],
)
def test_what_is_not_a_checkpoint_is_named(tmp_path, content, name, said):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=said) as info:
        load_checkpoint_file(file)
    assert str(file) in str(info.value)
    assert 'What to do' in str(info.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match='does not exist'):
        load_checkpoint_file(tmp_path / 'none.pth')
    with pytest.raises(CheckpointError, match='is a folder'):
        load_checkpoint_file(tmp_path)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.97])
@pytest.mark.parametrize('legacy', [False, True])
def test_truncated_pth(tmp_path, share, legacy):
    file = tmp_path / 'a.pth'
    save({'model': {'w': torch.rand(100, 10)}}, file, _use_new_zipfile_serialization=not legacy)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match='truncated'):
        load_checkpoint_file(file)


@pytest.mark.parametrize('missing', [1, 300, 4100])
def test_truncated_safetensors_tells_both_sizes(tmp_path, missing):
    file = tmp_path / 'a.safetensors'
    save_safetensors({'w': torch.rand(1000)}, file, {})
    whole = file.read_bytes()
    file.write_bytes(whole[:-missing] if missing < len(whole) else whole[:20])
    with pytest.raises(CheckpointError, match=r'truncated: [\d,]+ of (at least )?[\d,]+ bytes'):
        load_checkpoint_file(file)


def test_tensors_that_are_not_finite_are_named(tmp_path):
    state = {
        'a': torch.ones(2),
        'b.weight': torch.tensor([1.0, float('nan')]),
        'c': torch.tensor([1e39]),
        'eight bits': torch.tensor([1.0, float('nan')]).to(torch.float8_e4m3fn),
    }
    file = save({'state_dict': state}, tmp_path / 'nan.pth')
    said = 'in 3 tensors: state_dict.b.weight, state_dict.c, state_dict.eight bits\\.'
    with pytest.raises(CheckpointError, match=said) as info:
        load_checkpoint_file(file)
    assert '--allow-nonfinite' in str(info.value)
    assert load_checkpoint_file(file, allow_nonfinite=True)['state_dict']['b.weight'][0] == 1
    many = {f'w{i}': torch.tensor(float('inf')) for i in range(9)}
    with pytest.raises(CheckpointError, match='in 9 tensors: w0, w1, w2, w3, w4 and 4 more'):
        load_checkpoint_file(save(many, tmp_path / 'many.pth'))
    best = {
        'state_dict': {'a': torch.ones(2)},
        'message_hub': {'best': torch.tensor(float('-inf'))},
    }
    assert load_checkpoint_file(save(best, tmp_path / 'ok.pth'))['message_hub']['best'] < 0


def test_tensors_without_values_of_their_own_are_refused(tmp_path):
    cases = {
        'claims 100,000,000,000 values': torch.zeros(1).expand(10**11),
        'or sparsely': torch.eye(3).to_sparse(),
        'without values': torch.empty(3, device='meta'),
    }
    for said, tensor in cases.items():
        file = save({'optimizer': {'state': {0: tensor}}}, tmp_path / 'a.pth')
        with pytest.raises(CheckpointError, match=said) as info:
            load_checkpoint_file(file)
        assert "'optimizer.state.0'" in str(info.value)


def test_dictionaries_that_are_shared_without_end_take_no_time(tmp_path):
    inner = {'w': torch.ones(1)}
    for _ in range(50):
        inner = {'a': inner, 'b': argparse.Namespace(c=inner)}
    content = {'model': inner}
    content['model']['itself'] = content
    loaded = load_checkpoint_file(save(content, tmp_path / 'a.pth'))
    assert loaded['model']['b']['c'] is loaded['model']['a']
    assert loaded['model']['itself'] is loaded


def test_nested_without_end(tmp_path):
    opcodes = b'\x80\x02' + b'}X\x01\x00\x00\x00a' * 5000 + b'}' + b's' * 5000 + b'.'
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('a/data.pkl', opcodes)
        archive.writestr('a/version', '3')
        archive.writestr('a/byteorder', 'little')
    with pytest.raises(CheckpointError, match='is nested deeper than any checkpoint'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_a_compressed_archive_that_unpacks_to_gigabytes(tmp_path):
    file = tmp_path / 'a.pth'
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}.')
        archive.writestr('a/data/0', bytes(3_000_000))
    with pytest.raises(CheckpointError, match=r'to 3,000,004 bytes, more than 200:1'):
        load_checkpoint_file(file)


def test_a_damaged_directory_of_a_pth(tmp_path):
    file = save({'model': {'w': torch.ones(3)}}, tmp_path / 'a.pth')
    data = bytearray(file.read_bytes())
    data[data.index(b'PK\x01\x02')] = 0
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match='is damaged'):
        load_checkpoint_file(file)


@pytest.mark.parametrize('trust', ['weights', 'pickle'])
@pytest.mark.parametrize('legacy', [False, True])
def test_flipped_bytes_are_a_checkpoint_error_or_nothing(tmp_path, trust, legacy):
    content = {'model': {'w': torch.ones(3)}, 'args': argparse.Namespace(lr=1e-4)}
    file = save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    whole = file.read_bytes()
    for place in range(0, min(len(whole), 700), 5):
        # 0x2e ends a pickle, so that nothing of the rest is called
        file.write_bytes(whole[:place] + b'.' + whole[place + 1 :])
        try:
            load_checkpoint_file(file, trust=trust)
        except CheckpointError as error:
            assert len(str(error).splitlines()) <= 3


@pytest.mark.parametrize(
    'header',
    [
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":["a","b"]}}',
        b'{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
        b'{"w":[1]}',
        b'{' * 40000,
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e99]}}',
    ],
)
def test_odd_headers_of_safetensors(tmp_path, header):
    file = tmp_path / 'a.safetensors'
    file.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    with pytest.raises(CheckpointError, match='What to do'):
        load_checkpoint_file(file)


def test_safetensors_round_trip_with_tied_weights(tmp_path):
    weight = torch.rand(3, 2).t()
    file = tmp_path / 'deep' / 'a.safetensors'
    save_safetensors({'w': weight, 'tied': weight}, file, {'method': 'tiny'})
    loaded = load_checkpoint_file(file)
    assert torch.equal(loaded['state_dict']['w'], weight)
    assert torch.equal(loaded['state_dict']['tied'], weight)
    assert loaded['meta'] == {'method': 'tiny'}
    assert [f.name for f in file.parent.iterdir()] == ['a.safetensors']


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / 'a.pth'
    write_atomically(file, lambda tmp: save({'model': {'w': torch.ones(1)}}, tmp))
    before = file.read_bytes()

    def half(tmp: Path) -> None:
        tmp.write_bytes(b'PK\x03\x04 half')

    def full(tmp: Path) -> None:
        tmp.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    for write in (half, full):
        with pytest.raises(OSError):
            write_atomically(file, write)
        assert file.read_bytes() == before
        assert list(tmp_path.iterdir()) == [file]


def test_state_dict_of_finds_the_weights():
    w = torch.ones(1)
    assert state_dict_of({'model': {'a': w}, 'epoch': 1}) == {'a': w}
    assert state_dict_of({'module.a': w, 'module.b': w}).keys() == {'a', 'b'}
    assert state_dict_of({'module.a': w, 'b': w}).keys() == {'module.a', 'b'}
    with pytest.raises(CheckpointError, match='holds no weights; its keys: epoch, args'):
        state_dict_of({'epoch': 1, 'args': {}})


def net(width: int = 3) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(8)))


def test_table_lists_ten_and_counts_the_rest():
    model, state = net(), net().state_dict()
    state['0.bias'] = torch.zeros(5)
    del state['7.weight']
    state.update({f'extra.{i}': torch.zeros(1) for i in range(13)})
    with pytest.raises(CheckpointError) as info:
        load_weights(model, state)
    text = str(info.value)
    assert '14 names match' in text
    assert '1 missing in the file:\n    7.weight' in text
    assert '13 unknown to the model:' in text
    assert text.count('extra.') == 10
    assert '... and 3 more' in text
    assert '0.bias: file (5,), model (3,)' in text


def test_a_failed_load_changes_nothing_and_a_loose_one_takes_what_fits():
    model, state = net(), net().state_dict()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del state['7.weight']
    with pytest.raises(CheckpointError, match='does not fit'):
        load_weights(model, state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    report = load_weights(model, state, strict=False)
    assert (report.matched, report.missing) == (15, ['7.weight'])
    assert torch.equal(model[0].weight, state['0.weight'])
    assert torch.equal(model[7].weight, before['7.weight'])


@pytest.mark.parametrize('strict', [True, False])
def test_another_method_is_recognised(strict):
    other = {f'backbone.{key}': value for key, value in net().state_dict().items()}
    with pytest.raises(CheckpointError, match='another method'):
        load_weights(net(), other, strict)
    with pytest.raises(CheckpointError, match='another method'):
        load_weights(net(), net(4).state_dict(), strict)


def test_a_part_of_the_model_is_not_another_method():
    part = {key: value for key, value in net().state_dict().items() if key.startswith('0.')}
    assert compare_keys(net(), part).share == 1
    assert load_weights(net(), part, strict=False).matched == 2
