import hashlib
import http.server
import threading
from pathlib import Path

import pytest
import torch

from mmvl.engine import CheckpointError, load_checkpoint_file
from mmvl.engine.download import fetch_weights, local_file


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.content``, breaking off after ``server.cut`` bytes, and counts requests."""

    def do_GET(self):
        self.server.requests += 1
        if self.path.startswith('/missing'):
            self.send_error(404)
            return
        data = self.server.content
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        running.content, running.cut, running.requests = b'weights' * 1000, None, 0
        running.address = f'http://127.0.0.1:{running.server_port}/deep/a%20b.pth?download=1'
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def with_hash(server, content=None):
    return f'{server.address}#sha256={hashlib.sha256(content or server.content).hexdigest()}'


def kept(tmp_path) -> list[Path]:
    return [file for file in (tmp_path / 'cache').rglob('*') if file.is_file()]


def test_a_file_is_downloaded_once(server, tmp_path):
    file = fetch_weights(with_hash(server))
    assert file.read_bytes() == server.content
    digest = hashlib.sha256(server.content).hexdigest()
    assert file == tmp_path / 'cache' / 'mmvl' / 'weights' / f'{digest[:16]}-a_20b.pth'
    assert fetch_weights(with_hash(server).replace(digest, digest.upper())) == file
    assert server.requests == 1
    file.write_bytes(b'damaged later')
    assert fetch_weights(with_hash(server)).read_bytes() == server.content
    assert server.requests == 2
    assert kept(tmp_path) == [file]


def test_a_checkpoint_is_loaded_from_an_address(server, tmp_path):
    torch.save({'model': {'w': torch.arange(3.0)}}, tmp_path / 'a.pth')
    server.content = (tmp_path / 'a.pth').read_bytes()
    assert load_checkpoint_file(with_hash(server))['model']['w'].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    'source',
    [
        'https://host/a.pth',
        'https://host/a.pth#sha256=abc',
        'https://host/a.pth#md5=' + '0' * 64,
        'file:///etc/passwd#sha256=' + '0' * 64,
        'ftp://host/a.pth#sha256=' + '0' * 64,
    ],
)
def test_without_a_hash_nothing_is_asked_for(source):
    with pytest.raises(CheckpointError, match=r'#sha256=DIGITS') as info:
        local_file(source)
    assert source in str(info.value)
    assert len(str(info.value).splitlines()) <= 3


def test_another_file_than_promised(server, tmp_path):
    promised = hashlib.sha256(b'promised').hexdigest()
    got = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(CheckpointError, match=f'SHA-256 {got}, expected {promised}') as info:
        fetch_weights(with_hash(server, b'promised'))
    assert len(str(info.value).splitlines()) <= 3
    assert kept(tmp_path) == []


def test_broken_off_and_tried_again(server, tmp_path):
    server.cut = 3000
    with pytest.raises(CheckpointError, match='or broke off'):
        fetch_weights(with_hash(server))
    assert kept(tmp_path) == []
    server.cut = None
    assert fetch_weights(with_hash(server)).read_bytes() == server.content


def test_a_server_that_refuses_or_is_not_there(server, tmp_path):
    server.address = server.address.replace('/deep', '/missing')
    with pytest.raises(CheckpointError, match='cannot be downloaded: HTTP Error 404'):
        fetch_weights(with_hash(server))
    server.server_close()
    server.shutdown()
    with pytest.raises(CheckpointError, match='cannot be downloaded') as info:
        fetch_weights(with_hash(server))
    assert 'What to do' in str(info.value)
    assert kept(tmp_path) == []


def test_paths_stay_paths(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert local_file('~/a.pth') == tmp_path / 'a.pth'
    assert local_file(tmp_path / 'b.pth') == tmp_path / 'b.pth'
