"""Files that nobody has checked: F01-F05, F09, F22, F29, F30."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny
import torch
from untrusted_files import ARCHIVES, REFS, write_png

from mmvl.cli import main as cli
from mmvl.engine import save_safetensors
from mmvl.engine.archives import ArchiveError, unpack

MB = 1 << 20


class Bomb:
    """Pickles as a call of ``os.mkdir``."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture
def refused(tmp_path, capfd):
    """Convert a file on the command line, which refuses it in three lines; give these."""

    def convert(source) -> str:
        target = tmp_path / 'converted.safetensors'
        capfd.readouterr()
        assert cli.main(['convert', 'eoid', str(source), str(target)]) == 2
        message = capfd.readouterr().err.strip().split('mmvl: ')[-1]
        assert len(message.splitlines()) <= 3
        assert 'What to do' in message
        assert 'Traceback' not in message
        assert not target.exists()
        return message

    return convert


@pytest.mark.parametrize('legacy', [False, True])
def test_f01_checkpoint_with_code(tmp_path, refused, legacy):
    marker, file = tmp_path / 'ran', tmp_path / 'bad.pth'
    content = {'model': {'w': torch.ones(2)}, 'x': Bomb(marker)}
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    message = refused(file)
    assert "asks for 'posix.mkdir'" in message or "asks for 'os.mkdir'" in message
    assert '--trust-pickle' in message
    assert not marker.exists()


def test_f01_code_in_a_checkpoint_to_test(tmp_path, capfd):
    marker, file, config = tmp_path / 'ran', tmp_path / 'bad.pth', tmp_path / 'config.py'
    torch.save({'state_dict': {'w': torch.ones(2)}, 'x': Bomb(marker)}, file)
    config.write_text(tiny.CONFIG)
    assert cli.main(['test', str(config), str(file), '--work-dir', str(tmp_path / 'work')]) == 2
    message = capfd.readouterr().err.split('\nmmvl: ')[-1].strip()
    assert "mkdir', which is code" in message
    assert len(message.splitlines()) <= 3
    assert not marker.exists()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.content`` and breaks off after ``server.cut`` bytes."""

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    file = tmp_path / 'served.pth'
    torch.save({'model': {'class_embed.weight': torch.ones(2)}, 'args': {}}, file)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        running.content, running.cut = file.read_bytes(), None
        running.address = f'http://127.0.0.1:{running.server_port}/eoid.pth#sha256='
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def cached(tmp_path) -> list[Path]:
    return [file for file in (tmp_path / 'cache').rglob('*') if file.is_file()]


def test_f02_download_with_another_hash(tmp_path, refused, server):
    expected, got = '0' * 64, hashlib.sha256(server.content).hexdigest()
    message = refused(server.address + expected)
    assert expected in message
    assert got in message
    assert cached(tmp_path) == []


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_f03_truncated_checkpoint(tmp_path, refused, suffix):
    file = tmp_path / f'cut{suffix}'
    if suffix == '.pth':
        torch.save({'model': {'w': torch.rand(1000)}}, file)
    else:
        save_safetensors({'w': torch.rand(1000)}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:3000])
    message = refused(file)
    known = 'more than 3,000' if suffix == '.pth' else f'{len(whole):,}'
    assert f'is truncated: 3,000 of {known} bytes' in message


def test_f03_resuming_takes_the_previous_checkpoint(tmp_path, capfd):
    config, work = tmp_path / 'config.py', tmp_path / 'work'
    config.write_text(tiny.CONFIG)
    words = ['train', str(config), '--work-dir', str(work), '--cfg-options']
    assert cli.main([*words, 'train_cfg.max_epochs=2']) == 0
    newest = work / 'epoch_2.pth'
    newest.write_bytes(newest.read_bytes()[:1000])
    capfd.readouterr()
    assert cli.main([words[0], words[1], '--resume', *words[2:], 'train_cfg.max_epochs=2']) == 0
    said = ' '.join(capfd.readouterr())
    assert f'{newest} is truncated: 1,000 of more than 1,000 bytes' in said
    assert torch.load(newest, weights_only=False)['meta']['epoch'] == 2


@pytest.mark.parametrize('name', ['page.pth', 'page.safetensors'])
def test_f04_web_page_instead_of_weights(tmp_path, refused, name):
    file = tmp_path / name
    file.write_text('\n<!DOCTYPE html>\n<html><title>Sign in</title></html>' * 100)
    assert 'is a web page, not weights' in refused(file)


def test_f05_download_that_breaks_off(tmp_path, refused, server):
    source = server.address + hashlib.sha256(server.content).hexdigest()
    server.cut = 500
    assert 'broke off' in refused(source)
    assert cached(tmp_path) == []
    server.cut = None
    # not EoID's names: refused after the download, of which the whole file stays
    assert 'class_embed.weight' in refused_by_its_keys(tmp_path, source)
    (file,) = cached(tmp_path)
    assert file.read_bytes() == server.content


def refused_by_its_keys(tmp_path, source):
    from mmvl.hoi.eoid.convert import convert_file

    with pytest.raises(ValueError, match='is no key of') as info:
        convert_file('eoid', source, tmp_path / 'x.safetensors')
    return str(info.value)


@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_f09_weights_that_are_not_finite(tmp_path, refused, value):
    file = tmp_path / 'nan.pth'
    state = {f'w{i}': torch.tensor([1.0, value]) for i in range(7)}
    torch.save({'model': {'good': torch.ones(3), **state}}, file)
    message = refused(file)
    assert 'in 7 tensors: model.w0, model.w1, model.w2, model.w3, model.w4 and 2 more' in message
    assert '--allow-nonfinite' in message


CHILD = """
import json, sys, time
{imports}
def status(field):
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) << 10
before, results = status('VmRSS:'), []
for path in sys.argv[1:]:
    began, error = time.process_time(), None
    try:
        {call}
    except Exception as caught:
        error = [type(caught).__name__, str(caught)]
    grown = status('VmHWM:') - before
    results.append(dict(error=error, seconds=time.process_time() - began, grown=grown))
