"""The error messages of pages, without paths on the server."""

import streamlit as st

from arli_core.errors import LabError
from arli_core.live.messages import without_places


def problem(error: LabError | str) -> None:
    st.error(without_places(str(error)), icon=":material/error:")
