"""What all lessons share: a scene without knobs, a question, the reader's prediction, and what was measured.

A lesson tells its story from the recorded runs each time it is opened: which answer is true is computed, never
written down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from arli_core import records
from arli_core.errors import LabError, RecordError
from arli_core.records import Frames, Record

from ..problem import problem
from ..run_bar import open_run

PAGE = "pages/lessons.py"
SIDES = (5, 7)  # so that two matrices of six models stand side by side at 1280x720
LARGE = "<style>[data-testid='stRadio'] label p {font-size: 1rem}</style>"  # answers are read from the back row too


@dataclass(frozen=True)
class Answer:
    """One answer to a question: whether the recorded runs make it the true one, and why it is, where it is."""

    text: str
    true: bool
    why: str


@dataclass(frozen=True)
class Door:
    """A link into the lab that opens the lesson's scene, what to do there, and, for the key, what comes of it."""

    page: str
    label: str
    query: Mapping[str, str]
    task: str
    outcome: str


@dataclass(frozen=True, eq=False)
class Told:
    """A lesson with the recorded runs in it. Texts are Markdown, the equation LaTeX.

    picture draws the scene and gives nothing away; truth draws what came of it. figures are shown by their names.
    Raises ValueError unless one answer, and one alone, is true.
    """

    scene: str
    equation: str
    picture: Callable[[], Any]
    question: str
    answers: tuple[Answer, ...]
    measured: str
    figures: Mapping[str, str]
    truth: Callable[[], Any]
    why: str
    not_shown: str
    misconception: str
    now_try: tuple[Door, ...]

    def __post_init__(self):
        true = [answer.text for answer in self.answers if answer.true]
        if len(true) != 1:
            raise ValueError(f"one answer must be true, not {len(true)}: {true}")

    @property
    def right(self) -> int:
        return next(number for number, answer in enumerate(self.answers) if answer.true)


@dataclass(frozen=True, eq=False)
class Lesson:
    """tell makes the story of the finished runs, one argument each; LabError where they do not tell it."""

    title: str
    asks: str
    minutes: int
    needs: str
    runs: tuple[str, ...]
    tell: Callable[..., Told]


def fused(name: str, record: Record, task: int) -> Frames:
    """The frames of a task, of a run that fuses; RecordError where it fuses nothing."""
    frames = record.frames(task)
    if not frames.fuses:
        raise RecordError(f"{name} fuses no models, so it has no matrix to show")
    return frames


def comparable(*runs: Record) -> None:
    """RecordError unless all learned the same tasks."""
    if any(record.config.data != runs[0].config.data for record in runs):
        raise RecordError("the runs of this lesson did not learn the same tasks, so they cannot be compared")


def teach(name: str, lesson: Lesson) -> None:
    """The scene and the question; once the reader has predicted, what was measured and where to go from there."""
    told = _told(lesson)
    if told is None:
        return
    st.html(LARGE)
    predicted = st.session_state.get(_predicted(name))
    left, right = st.columns(SIDES, gap="medium")
    with left:
        _scene(told)
        st.markdown(f"**{told.question}**")
        if predicted is None:
            _ask(name, told)
        else:
            _answer(name, told, predicted)
    with right:  # what was measured comes in the scene's place: a projector shows it without scrolling
        if predicted is None:
            told.picture()
        else:
            told.truth()
            _figures(told)
    if predicted is not None:
        _explanation(told)
        _now_try(told)


def answer_key(lesson: Lesson, pictures: bool) -> None:
    """All of a lesson at once, for the lecturer; without pictures it prints on a page."""
    told = _told(lesson)
    if told is None:
        return
    if pictures:
        left, right = st.columns(SIDES, gap="medium")
        with left:
            _scene(told)
        with right:
            told.picture()
    st.markdown(f"**Question.** {told.question}")
    _marked(told)
    st.markdown(f"**Measured:** {told.measured}")
    _figures(told)
    if pictures:
        told.truth()
    _explanation(told)
    st.markdown(f"**Talk about.** {told.misconception}")
    tries = "\n".join(f"- *{door.label}*: {door.outcome}" for door in told.now_try)
    st.markdown(f"**What comes of “Now try”.**\n\n{tries}")


