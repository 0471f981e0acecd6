"""The data that come with packages: what they contain, that their splits share nothing, and that they stay the
same."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arli_core import datasets
from arli_core.datasets import Dataset, Split, Streamed, digits, load, mnist5k, pictures, scenes

SHAPES = {"digits": (1, 8, 8), "mnist-5k": (1, 28, 28), "scenes": (3, 40, 40)}
SIZES = {"digits": (1438, 359), "mnist-5k": (4000, 1000), "scenes": (4000, 1000)}


@pytest.fixture(scope="module", autouse=True)
def cache_home(tmp_path_factory):
    """Keeps the user's own cache out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        datasets._load.cache_clear()
        yield
    datasets._load.cache_clear()


@pytest.fixture(params=SHAPES)
def dataset(request) -> Dataset:
    return load(request.param)


@pytest.fixture(scope="module")
def some() -> Split:
    """300 training digits, thirty of each class."""
    train = load("mnist-5k").train
    return train[np.concatenate([np.flatnonzero(train.labels == c)[:30] for c in range(10)])]


def same(a: Split, b: Split) -> bool:
    pairs = [(getattr(a, field), getattr(b, field)) for field in ("images", "labels", "masks", "lighter")]
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


def rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


# Every dataset


def test_shapes_types_and_sizes(dataset):
    assert dataset.shape == SHAPES[dataset.name]
    assert dataset.classes == tuple("0123456789")
    assert (len(dataset.train), len(dataset.test)) == SIZES[dataset.name]
    for split in (dataset.train, dataset.test):
        n, (_, height, width) = len(split), dataset.shape
        assert split.images.shape == (n, *dataset.shape) and split.images.dtype == np.uint8
        assert split.labels.shape == (n,) and split.labels.dtype == np.int64
        assert split.masks.shape == (n, height, width) and split.masks.dtype == bool
        if dataset.name == "scenes":
            assert split.lighter.shape == (n,) and split.lighter.dtype == bool
        else:
            np.testing.assert_array_equal(split.masks, split.images[:, 0] > 25.5)
            assert split.lighter is None


def test_pixels_span_the_byte(dataset):
    assert dataset.train.images.min() == 0 and dataset.train.images.max() == 255


def test_mean_and_std_standardise_the_training_pixels(dataset):
    assert all(type(value) is float for value in dataset.mean + dataset.std)
    mean, std = (np.array(v).reshape(-1, 1, 1) for v in (dataset.mean, dataset.std))
    z = (dataset.train.images[::4] / 255 - mean) / std
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0, atol=0.05)
    np.testing.assert_allclose(z.std(axis=(0, 2, 3)), 1, atol=0.05)


def test_no_image_occurs_twice(dataset):
    """Neither within a split nor across both, as when an index slips into both."""
    train, test = rows(dataset.train.images), rows(dataset.test.images)
    assert (len(train), len(test)) == SIZES[dataset.name]
    assert not train & test


def test_splits_are_stratified(dataset):
    train, test = np.bincount(dataset.train.labels), np.bincount(dataset.test.labels)
    np.testing.assert_array_equal(test, np.rint((train + test) / 5))
    if dataset.name != "digits":
        assert set(train) == {400} and set(test) == {100}


def test_two_fresh_builds_are_equal_bit_for_bit(dataset):
    fresh = datasets._build(dataset.name, datasets.AS_IT_IS, Path())
    assert fresh is not dataset
    assert same(fresh.train, dataset.train) and same(fresh.test, dataset.test)


def test_the_choices_are_those_of_every_earlier_process():
    """Otherwise recorded runs could not be compared. Of the scenes, only what does not depend on the JPEG decoder."""
    arrays = load("digits").test.images, load("mnist-5k").test.images, load("scenes").test.masks
    digests = [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays]
    assert digests == ["8cff3a5d9c006052", "5a2044868b4eb7de", "4cc0498e688951a0"]


def test_loaded_once_a_process(dataset):
    assert load(dataset.name) is dataset


def test_arrays_are_read_only(dataset):
    for data in (dataset, dataset.holdout()):
        for split in (data.train, data.test):
            for array in (split.images, split.labels, split.masks, split.lighter):
                if array is not None:
                    with pytest.raises(ValueError, match="read-only"):
                        array[0] = 0


