"""scikit-learn's handwritten digits: 1,797 real digits of 8 x 8 pixels, small enough to train on in seconds.

Source: `sklearn.datasets.load_digits`, a copy of the test set of the UCI "Optical Recognition of Handwritten
Digits" by E. Alpaydin and C. Kaynak (1998). Grey values 0..16 are stretched to 0..255. Images uint8 [N, 1, 8,
8]; a fixed fifth of every class is the test split (359 digits), the rest the training split (1,438). The
object is the stroke.
"""

from typing import Any

import numpy as np

from .dataset import Dataset, Split, a_fifth, figures


def build() -> Dataset:
    # Imported only now: scikit-learn takes a second.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # [1797, 1, 8, 8]
    everything = Split(images, bunch.target.astype(np.int64), figures(images))
    test = a_fifth(everything.labels)
    return Dataset("digits", tuple("0123456789"), train=everything[~test], test=everything[test])
