"""The data root: where data sets that are files lie."""

import os
from pathlib import Path

from ..errors import DataError, LabError
from ..files import expanded, user_cache

VARIABLE = "ARLI_DATA"


def data_root() -> Path:
    """The folder named by the environment variable ARLI_DATA, else arli/data in the user's cache.

    The cache is `$XDG_CACHE_HOME`, else ~/.cache. Raises DataError where no home directory is known.
    """
    try:
        if named := os.environ.get(VARIABLE):
            return expanded(named).absolute()
        return user_cache() / "arli" / "data"
    except LabError as error:
        raise DataError(f"no data root: {error}; name a folder with --data-root or in {VARIABLE}") from None