print(json.dumps(results))
"""


def in_a_process(imports: str, call: str, files: list[Path], cwd=None) -> list[dict]:
    """What a call raises for each file, seconds, and bytes that the process has grown by then."""
    code = CHILD.format(imports=imports, call=call)
    words = [sys.executable, '-c', code, *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_f22_image_of_900_million_pixels(tmp_path):
    small, bomb = tmp_path / 'small.png', tmp_path / 'bomb.png'
    write_png(small, 300, 200)
    write_png(bomb, 30_000, 30_000)
    assert bomb.stat().st_size < 150_000
    fine, result = in_a_process(
        'from mmvl.hoi.transforms import LoadHOIImage',
        "assert LoadHOIImage().transform({'img_path': path})['img'].shape == (200, 300, 3)",
        [small, bomb],
    )
    assert fine['error'] is None
    kind, message = result['error']
    assert kind == 'ImageError'
    assert str(bomb) in message
    assert 'decompression bomb' in message
    assert len(message.splitlines()) <= 3
    # decoded it would take 2,700 MB
    assert result['grown'] < 500 * MB
    assert result['seconds'] < 5


@pytest.fixture(scope='module')
def read_refs(tmp_path_factory):
    """Read the samples of the benchmark in one process; give its folder and the results."""
    folder = tmp_path_factory.mktemp('refs')
    files = [folder / f'refs {i}.p' for i in range(len(REFS))]
    for file, data in zip(files, REFS.values(), strict=True):
        file.write_bytes(data)
    results = in_a_process(
        'from mmvl.engine.pickles import read_pickle', 'read_pickle(path)', files, cwd=folder
    )
    return folder, dict(zip(REFS, results, strict=True))


@pytest.mark.parametrize('name', REFS)
def test_f29_refs_with_code_or_larger_than_they_look(read_refs, name):
    folder, results = read_refs
    kind, message = results[name]['error']
    assert kind == 'PickleError'
    assert str(folder) in message
    assert len(message.splitlines()) <= 3
    assert results[name]['grown'] < 200 * MB
    # a reader that followed them would never end
    assert results[name]['seconds'] < 60
    if name.startswith('code'):
        assert "mkdir', which is code" in message
    assert not (folder / 'ran').exists()


@pytest.mark.parametrize('name', ARCHIVES)
def test_f30_archives_that_leave_their_folder_or_swell(tmp_path, name):
    folder = tmp_path / 'deep' / 'deeper'
    folder.mkdir(parents=True)
    archive = folder / 'archive'
    ARCHIVES[name](archive)
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(ArchiveError) as info:
        unpack(archive, folder / 'out')
    assert str(archive) in str(info.value)
    assert len(str(info.value).splitlines()) <= 3
    assert sorted(tmp_path.rglob('*')) == before
