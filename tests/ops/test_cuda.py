"""CUDA: kernels compile wherever nvcc is, and agree with plain PyTorch where a GPU is."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from test_build import all_results

from mmvl.ops import _build, backend
from mmvl.ops._library import COMPILED_FOR

KERNELS = _build.SOURCES / 'cuda' / 'check_kernels.cu'


@pytest.mark.skipif(shutil.which('nvcc') is None, reason='there is no CUDA compiler (nvcc)')
@pytest.mark.parametrize('architecture', ['80', '90'])
def test_kernels_compile(architecture: str, tmp_path: Path) -> None:
    """Without torch's headers and without a GPU."""
    target = f'arch=compute_{architecture},code=sm_{architecture}'
    command = ['nvcc', '-std=c++17', '-Werror=all-warnings', '-gencode', target, '-c', str(KERNELS)]
    done = subprocess.run(
        [*command, '-o', str(tmp_path / 'kernels.o')], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'kernels.o').stat().st_size > 10_000


@pytest.mark.gpu
def test_results_are_those_of_plain_pytorch() -> None:
    if not torch.cuda.is_available():
        pytest.skip('there is no GPU')
    if 'cuda' not in COMPILED_FOR:
        pytest.skip("built without CUDA ('mmvl ops build --cuda')")
    results = []
    for name in ('reference', 'compiled', 'compiled'):
        with backend(name):
            results.append(all_results(torch.device('cuda')))
    for plain, ours, again in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
        assert torch.equal(ours, again)
    # the rays, last, are the same bits
    assert all(torch.equal(a, b) for a, b in zip(results[0][-3:], results[1][-3:], strict=True))
