"""MNIST, Fashion-MNIST and CIFAR: their formats, their downloads, and the messages where they cannot be obtained.

Nothing here needs the internet: archives in the real formats come from a server of the test's own.
"""

import gzip
import hashlib
import os
import pickle
import shutil
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets as published

from arli_core import datasets
from arli_core.datasets import cifar, generated, load, mnist
from arli_core.errors import DataError

NAMES = ("mnist", "fashion-mnist", "cifar-10", "cifar-100")
CLASSES = {"mnist": published.MNIST, "fashion-mnist": published.FashionMNIST,
           "cifar-10": published.CIFAR10, "cifar-100": published.CIFAR100}  # fmt: skip
NOWHERE = "http://127.0.0.1:1/"  # no one listens


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty data root. No server, nor any package of the system, has the data."""
    root = tmp_path / "root"
    monkeypatch.setenv("ARLI_DATA", str(root))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(mnist, "DEBIAN", tmp_path / "none")
    for kind in (published.MNIST, published.FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", [NOWHERE])
    for kind in (published.CIFAR10, published.CIFAR100):
        monkeypatch.setattr(kind, "url", NOWHERE + kind.filename)
    datasets._load.cache_clear()
    yield root
    datasets._load.cache_clear()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_generated_sets_are_loaded(name, root):
    generated.write(name, root)
    data = load(name)
    train, test = generated.PER_CLASS[name]
    assert data.name == name
    assert data.shape == ((1, 28, 28) if "mnist" in name else (3, 32, 32))
    assert len(data.classes) == (100 if name == "cifar-100" else 10)
    for split, number in ((data.train, train), (data.test, test)):
        assert split.images.dtype == np.uint8 and split.images.shape == (len(split), *data.shape)
        assert split.labels.dtype == np.int64
        np.testing.assert_array_equal(np.bincount(split.labels), [number] * len(data.classes))
    assert load(name) is data and load(name, 20).shape == (data.shape[0], 20, 20)


@pytest.mark.parametrize("name", NAMES)
def test_generated_sets_follow_from_their_seed(name, tmp_path):
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        generated.write(name, tmp_path / place, (2, 1), seed)
    a, b, c = ({p.name: p.read_bytes() for p in (tmp_path / x).rglob("*") if p.is_file()} for x in "abc")
    assert a == b and a.keys() == c.keys() and a != c


def test_generated_images_replace_nothing(root):
    generated.write("mnist", root)
    before = load("mnist")
    with pytest.raises(DataError, match="exists already"):
        generated.write("mnist", root, seed=1)
    datasets._load.cache_clear()
    np.testing.assert_array_equal(load("mnist").train.images, before.train.images)
    with pytest.raises(ValueError, match="'digits' does not consist of files"):
        generated.write("digits", root)


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_reads_the_same(name, root, monkeypatch):
    """torchvision's own readers, once they accept other checksums."""
    generated.write(name, root)
    data = load(name)
    kind: Any = CLASSES[name]
    if "mnist" in name:
        for path in list(root.rglob("*.gz")):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    else:
        for field in ("train_list", "test_list"):
            listed = [[file, md5(root / kind.base_folder / file)] for file, _ in getattr(kind, field)]
            monkeypatch.setattr(kind, field, listed)
        meta = kind.meta | {"md5": md5(root / kind.base_folder / kind.meta["filename"])}
        monkeypatch.setattr(kind, "meta", meta)
    for split, train in ((data.train, True), (data.test, False)):
        theirs = kind(str(root), train=train)
        images = np.asarray(theirs.data)
        images = images[:, None] if "mnist" in name else images.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, np.asarray(theirs.targets))
    if name != "mnist":  # whose classes torchvision calls "0 - zero"
        assert data.classes == tuple(theirs.classes)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_plain_and_gzipped(name, root):
    generated.write(name, root)
    zipped = load(name)
    for path in list(root.rglob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    datasets._load.cache_clear()
    plain = load(name)
    assert plain is not zipped
    np.testing.assert_array_equal(plain.train.images, zipped.train.images)
    np.testing.assert_array_equal(plain.test.labels, zipped.test.labels)


def dotted(file: str) -> str:
    return file.replace("-idx", ".idx")


KAGGLE = {
    "a dot in the name": dotted,
    "a folder of its own name": lambda file: f"{file}/{file}",
    "a folder of its own name, a dot in the file's": lambda file: f"{file}/{dotted(file)}",
    "a dot in both": lambda file: f"{dotted(file)}/{dotted(file)}",
}


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "gzipped"])
@pytest.mark.parametrize("placed", KAGGLE.values(), ids=KAGGLE)
def test_files_are_found_by_kaggles_names_too(placed, plain, name, root):
    generated.write(name, root)
    before = load(name)
    (raw,) = root.glob("*/raw")
    for file in mnist.FILES:
        packed = raw / f"{file}.gz"
        target = raw / (placed(file) + ("" if plain else ".gz"))
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.decompress(packed.read_bytes()) if plain else packed.read_bytes())
        packed.unlink()
    datasets._load.cache_clear()
    after = load(name)
    for split, other in ((after.train, before.train), (after.test, before.test)):
        np.testing.assert_array_equal(split.images, other.images)
        np.testing.assert_array_equal(split.labels, other.labels)