def missing(lesson: Lesson) -> list[str]:
    """The recorded runs that a lesson needs and that are not here."""
    there = records.names()
    return [name for name in lesson.runs if name not in there]


def _told(lesson: Lesson) -> Told | None:
    """None where the runs do not let the lesson be told; the page then says why, and what to do."""
    if absent := missing(lesson):
        st.info(
            f"This lesson is told from recorded runs that are not here: {', '.join(absent)}. "
            "`make checkpoints` makes them again.",
            icon=":material/info:",
        )
        return None
    try:
        found = {name: open_run(name) for name in lesson.runs}
        for name, record in found.items():
            if not record.finished or len(record.tasks) < 2:
                st.info(
                    f"This lesson needs {name} with two tasks or more, all learned; it has {len(record.tasks)} of "
                    f"{record.config.data.tasks}. `make checkpoints` makes the run again.",
                    icon=":material/hourglass_empty:",
                )
                return None
        return lesson.tell(*found.values())
    except LabError as error:
        problem(error)
        return None


def _predicted(name: str) -> str:
    """The key of a reader's prediction. Kept beside the widgets, whose state goes when another page is visited."""
    return f"predicted-{name}"


def _scene(told: Told) -> None:
    st.markdown(told.scene)
    st.latex(told.equation)


def _ask(name: str, told: Told) -> None:
    choice = st.radio(
        told.question,
        range(len(told.answers)),
        index=None,
        format_func=lambda number: told.answers[number].text,
        label_visibility="collapsed",
        key=f"answer-{name}",
    )
    st.button(
        "Reveal",
        type="primary",
        icon=":material/visibility:",
        disabled=choice is None,
        help="Predict first: choose an answer." if choice is None else None,
        on_click=_predict,
        args=(name, choice),
    )


def _answer(name: str, told: Told, predicted: int) -> None:
    _marked(told, predicted)
    text = f"You predicted: **{told.answers[predicted].text}**  \nMeasured: {told.measured}"
    if predicted == told.right:
        st.success(text, icon=":material/check_circle:")
    else:
        st.info(text, icon=":material/lightbulb:")
    st.button("Predict again", icon=":material/undo:", on_click=_predict, args=(name, None))


def _marked(told: Told, predicted: int | None = None) -> None:
    """The answers as a list: the true one is marked, and the one that was predicted."""
    lines = []
    for number, answer in enumerate(told.answers):
        mark = "check_circle" if answer.true else "adjust" if number == predicted else "radio_button_unchecked"
        text = f"**{answer.text}**" if answer.true else answer.text
        lines.append(f":material/{mark}: {text}{' (your prediction)' if number == predicted else ''}")
    st.markdown("  \n".join(lines))


def _predict(name: str, choice: int | None) -> None:
    st.session_state[_predicted(name)] = choice


def _figures(told: Told) -> None:
    figures = list(told.figures.items())
    for start in range(0, len(figures), 3):
        for column, (label, value) in zip(st.columns(3), figures[start : start + 3], strict=False):
            column.metric(label, value)


def _explanation(told: Told) -> None:
    left, right = st.columns(2, gap="medium")
    left.markdown(f"**Why.** {told.answers[told.right].why} {told.why}")
    right.markdown(f"**What this does not show.** {told.not_shown}")


def _now_try(told: Told) -> None:
    st.markdown("##### Now try")
    for column, door in zip(st.columns(len(told.now_try), gap="medium"), told.now_try, strict=True):
        with column.container(border=True):
            st.page_link(door.page, label=door.label, icon=":material/arrow_forward:", query_params=dict(door.query))
            st.markdown(door.task)