def test_holdout_divides_train_and_drops_test(dataset):
    divided = dataset.holdout()
    train, test = rows(divided.train.images), rows(divided.test.images)
    assert train | test == rows(dataset.train.images) and not train & test
    assert not (train | test) & rows(dataset.test.images)
    counts = np.bincount(dataset.train.labels)
    np.testing.assert_array_equal(np.bincount(divided.test.labels), np.rint(counts / 5))
    again = datasets._build(dataset.name, datasets.AS_IT_IS, Path()).holdout()
    assert same(again.train, divided.train) and same(again.test, divided.test)


def test_holdout_keeps_image_label_and_mask_together():
    train, validation = load("scenes").train, load("scenes").holdout().test
    place = {image.tobytes(): i for i, image in enumerate(train.images)}
    origin = np.array([place[image.tobytes()] for image in validation.images])
    assert same(train[origin], validation)


def test_unknown_name_is_answered_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"'cifar'.*digits, mnist-5k, scenes, mnist, .*imagenet-100 and folder:NAME"):
        load("cifar")


def test_names_are_known_without_their_files():
    assert all(datasets.known(name) for name in (*datasets.NAMES, "folder:mine", "folder:/some/where"))
    assert not any(datasets.known(name) for name in ("", "cifar", "folder", "folder:", "Digits"))


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match="at least 1"):
        load("digits", size)


# Another size, and what does not fit in memory


@pytest.mark.parametrize("size", [16, 20])
def test_another_size_resizes_every_image_and_mask(size):
    small, full = load("scenes", size), load("scenes")
    assert small.shape == (3, size, size) and same(load("scenes", 40).test, full.test)
    for i in (0, 7, 999):
        np.testing.assert_array_equal(small.test.images[i], pictures.resize(full.test.images[i], size))
        grey = pictures.resize(full.test.masks[i][None] * np.uint8(255), size)[0]
        np.testing.assert_array_equal(small.test.masks[i], grey > 127)
    np.testing.assert_array_equal(small.test.lighter, full.test.lighter)
    np.testing.assert_array_equal(small.test.labels, full.test.labels)


def test_what_fits_is_resident_and_the_rest_streamed():
    needs = load("digits", 12).nbytes
    assert needs == 2 * 1797 * 12 * 12  # images and masks
    assert isinstance(load("digits", 12, resident=needs).train.images, np.ndarray)
    assert isinstance(load("digits", 12, resident=needs - 1).train.images, Streamed)


@pytest.mark.parametrize("name", ["digits", "scenes"])
def test_streamed_equals_resident(name):
    streamed, resident = load(name, 12, resident=0), load(name, 12)
    assert streamed.shape == resident.shape and (streamed.mean, streamed.std) == (resident.mean, resident.std)
    for a, b in ((streamed, resident), (streamed.holdout(), resident.holdout())):
        assert isinstance(a.train.images, Streamed) and isinstance(b.train.images, np.ndarray)
        for split, other in ((a.train, b.train), (a.test, b.test)):
            assert len(split) == len(other) and split.nbytes == other.nbytes
            assert same(split.resident(), other)


def test_streamed_is_indexed_as_an_array_is():
    array = np.random.default_rng(0).integers(256, size=(50, 2, 3), dtype=np.uint8)
    streamed = Streamed(lambda i: array[i], np.arange(50), (2, 3))
    assert streamed.shape == array.shape and len(streamed) == 50
    assert streamed.dtype == array.dtype and streamed.nbytes == array.nbytes
    picks = np.array([4, 4, 49, -1, 0])
    for index in (picks, picks[:0], array[:, 0, 0] > 99, slice(3, 20, 2), slice(0), 7, -1, np.int64(3)):
        samples = streamed[index]
        np.testing.assert_array_equal(samples, array[index])
        assert samples.dtype == array.dtype
    np.testing.assert_array_equal(streamed.pick(picks)[1:3], array[picks][1:3])
    np.testing.assert_array_equal(streamed.pick(array[:, 0, 0] > 99)[:], array[array[:, 0, 0] > 99])
    np.testing.assert_array_equal(np.stack(list(streamed)), array)
    with pytest.raises(IndexError):
        streamed[50]


