"""Fixtures that several files use."""
import pytest

from certs import Certs
from homes import home, model  # noqa: F401


@pytest.fixture(scope="session")
def certs():
    c = Certs()
    yield c
    c.close()
