"""What the floors of the house, which import-linter checks by pyproject.toml, do not say: what runs without torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH_FREE = ("analysis.uploads", "config", "errors", "events", "figures", "files", "fingerprint", "live", "player",
              "records", "sweeps", "theory", "units")  # fmt: skip
NEEDS_TORCH = {"theory.attack", "live.runs"}  # the attack, and what trains


def test_pages_need_not_wait_for_torch():
    """What draws, records and configures is there before torch is, which takes seconds to import."""
    code = f"""
import sys
from importlib import import_module
from pkgutil import walk_packages
for name in {TORCH_FREE}:
    room = import_module(f"arli_core.{{name}}")
    below = [module.name for module in walk_packages(getattr(room, "__path__", ()), f"arli_core.{{name}}.")]
    for module in {{room.__name__, *below}} - {{f"arli_core.{{name}}" for name in {NEEDS_TORCH}}}:
        import_module(module)
        assert "torch" not in sys.modules, module
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
