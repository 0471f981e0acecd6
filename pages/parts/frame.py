"""The frame around every page: title, sections of the navigation, and the view carried from page to page."""

import streamlit as st

SECTIONS = {
    "": [("app.py", "Start", ":material/home:")],
    "Learn": [("pages/lessons.py", "Lessons", ":material/school:")],
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
SHARED = ("run", "task", "frame")  # one run, one task, one frame on every page: these stay in the address

# Streamlit's own margins leave a third of a projector's 1280x720 empty, and its captions are too pale for one.
COMPACT = """<style>
.stMainBlockContainer {padding: 1.1rem 2.2rem 2rem}
.stMainBlockContainer h2 {font-size: 1.6rem; padding: 0 0 .2rem}
.stMainBlockContainer h5 {padding: 0}
[data-testid="stSidebarHeader"] {height: 2.5rem; margin-bottom: 0}
@media (min-width: 768px) {
  [data-testid="stSidebar"]:not([data-collapsed="true"]) {width: 215px !important; min-width: 215px !important}
}
/* Without its sidebar, a page has the button that opens it in the top left corner: room for that above the title. */
.stApp:has([data-testid="stSidebar"][data-collapsed="true"]) .stMainBlockContainer {padding-top: 3.6rem}
@media (max-width: 640px) {
  .stMainBlockContainer {padding-left: 1rem; padding-right: 1rem}
  /* Two figures side by side on a phone, where Streamlit gives each a line. */
  [data-testid="stColumn"]:has(> [data-testid="stVerticalBlock"] > :only-child [data-testid="stMetric"]) {
    min-width: calc(50% - 1rem)
  }
}
/* What is chosen is not told by its tint alone. */
[data-variant="segmented_control"][data-selected="true"] p {color: light-dark(#1f2328, #e8e8ec); font-weight: 600}
:is(a, button):focus-visible {outline: 3px solid light-dark(#0f766e, #2a9d8f) !important; outline-offset: 1px}
.stMainBlockContainer :is([data-testid="stMetricLabel"], [data-testid="stPageLink-NavLink"]) :not(.katex, .katex *) {
  white-space: normal
}
[data-testid="stMetricValue"] {font-size: 1.5rem}
[data-testid="stCaptionContainer"] {color: inherit; opacity: .8}
/* White on an accent bright enough for a dark page is too pale as well. */
[data-testid="stBaseButton-primary"]:not(:disabled) p, [data-testid="stMultiSelect"] span[title] {
  color: light-dark(#ffffff, #0b1512)
}
/* As large as the text around it: an equation that has to be scrolled is not read. */
.katex-display > .katex {font-size: 1em; padding: 6px}
[data-testid="stElementContainer"]:has(style) {display: none}
</style>"""


def frame(title: str) -> None:
    """Every page's first line: page settings, heading and sidebar."""
    icon = next(icon for links in SECTIONS.values() for _, label, icon in links if label == title)
    st.set_page_config(page_title=f"{title} · ARI lab", page_icon=icon, layout="wide")
    # Not st.html, whose part of Streamlit the browser would have to fetch before anything is shown.
    st.markdown(COMPACT, unsafe_allow_html=True)
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
