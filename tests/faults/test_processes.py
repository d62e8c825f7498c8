"""F34: one of two processes is killed, raises or stalls; a training that crashes starts again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lost_rank import CONFIG, ROOT, fail
from reliability import final_state, same_bits

SAID = {
    'killed': 'lost contact: rank 1 died or stalled',
    'raising': 'sample 7 is broken.\nWhat to do: mend it.',
    'stalling': 'lost contact: rank 1 died or stalled',
}


@pytest.mark.parametrize('kind', SAID)
def test_f34_all_processes_end_when_one_fails(kind: str, tmp_path: Path) -> None:
    """Within 30 s, of which 10 s are the time-out of a process that waits for a stalled one."""
    trial = fail(kind, tmp_path, timeout=10)
    assert trial.code != 0
    assert trial.seconds < 30
    assert SAID[kind] in trial.output
    assert 'train.py", line' not in trial.output  # no traceback of ours


def test_f34_a_restarted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Twelve samples of two processes with two each: epochs of six iterations."""
    for name in ('whole', 'cut'):
        (tmp_path / name).mkdir()
    (tmp_path / 'whole' / 'failed_at').write_text('0')  # it has failed already: it will not
    whole = fail('killed', tmp_path / 'whole')
    assert whole.code == 0, whole.output
    cut = fail('killed', tmp_path / 'cut', at=14, restarts=2)
    assert cut.code == 0, cut.output
    assert 'restart 1, from' in cut.output
    parts = [final_state(tmp_path / name / 'run') for name in ('whole', 'cut')]
    assert same_bits(*parts)


CRASHING = (
    CONFIG
    + """
custom_imports['imports'].append('crashing')
custom_hooks = [dict(type='CrashHook', at={crash})]
"""
)
CRASH = """
import os
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class CrashHook(Hook):
    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter in self.at and not os.path.exists(f'{runner.work_dir}/{runner.iter}'):
            if self.at[0] != self.at[-1]:
                open(f'{runner.work_dir}/{runner.iter}', 'w').close()
            os.kill(os.getpid(), 9)
"""


def run_alone(folder: Path, crash: list[int]) -> subprocess.CompletedProcess:
    """Train in one process under --max-restarts, with crashes at some iterations."""
    (folder / 'crashing.py').write_text(CRASH)
    text = CRASHING.format(timeout=10, kind='', at=0, mark='', crash=crash)
    (folder / 'config.py').write_text(text)
    path = [str(folder), str(ROOT), str(ROOT / 'benchmarks'), os.environ.get('PYTHONPATH', '')]
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(folder / 'config.py')]
    return subprocess.run(
        [*command, '--work-dir', str(folder / 'run'), '--max-restarts', '5'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )


def test_f34_restarts_go_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    """Epochs of twelve iterations; it crashes in the second and in the third one."""
    done = run_alone(tmp_path, [15, 30])
    assert done.returncode == 0, done.stderr
    assert [n for n in range(1, 6) if f'restart {n}, from' in done.stderr + done.stdout] == [1, 2]
    content = torch.load(tmp_path / 'run' / 'epoch_4.pth', weights_only=False)
    assert content['meta']['iter'] == 48


def test_f34_restarts_end_without_progress(tmp_path: Path) -> None:
    done = run_alone(tmp_path, [15])
    assert done.returncode == 2
    assert 'restart 2 would begin where restart 1 did, at epoch_1.pth' in done.stderr
    assert 'restart 3' not in done.stderr
