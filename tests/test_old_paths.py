"""The import paths that README and notebooks had before the engine got folders still work."""

import subprocess
import sys
from pathlib import Path

import pytest

OLD = """
from arli_core import bench, consensus, figures, metrics, records
from arli_core.attack import MASKS
from arli_core.attention import learned, masks_of
from arli_core.attribution import METHODS, attribute, look, with_attention
from arli_core.fusion import dif
from arli_core.metrics import known_mean, merits
from arli_core.player import Curve, MatrixPanel, payload
from arli_core.widget import FramePlayer
"""
NEW = """
from arli_core.analysis import attribution, bench as new_bench, masks
from arli_core.player import widget
from arli_core.theory import attack, fusion
assert MASKS is attack.MASKS and learned is masks.learned and look is attribution.look and dif is fusion.dif
assert bench.strike is new_bench.strike and FramePlayer is widget.FramePlayer and callable(consensus.dobrushin)
"""


def test_old_and_new_paths_name_the_same_things():
    subprocess.run([sys.executable, "-c", OLD + NEW], cwd=Path(__file__).parents[1], check=True)


def test_what_is_not_there_is_not_there_under_the_old_path_either():
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from arli_core.fusion import nothing")
