"""The frame around every page: title, sections of the navigation, and the view carried from page to page."""

from pathlib import Path

import streamlit as st
from streamlit.components import v2 as components

SECTIONS = {
    "": [("app.py", "Start", ":material/home:")],
    "Learn": [
        ("pages/lessons.py", "Lessons", ":material/school:"),
        ("pages/reference.py", "Reference", ":material/menu_book:"),
    ],
    "Lab": [
        ("pages/train.py", "Train", ":material/model_training:"),
        ("pages/matrix.py", "Matrix", ":material/grid_on:"),
        ("pages/spectrum.py", "Spectrum", ":material/scatter_plot:"),
        ("pages/masks.py", "Masks", ":material/visibility:"),
        ("pages/forgetting.py", "Forgetting", ":material/history_toggle_off:"),
        ("pages/compare.py", "Compare", ":material/compare_arrows:"),
        ("pages/runs.py", "Runs", ":material/folder_open:"),
    ],
}
SHARED = ("run", "task", "frame")  # the same run, task and frame on every page: these stay in the address

ICON = Path(__file__).with_name("icon.svg")

# A component without a script: with it the browser loads the part of Streamlit that the first player needs. For a
# <style> in st.markdown or st.html it would load another.
_style = components.component(
    "frame_style", css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"), isolate_styles=False
)


def frame(title: str) -> None:
    """Every page's first line: page settings, heading and sidebar."""
    # Our own file: for one of Streamlit's icons or an emoji, the browser would ask a server elsewhere.
    st.set_page_config(page_title=f"{title} · ARI lab", page_icon=ICON, layout="wide")
    _style(key="frame_style")
    carried = {key: st.query_params[key] for key in SHARED if key in st.query_params}
    with st.sidebar:
        st.markdown("### ARI lab")
        for section, links in SECTIONS.items():
            if section:
                st.caption(section)
            for page, label, icon in links:
                st.page_link(page, label=label, icon=icon, query_params=carried)
        st.caption("Lifelong learning with anti-retroactive interference")
    st.markdown(f"## {title}")
