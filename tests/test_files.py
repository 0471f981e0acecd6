"""Paths as people write them, and files that are written whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arli_core import files, records, sweeps
from arli_core.datasets.folders import listing
from arli_core.datasets.root import data_root
from arli_core.errors import DataError, LabError
from arli_core.records import locks

HOMES = ("~/x", "~")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize("variable", ["ARLI_CHECKPOINTS", "ARLI_DATA", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("written", HOMES)
def test_a_variable_may_begin_with_the_home_directory(variable, written, home, monkeypatch):
    for other in ("ARLI_CHECKPOINTS", "ARLI_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, written)
    place = home / "x" if written == "~/x" else home
    folder_of = {"ARLI_CHECKPOINTS": records.root, "ARLI_DATA": data_root, "XDG_CACHE_HOME": files.user_cache}
    assert folder_of[variable]() == place
    if variable == "XDG_CACHE_HOME":
        assert data_root() == place / "arli" / "data"


def test_every_place_that_takes_a_path_knows_the_home_directory(home):
    assert records.locate("~/runs/a") == home / "runs" / "a"
    with locks.hold(Path("~/runs/a")):
        assert locks.held(home / "runs" / "a")
    assert list(sweeps.make([], Path("~/sweep"))) == [] and (home / "sweep" / "results.csv").is_file()
    with pytest.raises(DataError, match=str(home / "pictures")):
        listing("folder:~/pictures", Path("elsewhere"))


def test_a_home_that_nobody_has_is_named():
    for action in (
        lambda: records.locate("~nobody-of-that-name/run"),
        lambda: files.expanded("~nobody-of-that-name"),
    ):
        with pytest.raises(LabError, match=r"~nobody-of-that-name.*: no home directory is known"):
            action()


# Writing

SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from arli_core import files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as a full disk does: the write begins, and fails
try:
    files.write(Path(sys.argv[1]), bytes(100_000))
except OSError as error:
    print(error.strerror)
"""


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    file = tmp_path / "export.zip"
    file.write_bytes(b"what was there")
    done = subprocess.run([sys.executable, "-c", SMALL_DISK, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert file.read_bytes() == b"what was there" and os.listdir(tmp_path) == ["export.zip"]


def test_what_is_written_takes_the_place_of_the_old_file(tmp_path):
    file = tmp_path / "export.zip"
    file.write_bytes(b"old")
    file.chmod(0o640)
    (tmp_path / "link.zip").symlink_to(file)
    files.write(tmp_path / "link.zip", b"new")
    assert file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.zip").is_symlink() and sorted(os.listdir(tmp_path)) == ["export.zip", "link.zip"]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [(".DS_Store", True), ("Thumbs.db", True), ("desktop.ini", True), ("._run.json", True), ("run.json", False),
     ("notes.txt", False), (".hidden", False)],
)  # fmt: skip
def test_what_file_managers_leave_is_known_by_name(name, theirs):
    assert files.of_a_file_manager(name) is theirs
