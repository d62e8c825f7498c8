"""What holds for every test: no network, one thread, fixed generators."""

import copy
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before any library reads them; xdist's workers import this file too.
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', OMP_NUM_THREADS='1')

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import ManagerMixin

from mmvl.engine import Runner

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_start() -> Iterator[None]:
    """Seed the generators; forget MMEngine's global scope afterwards, so that order is free."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    # loggers, message hubs and scopes of one run would answer to the next one
    pending = list(ManagerMixin.__subclasses__())
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        kind._instance_dict.clear()
    assert DefaultScope.get_current_instance() is None


@pytest.fixture
def make_runner(tmp_path: Path) -> Callable[..., Runner]:
    """Build runners of the tiny model in work folders of the test."""

    def make(folder: str = 'run', **changes: Any) -> Runner:
        config = Config.fromstring(tiny.CONFIG, file_format='.py')
        config.work_dir = str(tmp_path / folder)
        config.experiment_name = f'{folder}_{len(list(tmp_path.rglob("*")))}'
        config.merge_from_dict(copy.deepcopy(changes))
        return Runner.from_cfg(config)

    return make
