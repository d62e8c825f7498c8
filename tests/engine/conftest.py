"""Runs of the tiny model."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.config import Config

from mmvl.engine import Runner


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
