"""Every notebook runs from top to bottom as it is shipped."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed():
    """notebook -> itself with its outputs; each is run once."""
    done = {}

    def run(path):
        if path not in done:
            notebook = nbformat.read(path, as_version=4)
            # The kernel starts beside the notebook, as in an editor, and writes nothing there.
            client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
            done[path] = client.execute()
        return done[path]

    return run


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_it_runs_and_ends_with_something_to_see(path, executed, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(ROOT / "checkpoints"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = executed(path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@each_notebook
def test_it_is_prose_with_equations_and_ships_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert prose.startswith("# ") and "$$" in prose and "## Now try" in prose
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)


@each_notebook
def test_it_uses_public_names_alone(path):
    for node in ast.walk(ast.parse("\n".join(code(nbformat.read(path, as_version=4))))):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
        else:
            names = [node.attr] if isinstance(node, ast.Attribute) else []
        assert not [name for name in names if any(part.startswith("_") for part in name.split("."))]