def test_streamed_reads_what_is_asked_for_and_nothing_before():
    reads = []
    streamed = Streamed(lambda i: reads.append(i) or np.full(3, i, np.uint8), np.arange(100), (3,))
    split = Split(streamed, np.zeros(100, np.int64))[np.array([5, 6, 7])]
    assert len(split) == 3 and split.images.shape == (3, 3) and not reads
    split.images[1:]
    assert sorted(reads) == [6, 7]


def test_an_error_in_a_thread_reaches_the_reader():
    def read(i: int) -> np.ndarray:
        if i == 30:
            raise KeyError("thirty")
        return np.zeros(1, np.uint8)

    with pytest.raises(KeyError, match="thirty"):
        Streamed(read, np.arange(100), (1,))[:]


def test_moments_of_large_sets_are_those_of_a_fixed_sample(monkeypatch):
    array = np.random.default_rng(0).integers(256, size=(300, 2, 4, 4), dtype=np.uint8)
    reads = []
    streamed = Streamed(lambda i: reads.append(i) or array[i], np.arange(300), (2, 4, 4))
    labels = np.zeros(300, np.int64)

    def moments(images) -> tuple:
        data = Dataset("x", ("y",), Split(images, labels), Split(images, labels))
        return data.mean, data.std

    whole = array.mean(axis=(0, 2, 3)) / 255, array.std(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(moments(array.copy()), whole)
    monkeypatch.setattr("arli_core.datasets.dataset.MEASURED_VALUES", array.size - 1)
    monkeypatch.setattr("arli_core.datasets.dataset.MEASURED_IMAGES", 40)
    assert moments(streamed) == moments(array.copy())
    assert len(set(reads)) == len(reads) == 40
    np.testing.assert_allclose(
        moments(array), (array[reads].mean((0, 2, 3)) / 255, array[reads].std((0, 2, 3)) / 255)
    )
    monkeypatch.setattr("arli_core.datasets.dataset.MEASURED_IMAGES", 4000)
    np.testing.assert_allclose(moments(array), whole)
    reads.clear()  # of large images, as many as have twice the values: here 20 of 32 values each
    monkeypatch.setattr("arli_core.datasets.dataset.MEASURED_VALUES", 320)
    assert moments(streamed) == moments(array.copy())
    assert len(set(reads)) == len(reads) == 20


def test_import_leaves_the_heavy_packages_alone():
    heavy = {"sklearn", "mlxtend", "PIL", "torch", "torchvision"}
    code = f"import sys, arli_core.datasets; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_digits_are_those_of_the_package():
    """Scaling is undone by rounding, and every one of the 1,797 digits is in one split or the other."""
    from sklearn.datasets import load_digits

    data = digits.build()
    images = np.concatenate([data.train.images, data.test.images])[:, 0]
    sixteenths = np.rint(images * (16 / 255)).astype(np.uint8)
    assert rows(sixteenths) == rows(load_digits().images.astype(np.uint8))


# The cache of MNIST-5k


@pytest.fixture
def parses(monkeypatch) -> list:
    """Grows by one at each parse of the package's text, which is replaced by the table itself."""
    table, calls = mnist5k._table(), []
    monkeypatch.setattr(mnist5k, "_parse", lambda: calls.append(1) or table)
    return calls


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "arli" / "mnist-5k.npy"


def test_the_pinned_digest_is_that_of_the_package():
    assert hashlib.sha256(mnist5k._parse()).hexdigest() == mnist5k.SHA256


def test_parsed_once_then_read_from_the_cache(parses, path):
    first, second = mnist5k.build(), mnist5k.build()
    assert len(parses) == 1
    assert same(first.train, second.train) and same(first.test, second.test)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing temporary is left


def altered(whole: bytes) -> bytes:
    return whole[:-1] + bytes([whole[-1] ^ 1])


def other_array(whole: bytes) -> bytes:
    return whole[:128].replace(b"(5000, 785)", b"(4999, 785)") + whole[128:-785]


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: b"not an array", lambda whole: whole[:100_000], altered, other_array],
    ids=["empty", "text", "cut short", "one bit altered", "another array"],
)
def test_a_damaged_cache_is_parsed_again_and_mended(parses, path, damage):
    mnist5k.build()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert same(mnist5k.build().train, load("mnist-5k").train)
    assert len(parses) == 2
    assert path.read_bytes() == whole


