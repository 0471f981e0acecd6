"""Scenes: MNIST-5k digits composed on crops of two photographs, so that every object's mask is known.

Source: the digits and the split of `mnist5k` (4,000 train, 1,000 test, same order), and scikit-learn's sample
images china.jpg and flower.jpg, which its README gives as CC BY 2.0 (flickr users danielbuechele and
vultilion). Images uint8 [N, 3, 40, 40]; masks True where the digit covers more than half of the pixel.

**Backgrounds.** Each photograph is cut into 3 x 4 tiles of 142 x 160 pixels, and every crop lies within one tile.
The three tiles on a diagonal are kept for the test split, so no pixel behind a test digit
was ever seen in training, yet both splits have foliage, petals and open water. (`Dataset.holdout` divides the
training scenes, so there both sides share the other nine tiles.)

**Spurious backgrounds.** Each class owns a region of the training tiles, its home: one tile or two, `HOMES`. With
probability rho (`spurious`), a training scene's background comes from its class's home, and otherwise from any
training tile. Test backgrounds never tell the class. `swapped` shows whether a model relies on what they told in
training. Positions, which objects are lighter, and the test split are the same for every rho.

**The object's colour.** Let m [3] be the background's mean colour under the stroke, weighted by the digit's
grey values a. A direction in colour space that uses the room each channel has,

    d = r w / max(abs(w)),   w [3] uniform in (LEAST_MOVE, 1),   r = 1 - m where the channel rises, else m,

and a contrast c, uniform between what the eye needs and mean(d), give the object its colour:

    m + sign c d / mean(d),   sign +1 for one half of the objects and -1 for the other,

and the pixel becomes (1 - a) background + a colour. So no value is clipped, and over all scenes the object is
about as bright as the background: lighter objects lie on darker ground. What the eye needs is MIN_CONTRAST, and
more where the background itself varies under the stroke, MIN_RATIO times its standard deviation; a crop without
room for it is drawn again.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from . import mnist5k
from .dataset import Dataset, Split

SIZE = 40  # pixels; the digit has 28
SEED = 2025  # of the data, whatever the seed of a run
_DIAGONAL = np.eye(3, 4, k=1, dtype=bool)  # [row, column] of a photograph's tiles
TILES = {"train": ~_DIAGONAL, "test": _DIAGONAL}
MIN_CONTRAST = 0.25  # of the pixel range, in the mean of the three channels
MIN_RATIO = 2.5
LEAST_MOVE = -0.25  # below 0, so that a channel may go against the others and change the hue

# Indices of the training tiles that each class owns. On smooth sky no object can be lighter, on dark leaves none
# darker: so tiles are paired to have ground for both, and the two with most room for both stand alone, listed twice.
HOMES = np.array([[0, 4], [1, 9], [2, 7], [3, 3], [5, 11], [6, 12], [8, 15], [10, 13], [16, 14], [17, 17]])
ANYWHERE = -1

Region = Literal["train", "test"]
RegionOf = Literal["own", "other"]


@dataclass(frozen=True, eq=False)
class Layers:
    """What scenes are made of, pixels in [0, 1]."""

    background: np.ndarray  # float32 [N, 3, 40, 40]
    alpha: np.ndarray  # float32 [N, 40, 40], the digit's grey values at its place
    colour: np.ndarray  # float32 [N, 3], of the object
    lighter: np.ndarray  # bool [N]


def build(spurious: float = 0.0) -> Dataset:
    """The scenes whose training backgrounds come from their class's home with probability `spurious`, in [0, 1]."""
    mnist = mnist5k.build()
    train = compose(mnist.train.images[:], mnist.train.labels, SEED, "train", homes(mnist.train.labels, spurious))
    test = compose(mnist.test.images[:], mnist.test.labels, SEED + 1, "test")
    return Dataset("scenes", mnist.classes, train, test)


def swapped(region_of: RegionOf) -> Split:
    """The 1,000 test scenes in front of new backgrounds, from the training tiles of their own class's home (`own`) or
    of another class's (`other`, drawn for each digit and never its own).

    Digits, positions, masks and which are lighter are those of the test split, in its order; colours follow the
    background by the rule above. Accuracy on `own` minus that on `other`, in [-1, 1], is the reliance on backgrounds.
    Raises ValueError for any other word.
    """
    if region_of not in get_args(RegionOf):
        raise ValueError(f"region_of must be {' or '.join(get_args(RegionOf))}, not {region_of!r}")
    test = mnist5k.build().test
    owners = test.labels
    if region_of == "other":
        steps = np.random.default_rng((SEED + 1, 1)).integers(1, len(HOMES), size=len(test))
        owners = (test.labels + steps) % len(HOMES)
    return compose(test.images[:], test.labels, SEED + 1, "train", owners)


