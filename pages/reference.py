"""Reference: the glossary, the method, its results and what was tried, from docs/."""

import re
from pathlib import Path

import streamlit as st

from pages.parts.shell.address import choose_one
from pages.parts.shell.frame import frame

DOCS = Path(__file__).parents[1] / "docs"
TITLES = {"glossary": "Glossary", "method": "The method", "results": "Results", "log": "What was tried"}
PICTURE = r"!\[(.*?)\]\((.*?)\)"


def draw(text: str) -> None:
    """Draws a page of docs/: its headings below this page's, its pictures from its folder, and its links to the other
    pages leading here."""
    text = re.sub(r"^## ", "#### ", text, flags=re.M)
    text = re.sub(r"\[\w+\.md\]\((\w+)\.md\)", lambda link: f"[{TITLES[link[1]]}](reference?doc={link[1]})", text)
    before, *pictures = re.split(PICTURE, text)
    st.markdown(before)
    for alt, file, after in zip(pictures[::3], pictures[1::3], pictures[2::3], strict=True):
        st.image(DOCS / file, alt=alt)
        st.markdown(after)


frame("Reference")
doc = choose_one("doc", TITLES, "Page")
_, _, body = (DOCS / f"{doc}.md").read_text(encoding="utf-8").partition("\n")  # its title is chosen above
draw(body)
