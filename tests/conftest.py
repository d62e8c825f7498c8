"""What holds for every test: no network, one thread, fixed generators."""

import os
import random
from collections.abc import Iterator

# Before any library reads them; xdist's workers import this file too.
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', OMP_NUM_THREADS='1')

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.utils import ManagerMixin

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