def homes(labels: np.ndarray, spurious: float) -> np.ndarray:
    """int64 [N], the class whose home each training background comes from: the label with probability `spurious`,
    else `ANYWHERE`. Drawn from a seed of its own, so that no other draw changes."""
    correlated = np.random.default_rng((SEED, 1)).random(len(labels)) < spurious
    return np.where(correlated, labels, ANYWHERE)


def compose(
    digits: np.ndarray, labels: np.ndarray, seed: int, region: Region, owners: np.ndarray | None = None
) -> Split:
    """Scenes uint8 [N, 3, 40, 40] and masks from digits uint8 [N, 1, 28, 28] and a seed for all the rest; `owners`
    as in `layers`."""
    parts = layers(digits, seed, region, owners)
    a = parts.alpha[:, None]  # [N, 1, 40, 40]
    pixels = (1 - a) * parts.background + a * parts.colour[:, :, None, None]
    images = np.rint(pixels * 255).astype(np.uint8)
    return Split(images, labels.astype(np.int64), parts.alpha > 0.5, parts.lighter)


def layers(digits: np.ndarray, seed: int, region: Region, owners: np.ndarray | None = None) -> Layers:
    """The parts that `compose` blends. `owners` int [N]: the class whose home each background comes from, or
    `ANYWHERE` (all, where left out).

    Raises ValueError for a blank digit, which no colour could show, and for `owners` in the test region, where no
    class has a home.
    """
    if not digits.any(axis=(1, 2, 3)).all():
        raise ValueError("a digit without a stroke cannot be composed")
    if owners is not None and region != "train":
        raise ValueError("classes have homes among the training tiles only")
    rng = np.random.default_rng(seed)
    n = len(digits)
    alpha = _place(digits[:, 0] / np.float32(255), rng)
    stroke = alpha / alpha.sum(axis=(1, 2), keepdims=True)  # [N, 40, 40], sums to 1
    lighter = rng.permutation(n) % 2 == 0
    crops = sliding_window_view(_tiles(region), (SIZE, SIZE), axis=(1, 2))  # [tiles, y, x, 3, 40, 40]

    background = np.empty((n, 3, SIZE, SIZE), np.float32)
    colour = np.empty((n, 3), np.float32)
    todo = np.arange(n)
    while len(todo):
        tile, y, x = rng.integers(crops.shape[:3], size=(len(todo), 3)).T
        if owners is not None:
            tile = np.where(owners[todo] == ANYWHERE, tile, HOMES[owners[todo], tile % 2])
        crop = crops[tile, y, x]
        m = np.einsum("nhw,nchw->nc", stroke[todo], crop)
        second = np.einsum("nhw,nchw,nchw->nc", stroke[todo], crop, crop)
        variation = np.sqrt(np.maximum(second - m**2, 0).mean(axis=1))
        need = np.maximum(MIN_CONTRAST, MIN_RATIO * variation)

        w = rng.uniform(LEAST_MOVE, 1, size=m.shape)
        room = np.where(lighter[todo, None] == (w > 0), 1 - m, m)
        d = room * w / np.abs(w).max(axis=1, keepdims=True)
        most = d.mean(axis=1)
        good = most >= need
        accepted, m, d, need, most = todo[good], m[good], d[good], need[good], most[good]
        c = np.where(lighter[accepted], 1, -1) * rng.uniform(need, most)
        background[accepted], colour[accepted] = crop[good], m + (c / most)[:, None] * d
        todo = todo[~good]
    return Layers(background, alpha, colour, lighter)


def _place(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Digits [N, 28, 28] on empty canvases [N, 40, 40], each at a random position."""
    n, size, _ = digits.shape
    margin = SIZE - size
    padded = np.pad(digits, ((0, 0), (margin, margin), (margin, margin)))
    places = sliding_window_view(padded, (SIZE, SIZE), axis=(1, 2))  # [N, 13, 13, 40, 40]
    y, x = rng.integers(margin + 1, size=(2, n))
    return places[np.arange(n), y, x]


@cache
def _tiles(region: Region) -> np.ndarray:
    """A region's tiles, of both photographs, in [0, 1]: float32 [tiles, 71, 80, 3]."""
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images)[:, :426] / np.float32(255)  # [2, 426, 640, 3]
    tiles = photos.reshape(2, 3, 142, 4, 160, 3).swapaxes(2, 3)  # [2, 3, 4, 142, 160, 3]
    return tiles[:, TILES[region]].reshape(-1, 142, 160, 3)
