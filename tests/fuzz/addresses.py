"""Addresses of pages, and pages of runs that came from elsewhere: each opens a page with no traceback and no path of
the server on it."""

import os
import random
from functools import partial
from pathlib import Path

from streamlit.testing.v1 import AppTest

from arli_core import records
from arli_core.errors import RecordError
from arli_core.records import exports

from . import archives, hostile
from .case import Case
from .world import RUNS, World

ROOT = Path(__file__).parents[2]
# Each page with its views and with the keys that it reads.
PAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "": ((), "run task frame"),
    "lessons": ((), "lesson key"),
    "reference": ((), "doc"),
    "train": (
        ("train", "race", "parts"),
        "run other again part task preset method seed device data.classes_per_task data.class_order data.tasks "
        "data.name train.epochs memory.budget fusion.eta fusion network.name",
    ),
    "matrix": ((), "run task frame eta layer"),
    "spectrum": (("eigenvalues", "consensus", "own", "break"), "run task frame matrix example"),
    "masks": (("figure-9", "attack", "captum", "drift", "stability", "own-image"), "run task frame"),
    "forgetting": (("matrices", "confusion", "vote"), "run other task p mixing protocol"),
    "compare": (
        ("methods", "parts", "setting", "runs"),
        "sweep rows lines against setting scale measure protocol runs run",
    ),
    "runs": ((), "run"),
}
WORDS = (
    "forgetting", "attack", "distances", "consensus", "vote", "per_sample", "average", "bwt", "glossary", "digits",
    "scenes", "ari", "finetune", "4,2,2,2", "2,2", "3,1,2,0", "tiny", "cpu", "cuda", "head", "train.epochs",
)  # fmt: skip
NAMES = (*RUNS, "nobody", "../ari", "..", "sweeps", "/etc", "~root", "~", "ari/../finetune", "ari,finetune", "")
SMALL = (
    "0",
    "1",
    "2",
    "-1",
    "99",
    "1e9",
    "9" * 400,
    "nan",
    "inf",
    "-inf",
    "1e-320",
    "0x10",
    "١",
    "1_000",
    " 1",
    "1.5",
)
MATRICES = ("1,0;0,1", "nan,1;1,nan", "1e308,1e308;1,1", "inf,0;0,1", "-1,2;0,1", "0,0;0,0", "1", ";", ",;,",
            ";".join([",".join(["0.1"] * 9)] * 9), "0.5,0.5;0.5,0.5", "1e-320,0;0,1e-320", "a,b;c,d")  # fmt: skip


def addresses(rng: random.Random, world: World) -> Case:
    """One page with a few query parameters of any value."""
    page = rng.choice(list(PAGES))
    views, keys = PAGES[page]
    drawn = rng.choices([*keys.split(), "view", "unheard-of"], k=rng.randint(1, 4))
    query = {key: _value(rng, key) for key in drawn}
    if views and rng.random() < 0.8:
        query["view"] = rng.choice(views)
    if rng.random() < 0.5:
        query["run"] = rng.choice(RUNS)
    return Case(f"/{page}?{hostile.short(query, 300)}", partial(_opened, world.checkpoints, page, query), ())


def pages_of_imports(rng: random.Random, world: World) -> Case:
    """A spoilt run is imported and, where it was not refused, opened on a page."""
    run = rng.choice(RUNS)
    text, data = archives.imported(rng, run, world.files[run])
    page = rng.choice([page for page, (_, keys) in PAGES.items() if "run" in keys.split()])
    views, _ = PAGES[page]
    query = {"view": rng.choice(views)} if views else {}
    query |= {"run": "sent", "other": "sent", "again": "sent", "runs": "sent"}
    return Case(f"/{page}?{query} of {run}: {text}", partial(_imported, data, page, query), (RecordError,))


def _imported(data: bytes, page: str, query: dict[str, str], place: Path) -> None:
    name, files = exports.unpacked(data)
    records.add(name, files)
    _opened(place / "checkpoints", page, query, place)


def _opened(checkpoints: Path, page: str, query: dict[str, str], place: Path) -> None:
    os.environ["ARLI_CHECKPOINTS"] = str(checkpoints)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if page:
        test.switch_page(f"pages/{page}.py")
    for key, value in query.items():
        test.query_params[key] = value
    test.run()
    assert not test.exception, "\n".join(f"{error.message}\n{''.join(error.stack_trace)}" for error in test.exception)
    for element in (*test.error, *test.warning):
        message = str(element.value)
        assert message.strip()
        assert str(checkpoints) not in message and str(ROOT) not in message, (
            f"a path of the server on a page: {message}"
        )


def _value(rng: random.Random, key: str) -> str:
    if rng.random() < 0.3:
        return hostile.text(rng)
    if key in ("run", "other", "again", "runs"):
        return rng.choice(NAMES)
    if key == "matrix":
        return rng.choice(MATRICES)
    return rng.choice(SMALL if key in ("task", "frame", "eta", "part", "p", "mixing") else (*WORDS, *SMALL))