def test_a_write_that_breaks_off_leaves_the_cache_as_it_was(parses, path, monkeypatch):
    path.parent.mkdir()
    path.write_bytes(b"what was there before")

    def full_disk(file, table):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    assert len(mnist5k.build().train) == 4000
    assert path.read_bytes() == b"what was there before"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_unwritable_cache_directory_is_no_error(parses, tmp_path, monkeypatch):
    blocked = tmp_path / "a file, not a directory"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert len(mnist5k.build().train) == 4000 and len(parses) == 1


def test_without_a_home_there_is_no_cache_and_no_error(parses, monkeypatch):
    def homeless():
        raise RuntimeError("no home directory")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert len(mnist5k.build().train) == 4000 and len(parses) == 1


def test_the_cache_is_under_home_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # empty counts as unset
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert mnist5k._cache_file() == tmp_path / ".cache" / "arli" / "mnist-5k.npy"


# Scenes


def mean_under_stroke(parts: scenes.Layers) -> np.ndarray:
    """[N, 3], one pixel weight at a time."""
    return np.array(
        [[np.average(c, weights=a) for c in b] for b, a in zip(parts.background, parts.alpha, strict=True)]
    )


@pytest.fixture(scope="module")
def parts(some) -> scenes.Layers:
    return scenes.layers(some.images, seed=3, region="train")


@pytest.fixture(scope="module")
def composed(some) -> Split:
    return scenes.compose(some.images, some.labels, seed=3, region="train")


def test_scenes_keep_the_digits_of_mnist5k_in_order():
    """The mask is the thresholded digit at some place: same pixel count and label, sample by sample."""
    for name in ("train", "test"):
        ours, theirs = getattr(load("scenes"), name), getattr(load("mnist-5k"), name)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.masks.sum(axis=(1, 2)), (theirs.images > 127).sum(axis=(1, 2, 3)))


def test_a_seed_settles_the_scenes_and_another_gives_others(some, composed):
    again, other = (scenes.compose(some.images, some.labels, seed, "train") for seed in (3, 4))
    assert same(again, composed)
    assert not (other.images == composed.images).all(axis=(1, 2, 3)).any()
    assert not np.array_equal(other.masks, composed.masks)
    assert not np.array_equal(other.lighter, composed.lighter)


def test_digits_are_placed_everywhere(some, parts):
    """28 x 28 in 40 x 40 leaves 13 x 13 places; each row and each column of them is in use."""
    places = set()
    for digit, alpha in zip(some.images[:, 0], parts.alpha, strict=True):
        (y, x), (v, u) = (np.argwhere(a).min(axis=0) for a in (alpha, digit))
        y, x = y - v, x - u
        np.testing.assert_array_equal(np.rint(alpha[y : y + 28, x : x + 28] * 255), digit)
        places.add((y, x))
    assert {y for y, _ in places} == {x for _, x in places} == set(range(13))


def test_images_are_the_blend_of_their_layers(parts, composed):
    """One pixel at a time, from the definition."""
    rng = np.random.default_rng(0)
    for n, c, y, x in rng.integers((0, 0, 0, 0), composed.images.shape, size=(2000, 4)):
        a = float(parts.alpha[n, y, x])
        value = 255 * ((1 - a) * parts.background[n, c, y, x] + a * parts.colour[n, c])
        assert abs(int(composed.images[n, c, y, x]) - value) < 0.501


def test_the_mask_lies_where_the_image_differs_from_its_background(parts, composed):
    change = np.abs(composed.images - np.rint(parts.background * 255)).max(axis=1)  # [N, 40, 40]
    assert change[parts.alpha == 0].max() == 0
    assert (change[composed.masks] > 0).mean() > 0.99
    on = np.array([c[m].mean() for c, m in zip(change, composed.masks, strict=True)])
    assert on.min() > 0.1 * 255  # in the channel that moved most


def test_half_of_the_objects_are_lighter_and_half_darker():
    data = load("scenes")
    assert data.train.lighter.sum() == 2000 and data.test.lighter.sum() == 500
    lighter_of_class = np.bincount(data.train.labels, weights=data.train.lighter)  # of 400; standard deviation 10
    assert lighter_of_class.min() > 150 and lighter_of_class.max() < 250


def test_contrast_has_its_sign_and_at_least_its_least_size(parts):
    contrast = parts.colour.mean(axis=1) - mean_under_stroke(parts).mean(axis=1)
    np.testing.assert_array_equal(contrast > 0, parts.lighter)
    assert np.abs(contrast).min() >= scenes.MIN_CONTRAST - 1e-5
    assert np.abs(contrast).max() > 2 * scenes.MIN_CONTRAST  # sizes differ


