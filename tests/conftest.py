"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need CUDA are deselected where there is none: no test is ever skipped."""
    if torch.cuda.is_available():
        return
    needing = [item for item in items if item.get_closest_marker("cuda")]
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if not item.get_closest_marker("cuda")]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """As in training: on busy cores a second thread costs ten times what it gains on idle ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