@pytest.mark.parametrize("layout", [cifar.CIFAR10, cifar.CIFAR100], ids=["cifar-10", "cifar-100"])
def test_a_folder_around_the_unpacked_archive_is_looked_into(layout, root):
    name = {cifar.CIFAR10: "cifar-10", cifar.CIFAR100: "cifar-100"}[layout]
    generated.write(name, root)
    before = load(name)
    (root / layout.folder).rename(root / "aside")
    (root / layout.archive.removesuffix(".tar.gz")).mkdir()
    (root / "aside").rename(root / layout.archive.removesuffix(".tar.gz") / layout.folder)
    datasets._load.cache_clear()
    after = load(name)
    assert after.classes == before.classes
    np.testing.assert_array_equal(after.train.images, before.train.images)
    np.testing.assert_array_equal(after.test.labels, before.test.labels)


def test_the_idx_format_to_the_letter(tmp_path):
    path = tmp_path / "array"
    path.write_bytes(b"\0\0\x08\x02" + struct.pack(">ii", 2, 3) + bytes([1, 2, 3, 4, 5, 255]))
    np.testing.assert_array_equal(mnist._idx(path), [[1, 2, 3], [4, 5, 255]])


def python2_pickle(key: str, labels: list[int], data: np.ndarray) -> bytes:
    """A batch as Python 2 and the NumPy of 2009 wrote it, by its opcodes: byte strings, and 0 and 1 for booleans."""

    def string(text: str) -> bytes:
        return b"U" + bytes([len(text)]) + text.encode()

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + string("u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + string("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + string("b") + b"\x87R"
    shape = number(data.shape[0]) + number(data.shape[1]) + b"\x86"
    array += b"(" + number(1) + shape + dtype + b"\x89T" + struct.pack("<i", data.nbytes) + data.tobytes() + b"tb"
    items = string("data") + array + string(key) + b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + items + b"u."


def test_batches_of_python_2_are_read_without_a_warning(root):
    """As published. NumPy 2.4.0 to 2.4.4 would warn of the old booleans."""
    generated.write("cifar-10", root)
    data = np.random.default_rng(0).integers(256, size=(3, 3072), dtype=np.uint8)
    path = root / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(python2_pickle("labels", [7, 0, 9], data))
    test = load("cifar-10").test
    np.testing.assert_array_equal(test.images, data.reshape(3, 3, 32, 32))
    np.testing.assert_array_equal(test.labels, [7, 0, 9])


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_this_python_are_read(protocol, tmp_path):
    data = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    (tmp_path / "x").write_bytes(pickle.dumps({"data": data, "labels": [3, 4]}, protocol))
    images, labels = cifar._batch(tmp_path / "x", cifar.CIFAR10)
    np.testing.assert_array_equal(images.reshape(2, -1), data)
    np.testing.assert_array_equal(labels, [3, 4])


def test_no_code_in_a_pickle_is_run(root, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    generated.write("cifar-100", root)
    (root / "cifar-100-python" / "train").write_bytes(pickle.dumps({"data": Trap()}, protocol=2))
    with pytest.raises(DataError, match=r"train is damaged.*mkdir, which this data set does not need"):
        load("cifar-100")
    assert not (tmp_path / "sprung").exists()


# What is damaged


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def scribbled(path: Path) -> None:
    path.write_bytes(b"<html>404 Not Found</html>" * 20)


@pytest.mark.parametrize("harm", [cut, emptied, scribbled])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte.gz"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte.gz"),
        ("fashion-mnist", "FashionMNIST/raw/t10k-images-idx3-ubyte"),
        ("cifar-10", "cifar-10-batches-py/data_batch_3"),
        ("cifar-10", "cifar-10-batches-py/batches.meta"),
        ("cifar-100", "cifar-100-python/test"),
    ],
)
def test_a_damaged_file_is_named(name, file, harm, root):
    generated.write(name, root)
    path = root / file
    if not path.exists():  # plain, beside the zipped one: the plain one is taken
        path.write_bytes(gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()))
    harm(path)
    with pytest.raises(DataError, match=f"{path.name} is damaged") as caught:
        load(name)
    assert str(path) in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, "all below 10"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]}, "all below 10"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "one integer per image"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}, "one integer per image"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, "no data"),
        ({"data": np.zeros((2, 100), np.uint8), "labels": [0, 1]}, "uint8 array"),
        ({"data": [1, 2], "labels": [0, 1]}, "uint8 array"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "no labels"),
        ([1, 2], "no data"),
    ],
)
def test_batches_that_are_no_batches_are_refused(content, why, root):
    generated.write("cifar-10", root)
    (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=f"data_batch_2 is damaged.*{why}"):
        load("cifar-10")


