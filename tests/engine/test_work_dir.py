"""The lock of a work folder."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmvl.engine.work_dir import LOCK, WorkDirInUseError, only_training_in

HOLD = """
import sys
from pathlib import Path
from mmvl.engine.work_dir import only_training_in
with only_training_in(Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the folder until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()


def test_a_second_training_is_refused_and_told_who_holds_the_folder(tmp_path, other):
    with (
        pytest.raises(WorkDirInUseError, match=rf'process {other.pid} on \S+ since 20'),
        only_training_in(tmp_path),
    ):
        pytest.fail('the folder was given away twice')
    # the refused one leaves the other's lock alone, and it is free when the other has ended
    other.communicate()
    with only_training_in(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith('process')
    assert (tmp_path / LOCK).read_text() == ''


def test_the_lock_of_a_killed_training_is_taken_over(tmp_path, other, capsys):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with only_training_in(tmp_path):
        pass
    said = capsys.readouterr()
    assert f'was killed (process {other.pid}' in said.out + said.err


def test_an_error_in_training_frees_the_folder(tmp_path):
    with pytest.raises(RuntimeError), only_training_in(tmp_path):
        raise RuntimeError
    assert (tmp_path / LOCK).read_text() == ''


def test_of_several_processes_the_first_one_locks(tmp_path, other, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with only_training_in(tmp_path, 'pytorch'):
        pass
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(WorkDirInUseError), only_training_in(tmp_path, 'pytorch'):
        pass