def test_contrast_exceeds_what_the_background_varies_under_the_stroke(parts):
    mean = mean_under_stroke(parts)
    contrast = np.abs(parts.colour.mean(axis=1) - mean.mean(axis=1))
    squares = (parts.background - mean[:, :, None, None]) ** 2
    variation = np.array([np.average(s.mean(0), weights=a) for s, a in zip(squares, parts.alpha, strict=True)])
    assert (contrast >= scenes.MIN_RATIO * np.sqrt(variation) - 1e-4).all()


def test_no_colour_was_clipped(parts):
    assert parts.colour.min() >= -1e-5 and parts.colour.max() <= 1 + 1e-5


def test_brightness_does_not_betray_the_object():
    """Over all scenes a pixel of the object is about as bright as one of the background."""
    train = load("scenes").train
    grey = train.images.mean(axis=1)
    share = (grey[train.masks].mean() - grey[~train.masks].mean()) / grey.std()
    assert abs(share) < 0.2


def test_colours_vary_in_hue(parts):
    """In some scene, each channel is the one that moves most; some channels move against the others."""
    move = (parts.colour - mean_under_stroke(parts)) * np.where(parts.lighter, 1, -1)[:, None]
    assert np.bincount(move.argmax(axis=1), minlength=3).min() > 0.05 * len(move)
    assert (move.min(axis=1) < -0.01).mean() > 0.05


