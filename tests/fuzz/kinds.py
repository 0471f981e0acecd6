"""The kinds of input, and how often each is drawn."""

from .addresses import addresses, pages_of_imports
from .archives import archives
from .case import Draw
from .configurations import settings, starts
from .flips import flips
from .matrices import calls
from .uploads import folders, uploads

DRAWS: dict[str, Draw] = {
    "settings": settings,
    "starts": starts,
    "matrices": calls,
    "archives": archives,
    "flips": flips,
    "uploads": uploads,
    "folders": folders,
    "addresses": addresses,
    "imports": pages_of_imports,
}
_SHARES = {"settings": 20, "starts": 4, "matrices": 25, "archives": 18, "flips": 14, "uploads": 12, "folders": 3,
           "addresses": 3, "imports": 1}  # fmt: skip


def counts(cases: int) -> dict[str, int]:
    """The number of cases of each kind, at least one, for about so many in total."""
    return {kind: max(1, round(cases * share / sum(_SHARES.values()))) for kind, share in _SHARES.items()}
