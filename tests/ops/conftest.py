"""Every test of an operator runs on each implementation that is here."""

from collections.abc import Iterator

import pytest

from mmvl.ops import backend
from mmvl.ops._library import COMPILED_FOR

NOT_BUILT = "the operators are not compiled ('mmvl ops build' compiles them)"


@pytest.fixture(params=['reference', 'auto', 'compiled'])
def each_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == 'compiled' and 'cpu' not in COMPILED_FOR:
        pytest.skip(NOT_BUILT)
    with backend(request.param):
        yield request.param
