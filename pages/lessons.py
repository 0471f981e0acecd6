"""Lessons: six questions to predict, each answered by the runs recorded here; an answer key for lecturers."""

import streamlit as st

from pages.parts.lessons import attack, consensus, distances, eigenvector, evaluation, forgetting
from pages.parts.lessons.lesson import PAGE, answer_key, missing, teach
from pages.parts.shell.frame import frame

LESSONS = {
    "forgetting": forgetting.LESSON,
    "attack": attack.LESSON,
    "distances": distances.LESSON,
    "eigenvector": eigenvector.LESSON,
    "consensus": consensus.LESSON,
    "evaluation": evaluation.LESSON,
}
NAMES = list(LESSONS)
CARDS = 3  # in a row

# An answer key is printed without links to other pages, and no lesson is split that fits on one sheet.
PRINTED = """<style>@media print {
  [data-testid="stSidebar"], [data-testid="stHeader"], [data-testid="stPageLink"], [data-testid="stPopover"],
  [data-testid="stDownloadButton"] {display: none !important}
  .stMainBlockContainer h4 {break-after: avoid}
  [data-testid="stMetric"], [data-testid="stMarkdown"] {break-inside: avoid}
}</style>"""


def link(label: str, icon: str, **query: str) -> None:
    st.page_link(PAGE, label=label, icon=f":material/{icon}:", query_params=query)


def lesson_from_address() -> str | None:
    """The lesson in the address; None for the list of all, with a note if there is no such lesson."""
    name = st.query_params.get("lesson")
    if name is None or name in LESSONS:
        return name
    st.warning(f"There is no lesson {name}; showing all {len(LESSONS)}.", icon=":material/swap_horiz:")
    return None


def key_from_address() -> bool:
    """Whether the address asks for the lecturer's answer key; for any value but 1 a note says so."""
    text = st.query_params.get("key")
    if text not in (None, "1"):
        st.warning(f"Unknown key {text!r}; use key=1 for the answer key.", icon=":material/swap_horiz:")
    return text == "1"


def heading(name: str) -> str:
    return f"#### {NAMES.index(name) + 1} · {LESSONS[name].title}"


def cards() -> None:
    st.markdown(
        "Each lesson sets a scene from runs recorded here, asks what you expect, and shows what was measured. "
        "Predict first: that is what makes it stick."
    )
    for start in range(0, len(NAMES), CARDS):
        for column, name in zip(st.columns(CARDS), NAMES[start : start + CARDS], strict=True):
            lesson = LESSONS[name]
            with column.container(border=True, height="stretch"):
                st.markdown(f"##### {NAMES.index(name) + 1} · {lesson.title}\n\n{lesson.asks}")
                st.caption(f"{lesson.minutes} minutes · needs {lesson.needs}")
                if absent := missing(lesson):
                    st.caption(f"Missing runs: {', '.join(absent)}")
                link(f"Open lesson {NAMES.index(name) + 1}", "school", lesson=name)
    link("Answer key, for the lecturer", "key", key="1")


def one_lesson(name: str) -> None:
    number = NAMES.index(name)
    title, previous, overview, following = st.columns([5, 2, 2, 2], vertical_alignment="center")
    title.markdown(heading(name))
    if number:
        with previous:
            link(f"Lesson {number}", "chevron_left", lesson=NAMES[number - 1])
    with overview:
        link("All lessons", "apps")
    if number + 1 < len(NAMES):
        with following:
            link(f"Lesson {number + 2}", "chevron_right", lesson=NAMES[number + 1])
    teach(name, LESSONS[name])


def key_of(names: list[str]) -> None:
    st.html(PRINTED)
    st.caption(
        "Answer key, for the lecturer. Every number was computed from the recorded runs when this page opened."
    )
    whole = len(names) == 1
    left, right = st.columns(2)
    with left:
        if whole:
            link("The lesson, as students see it", "school", lesson=names[0])
        else:
            link("All lessons", "apps")
    if whole:
        with right:
            link("Answer key of all lessons", "key", key="1")
    for name in names:
        st.markdown(heading(name))
        answer_key(LESSONS[name], pictures=whole)
        if not whole:
            link(f"Lesson {NAMES.index(name) + 1} with its pictures", "key", lesson=name, key="1")


frame("Lessons")
lesson, key = lesson_from_address(), key_from_address()
# A link from a page to itself opens the other lesson, but does not change the browser's address.
st.query_params.from_dict(st.query_params.to_dict())
if key:
    key_of([lesson] if lesson else NAMES)
elif lesson:
    one_lesson(lesson)
else:
    cards()
