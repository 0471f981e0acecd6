"""Matrices that each break a claim about consensus, and why."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from arli_core.theory.consensus import regular_polygon
from arli_core.theory.fusion import dif, dif_star
from arli_core.theory.written import to_text

from ..shell.address import choose_one, write
from .consensus import draw, fuse_again, measure
from .own_matrix import names

EQUAL = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]], dtype=float)  # D: models 1 and 2 are equal, 3 is at distance 1


@dataclass(frozen=True, eq=False)
class Example:
    title: str
    matrix: np.ndarray
    why: str


EXAMPLES = {
    "permutation": Example(
        "A permutation",
        np.roll(np.eye(4), 1, axis=1),
        "**No consensus: the models rotate for ever.** Each fusion turns every model into its neighbour, and after "
        "four fusions all are back where they began. Rows sum to 1, so Eq. 12 holds; but all eigenvalues lie *on* "
        "the unit circle, |λ₂| = τ = 1, and the spread never falls. A unique π is not enough: T must also be "
        "aperiodic. It is aperiodic as soon as one model keeps a little weight for itself.",
    ),
    "two-blocks": Example(
        "Two blocks",
        np.array([[0.6, 0.4, 0, 0], [0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.2, 0.8]]),
        "**Two camps.** Models 1 and 2 give no weight to 3 and 4, and 3 and 4 none to them. Each camp agrees within "
        "itself, and the camps stay apart: λ = 1 is a double eigenvalue (the blue dot on the red one), the "
        "eigenspace of λ = 1 has two dimensions, and where the models end depends on where they began. The "
        "Perron-Frobenius theorem guarantees a single π only for an irreducible T; η > 0 makes every entry of dif\\* "
        "positive and so rules out camps.",
    ),
    "eta-0": Example(
        "η = 0, two equal models",
        dif_star(dif(EQUAL, 0)),
        "**Equal models swap places with the third.** Without η the diagonal of dif is 0, and so is every entry "
        "between equal models: φ₁ and φ₂, which are equal, give weight only to φ₃, and φ₃ only to them. λ = −1 lies "
        "on the unit circle: the two sides change places with each fusion and never meet. If all three were equal, "
        "every row of dif would be 0 and dif\\* would not be defined (0/0). Any η > 0 prevents both.",
    ),
    "reducible": Example(
        "One keeps all its weight",
        np.array([[1, 0, 0], [0.1, 0.6, 0.3], [0.1, 0.4, 0.5]]),
        "**Consensus without compromise.** Model 1 gives no weight to the others: T is reducible. λ = 1 is a simple "
        "eigenvalue, so there is one limit, yet π = (1, 0, 0): all end where model 1 began, and what models 2 and 3 "
        "knew is lost. With η > 0 every share in π is positive.",
    ),
    "complex": Example(
        "Not symmetric, complex λ",
        np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]),
        "**Consensus along a spiral.** dif\\* has real eigenvalues only because dif is symmetric. This T does not "
        "come from a symmetric dif: two eigenvalues are complex, so the models circle their meeting point while "
        "they approach it, and π no longer follows from row sums of dif. Every entry is positive, so |λ₂| < 1 and "
        "the models agree in the end.",
    ),
}


def break_it() -> None:
    key = choose_one("example", {key: candidate.title for key, candidate in EXAMPLES.items()}, "Example")
    example = EXAMPLES[key]
    size = len(example.matrix)
    left, right = st.columns([5, 6])
    with left:
        st.markdown(example.why)
        measure(example.matrix)
        st.button("Change this matrix", icon=":material/edit:", on_click=_edit, args=(example.matrix,))
    with right:
        draw(example.matrix, names(size), key)
    fuse_again(example.matrix, regular_polygon(size), names(size), f"break-{key}")


def _edit(matrix: np.ndarray) -> None:
    write(matrix=to_text(matrix), view="own")
