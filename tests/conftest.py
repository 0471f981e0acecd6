"""What all tests share."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from arli_core.config import preset
from arli_core.learn import learn
from arli_core.records import Record, checks

TINY = {"train.epochs": 1, "train.batch_size": 200, "recording.frames": 2, "recording.probes": 0, "device": "cpu"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need CUDA are deselected where there is none: no test is ever skipped."""
    if torch.cuda.is_available():
        return
    needing = [item for item in items if item.get_closest_marker("cuda")]
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if not item.get_closest_marker("cuda")]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """As in training, here and in every process that a test starts: on busy cores a second thread costs ten times
    as much as it gains on idle ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained() -> Callable[..., Record]:
    """trained(preset, tasks, **settings): the record of a quick run of finetune."""

    def run(name: str, tasks: int, **settings: object) -> Record:
        record = Record(preset(name, "finetune", **{**TINY, "data.tasks": tasks, **settings}))
        for event in learn(record.config):
            record = record.after(event)
        return record

    return run


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., None]:
    """rewrite(run, change): seals a recorded run anew after its files were edited, with correct digests, as a
    deliberate forger would; `change` first edits the index in place. For any schema."""

    def write(run: Path, change: Callable[[dict[str, Any]], object] = lambda index: None) -> None:
        index = json.loads((run / "run.json").read_bytes())
        change(index)
        if index["schema"] == 1:
            (run / "run.json").write_text(json.dumps(index))
            return
        digests = {file: checks.digest((run / file).read_bytes()) for file in index["digests"]}
        (run / "run.json").write_bytes(checks.sealed(index | {"digests": digests}))

    return write
