"""TensorFlow, set up once as a search does it."""

import pytest

from pipeline import training


@pytest.fixture(autouse=True, scope="session")
def devices():
    return training.set_up(threads=None)


@pytest.fixture(params=["plain", "stream"])
def mode(request):
    """Return the mode of an engine: both, for what must hold in both."""
    return request.param