def test_files_of_mnist_that_do_not_fit_each_other_are_refused(root):
    generated.write("mnist", root)
    raw = root / "MNIST" / "raw"
    shutil.copy(raw / f"{mnist.FILES[3]}.gz", raw / f"{mnist.FILES[1]}.gz")
    with pytest.raises(
        DataError, match=r"train-images.* and train-labels.* do not match: \(200, 28, 28\) and \(50,\)"
    ):
        load("mnist")
    labels = b"\0\0\x08\x01" + struct.pack(">i", 200) + bytes([10] * 200)
    (raw / f"{mnist.FILES[1]}.gz").write_bytes(gzip.compress(labels))
    with pytest.raises(DataError, match="label 10"):
        load("mnist")
    generated.write("fashion-mnist", root)
    images = b"\0\0\x08\x03" + struct.pack(">iii", 50, 5, 5) + bytes(50 * 25)
    (root / "FashionMNIST" / "raw" / f"{mnist.FILES[2]}.gz").write_bytes(gzip.compress(images))
    with pytest.raises(DataError, match="differ in size"):
        load("fashion-mnist")


# Downloads


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the folder that it serves."""
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as http:
        http.handle_error = lambda *_: None  # torchvision follows redirects first, and hangs up
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/", served
        http.shutdown()
        thread.join()


@pytest.fixture(params=NAMES)
def offered(request, server, tmp_path, monkeypatch) -> str:
    """The name of a set that is published on the server, with the checksums of the files there."""
    name, (address, served) = request.param, server
    origin = tmp_path / "origin"
    generated.write(name, origin, (2, 1))
    kind: Any = CLASSES[name]
    if "mnist" in name:
        for path in origin.rglob("*.gz"):
            shutil.copy(path, served)
        monkeypatch.setattr(kind, "mirrors", [NOWHERE, address])
    else:
        with tarfile.open(served / kind.filename, "w:gz") as archive:
            archive.add(origin / kind.base_folder, kind.base_folder)
        monkeypatch.setattr(kind, "url", address + kind.filename)
    trust(name, served, monkeypatch)
    return name


def trust(name: str, served: Path, monkeypatch) -> None:
    kind: Any = CLASSES[name]
    if "mnist" in name:
        monkeypatch.setattr(kind, "resources", [(file, md5(served / file)) for file, _ in kind.resources])
    else:
        monkeypatch.setattr(kind, "tgz_md5", md5(served / kind.filename))


def files_in(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_a_set_is_downloaded_once(offered, server, root, tmp_path, monkeypatch, capfd):
    data = load(offered)
    assert "100%" in capfd.readouterr().err  # progress
    assert not list(root.glob("partial-*"))
    datasets._load.cache_clear()
    shutil.rmtree(server[1])
    again = load(offered)
    assert again is not data
    np.testing.assert_array_equal(again.train.images, data.train.images)
    datasets._load.cache_clear()
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "origin"))
    np.testing.assert_array_equal(load(offered).train.images, data.train.images)


def test_a_download_with_another_checksum_is_refused(offered, server, root):
    path = max(server[1].iterdir())  # the last one: those before it are good
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"could not be fetched: .*corrupted"):
        load(offered)
    assert files_in(root) == []


def test_a_truncated_archive_leaves_nothing(offered, server, root, monkeypatch):
    """Even one that passes its checksum."""
    path = max(server[1].iterdir(), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    trust(offered, server[1], monkeypatch)
    with pytest.raises(DataError, match=r"did not find all of .* could not be fetched: .*Put .*--data-root"):
        load(offered)
    assert files_in(root) == []


def test_an_interrupted_download_leaves_nothing(offered, root, monkeypatch):
    def unpack(source, target, *_):
        Path(target, "half").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.utils.extract_archive", unpack)
    with pytest.raises(KeyboardInterrupt):
        load(offered)
    assert files_in(root) == []


@pytest.mark.parametrize("name", NAMES)
def test_without_network_and_files_the_message_says_what_to_do(name, root):
    with pytest.raises(DataError) as caught:
        load(name)
    message, kind = str(caught.value), CLASSES[name]
    files = mnist.FILES if "mnist" in name else [file for file, _ in kind.train_list + kind.test_list]
    assert all(file in message for file in files)
    assert str(root) in message and "refused" in message and NOWHERE in message and "--data-root" in message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert files_in(root) == []


def test_what_the_user_has_put_there_is_not_replaced(root, server, tmp_path, monkeypatch):
    address, served = server
    generated.write("mnist", tmp_path / "origin", (2, 1), seed=1)
    for path in (tmp_path / "origin").rglob("*.gz"):
        shutil.copy(path, served)
    monkeypatch.setattr(published.MNIST, "mirrors", [address])
    trust("mnist", served, monkeypatch)
    generated.write("mnist", root, (2, 1), seed=2)
    raw = root / "MNIST" / "raw"
    (raw / f"{mnist.FILES[0]}.gz").unlink()
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    data = load("mnist")
    assert {path.name: path.read_bytes() for path in raw.iterdir() if path.suffix} == before
    datasets._load.cache_clear()
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "origin"))
    np.testing.assert_array_equal(load("mnist").train.images, data.train.images)


@pytest.mark.parametrize("name", ["cifar-10", "cifar-100"])
def test_an_archive_in_the_data_root_is_unpacked(name, root, tmp_path):
    """Copied by hand to a machine without network; its checksum is the user's responsibility."""
    kind: Any = CLASSES[name]
    generated.write(name, tmp_path / "origin", (2, 1))
    root.mkdir()
    with tarfile.open(root / kind.filename, "w:gz") as archive:
        archive.add(tmp_path / "origin" / kind.base_folder, kind.base_folder)
    assert len(load(name).train) == 2 * len(load(name).classes)
    assert (root / kind.filename).exists()


