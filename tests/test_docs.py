"""Everything that README and docs promise works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from arli_core.cli.commands import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "arli_core" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readmes_python_runs_as_written():
    train, own, notebook = re.findall(r"```python\n(.*?)```", README, re.S)
    train = train.replace('"train.epochs": 2', '"train.epochs": 1, "data.tasks": 2, "train.batch_size": 256')
    expected = {
        train: r"\[\[[01]\.\d*\s+nan\]\s+\[[01]\.\d*\s+[01]\.\d*\s*\]\]",
        own: r"(.+ \(4, 32, 32\)\s*){4}",
        notebook: r"0",
    }
    for code, printed in expected.items():
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(printed, done.stdout.strip())


def test_the_readme_names_every_command_and_no_other():
    named = set(re.findall(r"python -m arli_core ([\w-]+)", README))
    assert named == set(get_command(app).commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_leads_with_the_two_commands():
    first = README.index("make app")
    assert first < README.index("make test") < README.index("\n## ")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {"app", "test", "checkpoints"} <= set(targets)
