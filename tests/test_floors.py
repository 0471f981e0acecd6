"""The floors of the house: which module may import which, written out in full and checked against the source."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "arli_core"

# floor, and the modules of arli_core that may be imported, wherever in the file the import stands. A module that is
# not listed has no place in the house yet: give it one.
TABLE = {
    # words
    "config": (0, {"config.methods", "config.parsing", "config.presets", "config.sections", "config.text"}),
    "config.text": (0, set()),
    "config.sections": (0, {"units", "config.text"}),
    "config.methods": (0, {"config.sections"}),
    "config.parsing": (0, {"errors", "config.methods", "config.sections", "config.text"}),
    "config.presets": (0, {"errors", "config.methods", "config.parsing"}),
    "errors": (0, set()),
    "events": (0, {"fingerprint"}),
    "units": (0, set()),
    "fingerprint": (0, {"errors"}),
    # mathematics: no network, no data, no files
    "attack": (1, set()),
    "consensus": (1, {"precision"}),
    "fusion": (1, {"precision"}),
    "metrics": (1, {"precision"}),
    "precision": (1, set()),
    "statistics": (1, {"precision"}),
    # the world
    "files": (2, {"errors"}),
    "networks": (2, {"networks.attention", "networks.model", "networks.residual", "networks.resnet18",
                     "networks.small"}),
    "networks.attention": (2, set()),
    "networks.model": (2, {"errors"}),
    "networks.residual": (2, set()),
    "networks.resnet18": (2, set()),
    "networks.small": (2, set()),
    "datasets": (2, {"datasets.cifar", "datasets.cub", "datasets.dataset", "datasets.digits", "datasets.folders",
                     "datasets.listing", "datasets.mnist", "datasets.mnist5k", "datasets.pictures", "datasets.root",
                     "datasets.scenes", "datasets.streamed"}),
    "datasets.dataset": (2, {"datasets.streamed", "errors", "fingerprint"}),
    "datasets.streamed": (2, {"errors"}),
    "datasets.root": (2, {"errors", "files"}),
    "datasets.downloads": (2, {"errors"}),
    "datasets.decoding": (2, set()),
    "datasets.pictures": (2, {"datasets.decoding", "errors"}),
    "datasets.listing": (2, {"datasets.pictures", "errors"}),
    "datasets.digits": (2, {"datasets.dataset"}),
    "datasets.mnist5k": (2, {"datasets.dataset", "errors", "files"}),
    "datasets.scenes": (2, {"datasets.dataset", "datasets.mnist5k"}),
    "datasets.mnist": (2, {"datasets.dataset", "datasets.downloads", "errors"}),
    "datasets.cifar": (2, {"datasets.dataset", "datasets.downloads", "errors"}),
    "datasets.cub": (2, {"datasets.dataset", "datasets.pictures", "datasets.streamed", "errors"}),
    "datasets.folders": (2, {"datasets.dataset", "datasets.listing", "datasets.pictures", "datasets.streamed",
                             "errors", "files"}),
    "datasets.generated": (2, {"datasets.cifar", "datasets.cub", "datasets.folders", "datasets.mnist", "errors"}),
    "augment": (2, set()),
    "tasks": (2, {"augment", "config", "datasets", "errors"}),
    # procedures
    "world": (2, {"config", "datasets", "errors", "fingerprint", "networks", "tasks"}),
    "schedule": (2, {"config", "errors", "tasks"}),
    "demand": (3, {"config", "errors", "evaluation", "methods.ewc", "networks", "tasks", "world"}),
    "methods": (3, {"config", "events", "tasks", "world", "methods.ari", "methods.ari_adam", "methods.baselines",
                    "methods.derpp", "methods.ewc", "methods.itaml", "methods.lwf", "methods.released"}),
    "methods.ari": (3, {"attack", "config", "events", "fusion", "networks", "precision", "tasks", "world",
                        "methods.objective", "methods.parts", "methods.weighing"}),
    "methods.weighing": (3, {"config", "consensus", "errors", "events", "fusion", "networks", "precision"}),
    "methods.ari_adam": (3, {"config", "world", "methods.ari", "methods.objective"}),
    "methods.parts": (3, {"attack", "events", "tasks"}),
    "methods.itaml": (3, {"config", "events", "fusion", "precision", "tasks", "world", "methods.objective"}),
    "methods.released": (3, {"attack", "config", "events", "fusion", "networks", "tasks", "world",
                             "methods.baselines"}),
    "methods.baselines": (3, {"config", "events", "tasks", "world", "methods.objective"}),
    "methods.derpp": (3, {"config", "schedule", "tasks", "world", "methods.baselines"}),
    "methods.ewc": (3, {"config", "tasks", "world", "methods.baselines"}),
    "methods.lwf": (3, {"config", "tasks", "world", "methods.baselines"}),
    "methods.objective": (3, {"config", "networks", "units"}),
    "evaluation": (3, {"config", "methods.objective", "networks", "precision", "schedule", "tasks", "units",
                       "world"}),
    "learn": (3, {"config", "demand", "errors", "evaluation", "events", "fingerprint", "methods", "schedule", "tasks",
                  "world"}),
    # edges
    "record_checks": (4, {"config", "fingerprint"}),
    "records": (4, {"records.frames", "records.record", "records.shelf", "records.store"}),
    "records.frames": (4, {"consensus", "events", "fusion"}),
    "records.record": (4, {"", "config", "errors", "events", "fingerprint", "metrics", "record_checks",
                           "records.frames"}),
    "records.store": (4, {"", "config", "errors", "events", "files", "fingerprint", "record_checks", "records.frames",
                          "records.record"}),
    "records.shelf": (4, {"", "errors", "files", "locks", "record_checks", "records.store"}),
    "attention": (4, {"attack", "datasets", "errors", "evaluation", "metrics", "records", "world"}),
    "answers": (4, {"attention", "config", "evaluation", "metrics", "records", "tasks", "units"}),
    "messages": (4, {"datasets.root", "errors", "records"}),
    "foreign": (3, set()),
    "attribution": (3, {"attack", "foreign", "metrics", "networks", "precision"}),
    "bench": (4, {"attack", "attention", "attribution", "metrics", "networks", "records", "tasks"}),
    "figures": (4, {"figures.canvas", "figures.charts", "figures.matrices", "figures.pictures", "figures.recording"}),
    "figures.canvas": (4, {"errors"}),
    "figures.charts": (4, {"figures.canvas", "statistics"}),
    "figures.matrices": (4, {"figures.canvas"}),
    "figures.pictures": (4, {"figures.canvas", "metrics"}),
    "figures.recording": (4, {"figures.canvas", "figures.matrices", "player"}),
    "iteration": (4, {"attack", "attention", "config", "demand", "errors", "events", "fusion", "methods",
                      "methods.ari", "methods.parts", "methods.weighing", "precision", "records", "schedule",
                      "tasks"}),
    "player": (4, set()),
    "widget": (4, set()),
    "race": (4, {"config", "metrics", "records"}),
    "locks": (4, {"errors", "files"}),
    "runs": (4, {"config", "errors", "events", "learn", "locks", "records"}),
    "jobs": (4, {"config", "errors", "events", "locks", "records", "runs"}),
    "experiments": (4, {"config", "datasets", "errors", "events", "files", "fingerprint", "learn", "metrics",
                        "record_checks", "records", "runs", "world"}),
    "comparisons": (4, {"config", "errors", "experiments", "records", "statistics"}),
    "cli": (4, {"", "cli_experiments", "cli_masks", "cli_options", "cli_runs", "config", "consensus", "datasets",
                "datasets.generated", "errors", "events", "fusion", "records", "runs", "units"}),
    "cli_masks": (4, {"attention", "bench", "cli_options", "config", "errors", "figures", "metrics", "records"}),
    "cli_runs": (4, {"cli_options", "errors", "exports", "files", "records"}),
    "exports": (4, {"config", "errors", "files", "records"}),
    "uploads": (4, {"datasets.decoding", "datasets.pictures", "errors"}),
    "cli_experiments": (4, {"cli_options", "comparisons", "config", "errors", "experiments", "files"}),
    "cli_options": (4, {"config", "errors", "files"}),
    "__main__": (4, {"cli"}),
    "": (0, set()),  # the package itself: its version
}  # fmt: skip

TORCH_FREE = ("comparisons", "config", "consensus", "errors", "events", "experiments", "exports", "figures",
              "fingerprint", "fusion", "jobs", "messages", "metrics", "player", "race", "record_checks", "records",
              "statistics", "units", "uploads", "widget")  # fmt: skip


def name_of(file: Path) -> str:
    parts = file.relative_to(CORE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(file): file for file in sorted(CORE.rglob("*.py"))}
SOURCES = [file for place in ("app.py", "pages", "arli_core", "tests", "benchmarks")
           for file in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")))
           if file.exists()]  # fmt: skip


def imported(file: Path) -> set[str]:
    """Full names of all that a file imports: `from a import b` counts as a.b, since b may be a module."""
    package = list(file.relative_to(ROOT).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(start + (node.module.split(".") if node.module else []))
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def within_the_core(file: Path) -> set[str]:
    """The modules of arli_core that a file imports; a name that is not a module counts as the module it comes
    from."""
    modules = set()
    for name in imported(file):
        if name == "arli_core" or name.startswith("arli_core."):
            inner = name.removeprefix("arli_core").lstrip(".")
            modules.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return modules


def test_imports_are_read_as_python_reads_them():
    assert within_the_core(CORE / "methods" / "ari.py") >= {"fusion", "tasks", "methods.objective"}
    assert within_the_core(CORE / "datasets" / "__init__.py") >= {"datasets.digits"}
    assert "torch" in imported(CORE / "attack.py") and "torch.nn" in imported(CORE / "networks" / "model.py")
    assert "runs" in within_the_core(CORE / "jobs.py")  # imported within a function


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_the_table_allows(module):
    assert module in TABLE, f"arli_core.{module} has no floor yet"
    _, allowed = TABLE[module]
    assert within_the_core(MODULES[module]) <= allowed


def test_the_table_points_down_or_along_a_floor_and_never_round():
    for module, (floor, allowed) in TABLE.items():
        for other in allowed:
            assert TABLE[other][0] <= floor, f"{module} is on floor {floor}, {other} above it"
    graph = {module: allowed for module, (_, allowed) in TABLE.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(TABLE)  # CycleError names a circle


@pytest.mark.parametrize("module", MODULES)
def test_the_core_never_imports_streamlit(module):
    assert not [name for name in imported(MODULES[module]) if name.split(".")[0] == "streamlit"]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_draws_through_pyplot(file):
    """It is global across the sessions of a server."""
    assert not [name for name in imported(file) if name.startswith(("matplotlib.pyplot", "pylab"))]


def test_mathematics_and_words_know_no_data_and_no_files():
    for module, (floor, _) in TABLE.items():
        if floor <= 1 and module in MODULES:
            roots = {name.split(".")[0] for name in imported(MODULES[module])}
            assert not roots & {"os", "pathlib", "io", "tempfile", "shutil", "safetensors", "torchvision", "sklearn"}


def test_records_alone_reads_and_writes_runs():
    for module, file in MODULES.items():
        if module != "records.store":
            assert not [name for name in imported(file) if name.startswith("safetensors")], module


def test_pages_need_not_wait_for_torch():
    """Drawing, records and configuration are ready before torch, which takes seconds to import."""
    modules = [f"arli_core.{name}" for name in TORCH_FREE if name in MODULES]
    code = ("import importlib, sys\n"
            f"for name in {modules}:\n"
            "    importlib.import_module(name)\n"
            "    assert 'torch' not in sys.modules, name\n")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
