"""TensorFlow, set up once as a search does it."""

import pytest

from pipeline import training


@pytest.fixture(autouse=True, scope="session")
def devices():
    return training.set_up(threads=None)