@pytest.fixture
def coded(monkeypatch) -> Iterator[None]:
    """Photographs whose every 2 x 2 block has its own colour, so that each pixel identifies its block."""
    block = np.arange(2 * 213 * 320).reshape(2, 213, 320)
    code = 64 + np.stack([block % 128, block // 128 % 128, block // 128**2 * 8], axis=-1)  # bytes 64..191
    photos = np.pad(code.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (0, 1), (0, 0), (0, 0))).astype(np.uint8)
    bunch = type("Bunch", (), {"images": list(photos)})
    monkeypatch.setattr("sklearn.datasets.load_sample_images", lambda: bunch)
    scenes._tiles.cache_clear()
    yield
    scenes._tiles.cache_clear()


def origins(background: np.ndarray) -> np.ndarray:
    """The coded blocks [N, 40, 40] that backgrounds came from."""
    red, green, blue = np.rint(background * 255).astype(int).swapaxes(0, 1) - 64
    return red + 128 * green + 128**2 * (blue // 8)


def test_train_and_test_backgrounds_share_no_pixel(some, coded):
    blocks = {region: origins(scenes.layers(some.images, 0, region).background) for region in ("train", "test")}
    for origin in blocks.values():
        assert len(set(origin[:, 0, 0] // (213 * 320))) == 2  # both photographs are in use
    assert not set(blocks["train"].ravel()) & set(blocks["test"].ravel())


def homes_of(background: np.ndarray) -> np.ndarray:
    """The class [N] whose home contains the whole coded background; -1 where no single home does."""
    photo, y, x = np.unravel_index(origins(background), (2, 213, 320))
    place = np.cumsum(np.tile(~np.eye(3, 4, k=1, dtype=bool), (2, 1)).ravel()) - 1  # index of each training tile
    tile = place[12 * photo + 4 * (y // 71) + x // 80]
    owner = np.full(18, -1)
    for home, tiles in enumerate(scenes.HOMES):
        owner[tiles] = home
    classes = owner[tile].reshape(len(background), -1)
    return np.where((classes == classes[:, :1]).all(1) & (tile == tile[:, :1, :1]).all((1, 2)), classes[:, 0], -1)


def test_homes_share_no_tile_and_leave_none():
    homes = [set(tiles) for tiles in scenes.HOMES.tolist()]
    assert len(homes) == 10 and sum(map(len, homes)) == 18 and set().union(*homes) == set(range(18))


def test_without_correlation_backgrounds_are_those_of_every_earlier_process(some, coded):
    """The draws, where they do not depend on the JPEG decoder; a correlation of 0 changes none of them."""
    plain = scenes.layers(some.images, 0, "train")
    assert hashlib.sha256(plain.background.tobytes()).hexdigest()[:16] == "8f30a04252c3db3c"
    uncorrelated = scenes.layers(some.images, 0, "train", scenes.homes(some.labels, 0))
    for field in ("background", "alpha", "colour", "lighter"):
        np.testing.assert_array_equal(getattr(uncorrelated, field), getattr(plain, field))


def test_full_correlation_puts_every_background_in_its_home(some, coded):
    parts = scenes.layers(some.images, 0, "train", scenes.homes(some.labels, 1))
    np.testing.assert_array_equal(homes_of(parts.background), some.labels)
    assert len(set(origins(parts.background)[:, 0, 0])) > 0.9 * len(some)  # spread over the whole home


def test_a_correlation_is_the_share_of_backgrounds_at_home(some, coded):
    labels = load("mnist-5k").train.labels
    half, most = scenes.homes(labels, 0.5), scenes.homes(labels, 0.95)
    assert abs((half == labels).mean() - 0.5) < 0.03 and abs((most == labels).mean() - 0.95) < 0.015
    assert set(half[half != labels]) == {scenes.ANYWHERE}
    assert (most[half != scenes.ANYWHERE] != scenes.ANYWHERE).all()  # a stronger one adds to a weaker
    owners = scenes.homes(some.labels, 0.5)
    homes = homes_of(scenes.layers(some.images, 0, "train", owners).background)
    correlated = owners != scenes.ANYWHERE
    np.testing.assert_array_equal(homes[correlated], some.labels[correlated])
    assert (homes[~correlated] == some.labels[~correlated]).mean() < 0.3  # a tenth by chance


@pytest.mark.parametrize("spurious", [0.5, 1.0])
def test_a_correlation_changes_training_backgrounds_and_nothing_else(spurious):
    plain, data = load("scenes"), load("scenes", spurious=spurious)
    assert load("scenes", spurious=0) is plain and data is load("scenes", spurious=spurious)
    assert same(data.test, plain.test)
    for field in ("labels", "masks", "lighter"):
        np.testing.assert_array_equal(getattr(data.train, field), getattr(plain.train, field))
    changed = (data.train.images != plain.train.images).any(axis=(1, 2, 3))
    assert changed.mean() > 0.9  # except where the draw was from the home anyway
    small = load("scenes", 16, spurious)
    np.testing.assert_array_equal(small.train.images[7], pictures.resize(data.train.images[7], 16))


def test_swapped_scenes_have_the_test_digits_before_other_backgrounds():
    test, own, other = load("scenes").test, scenes.swapped("own"), scenes.swapped("other")
    for split in (own, other):
        for field in ("labels", "masks", "lighter"):
            np.testing.assert_array_equal(getattr(split, field), getattr(test, field))
    for a, b in ((test, own), (test, other), (own, other)):
        assert (a.images != b.images).any(axis=(1, 2, 3)).all()
    assert same(scenes.swapped("other"), other)


def test_swapped_backgrounds_are_at_the_home_they_are_named_after(coded, monkeypatch):
    """Own: the label's home. Other: never the label's, and all others about equally often."""
    homes: list[np.ndarray] = []
    layers = scenes.layers

    def watched(*arguments) -> scenes.Layers:
        parts = layers(*arguments)
        homes.append(homes_of(parts.background))
        return parts

    monkeypatch.setattr(scenes, "layers", watched)
    labels = scenes.swapped("own").labels
    scenes.swapped("other")
    own, other = homes
    np.testing.assert_array_equal(own, labels)
    steps = np.bincount((other - labels) % 10, minlength=10)  # of 1,000 over nine; standard deviation 10
    assert other.min() >= 0 and steps[0] == 0 and steps[1:].min() > 70 and steps.max() < 150


def test_wrong_correlations_are_refused(some):
    for spurious in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            load("scenes", spurious=spurious)
    with pytest.raises(ValueError, match="digits has no spurious backgrounds; only scenes has"):
        load("digits", spurious=0.5)
    with pytest.raises(ValueError, match="region_of must be own or other, not 'mine'"):
        scenes.swapped("mine")
    with pytest.raises(ValueError, match="homes among the training tiles"):
        scenes.layers(some.images, 0, "test", some.labels)


def test_a_blank_digit_is_refused():
    with pytest.raises(ValueError, match="stroke"):
        scenes.layers(np.zeros((1, 1, 28, 28), np.uint8), seed=0, region="train")
