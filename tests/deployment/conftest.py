"""One federation for all tests of this folder: starting one costs more than most of what is tested with it."""

from collections.abc import Iterator

import pytest

from tests.deployment.federation import CLIENTS, Deployment, deployed, open_policy, split_rows


@pytest.fixture(scope="package")
def _kept_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    root = tmp_path_factory.mktemp("deployment")
    with deployed(root, CLIENTS, open_policy()) as deployment:
        split_rows(root)
        yield deployment


@pytest.fixture
def federation(_kept_running: Deployment) -> Deployment:
    """A server and three clients, all connected and idle, whatever the test before did to them."""
    _kept_running.heal()
    return _kept_running