def test_an_archive_reaches_nothing_outside(root, tmp_path):
    root.mkdir()
    (tmp_path / "evil").write_bytes(b"")
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "evil", "../../escaped")
    with pytest.raises(DataError, match=r"data_batch_1 is not in .*cifar-10-python"):
        load("cifar-10")
    assert not (tmp_path / "escaped").exists()


def test_a_data_root_that_is_no_folder_is_an_answer(root):
    root.write_text("a file")
    for name in (*NAMES, "cub-200", "imagenet-100", "folder:mine"):
        with pytest.raises(DataError, match=name):
            load(name)


# The data root


def test_the_data_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ARLI_DATA", "~/mine")
    assert datasets.data_root() == tmp_path / "mine"
    monkeypatch.setenv("ARLI_DATA", "")
    assert datasets.data_root() == tmp_path / "cache" / "arli" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.data_root() == tmp_path / ".cache" / "arli" / "data"


def test_without_a_home_the_data_root_must_be_named(monkeypatch):
    monkeypatch.delenv("ARLI_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(DataError, match=r"home.*--data-root or in ARLI_DATA"):
        load("mnist")


def test_each_data_root_has_its_own_data(tmp_path, monkeypatch):
    for place, seed in (("a", 1), ("b", 2)):
        generated.write("mnist", tmp_path / place, (2, 1), seed)
    loaded = []
    for place in ("a", "b", "a"):
        monkeypatch.setenv("ARLI_DATA", str(tmp_path / place))
        loaded.append(load("mnist"))
    assert loaded[0] is loaded[2]
    assert not np.array_equal(loaded[0].train.images, loaded[1].train.images)
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "b"))
    assert load("digits") is load("digits")


# Debian's package


def test_the_system_is_asked_after_the_data_root_and_before_the_network(root, tmp_path, monkeypatch):
    generated.write("fashion-mnist", tmp_path / "origin", (2, 1))
    monkeypatch.setattr(mnist, "DEBIAN", tmp_path / "origin" / "FashionMNIST" / "raw")
    system = load("fashion-mnist")
    assert len(system.train) == 20 and not root.exists()
    with pytest.raises(DataError):
        load("mnist")  # which is no Fashion-MNIST
    generated.write("fashion-mnist", root, (3, 1))
    datasets._load.cache_clear()
    assert len(load("fashion-mnist").train) == 30


if mnist.DEBIAN.is_dir():  # there only where `apt install dataset-fashion-mnist` was: what it must hold is published

    def test_the_package_of_debian_is_fashion_mnist(monkeypatch):
        monkeypatch.setattr(mnist, "DEBIAN", Path("/usr/share/datasets/fashion-mnist"))
        data = load("fashion-mnist")
        assert data.train.images.shape == (60000, 1, 28, 28) and data.test.images.shape == (10000, 1, 28, 28)
        assert set(np.bincount(data.train.labels)) == {6000} and set(np.bincount(data.test.labels)) == {1000}
        assert data.classes[data.train.labels[0]] == "Ankle boot"
        assert (round(data.mean[0], 4), round(data.std[0], 4)) == (0.2860, 0.3530)
