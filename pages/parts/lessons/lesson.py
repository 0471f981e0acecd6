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

from ..shell.problem import problem
from ..shell.run_bar import open_run

PAGE = "pages/lessons.py"
SIDES = (5, 7)  # so that two matrices of six models fit side by side at 1280x720
LARGE = (
    "<style>[data-testid='stRadio'] label p {font-size: 1rem}</style>"  # answers must be readable from the back row
)


@dataclass(frozen=True)
class Answer:
    """One answer to a question: whether the recorded runs make it true, and the reason if they do."""

    text: str
    true: bool
    why: str


@dataclass(frozen=True)
class Door:
    """A link into the lab that opens the lesson's scene, what to do there, and, for the key, the outcome."""

    page: str
    label: str
    query: Mapping[str, str]
    task: str
    outcome: str


@dataclass(frozen=True, eq=False)
class Story:
    """A lesson filled in from the recorded runs. Texts are Markdown, the equation LaTeX.

    picture draws the scene without giving the answer away; truth draws the outcome. figures: values by their names.
    Raises ValueError unless exactly one answer is true.
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
            raise ValueError(f"exactly one answer must be true, not {len(true)}: {true}")

    @property
    def right(self) -> int:
        return next(number for number, answer in enumerate(self.answers) if answer.true)


@dataclass(frozen=True, eq=False)
class Lesson:
    """tell makes the story from the finished runs, one argument each; LabError if they do not fit the lesson."""

    title: str
    asks: str
    minutes: int
    needs: str
    runs: tuple[str, ...]
    tell: Callable[..., Story]


def fused(name: str, record: Record, task: int) -> Frames:
    """The frames of a task of a run that fuses; RecordError if it fuses nothing."""
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
    story = _story(lesson)
    if story is None:
        return
    st.html(LARGE)
    predicted = st.session_state.get(_predicted(name))
    left, right = st.columns(SIDES, gap="medium")
    with left:
        _scene(story)
        st.markdown(f"**{story.question}**")
        if predicted is None:
            _ask(name, story)
        else:
            _answer(name, story, predicted)
    with right:  # what was measured replaces the scene: a projector shows it without scrolling
        if predicted is None:
            story.picture()
        else:
            story.truth()
            _figures(story)
    if predicted is not None:
        _explanation(story)
        _now_try(story)


def answer_key(lesson: Lesson, pictures: bool) -> None:
    """All of a lesson at once, for the lecturer; without pictures it prints on one page."""
    story = _story(lesson)
    if story is None:
        return
    if pictures:
        left, right = st.columns(SIDES, gap="medium")
        with left:
            _scene(story)
        with right:
            story.picture()
    st.markdown(f"**Question.** {story.question}")
    _marked(story)
    st.markdown(f"**Measured:** {story.measured}")
    _figures(story)
    if pictures:
        story.truth()
    _explanation(story)
    st.markdown(f"**For discussion, a misconception.** {story.misconception}")
    tries = "\n".join(f"- *{door.label}*: {door.outcome}" for door in story.now_try)
    st.markdown(f"**Answers to “Now try”.**\n\n{tries}")


def missing(lesson: Lesson) -> list[str]:
    """The recorded runs that a lesson needs and that are missing."""
    names = records.names()
    return [name for name in lesson.runs if name not in names]


def _story(lesson: Lesson) -> Story | None:
    """The story of a lesson; None if its runs do not fit it, and the page then says why, and what to do."""
    if absent := missing(lesson):
        st.info(
            f"This lesson needs recorded runs that are missing here: {', '.join(absent)}. "
            "`make checkpoints` trains them again.",
            icon=":material/info:",
        )
        return None
    try:
        runs = {name: open_run(name) for name in lesson.runs}
        for name, record in runs.items():
            if not record.finished or len(record.tasks) < 2:
                st.info(
                    f"This lesson needs the run {name}, with at least two tasks, all of them learned. It has learned "
                    f"{len(record.tasks)} of {record.config.data.tasks}. `make checkpoints` trains it again.",
                    icon=":material/hourglass_empty:",
                )
                return None
        return lesson.tell(*runs.values())
    except LabError as error:
        problem(error)
        return None


def _predicted(name: str) -> str:
    """The key of a reader's prediction. It is kept apart from the widgets, whose state is lost on other pages."""
    return f"predicted-{name}"


def _scene(story: Story) -> None:
    st.markdown(story.scene)
    st.latex(story.equation)


def _ask(name: str, story: Story) -> None:
    choice = st.radio(
        story.question,
        range(len(story.answers)),
        index=None,
        format_func=lambda number: story.answers[number].text,
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


def _answer(name: str, story: Story, predicted: int) -> None:
    _marked(story, predicted)
    text = f"You predicted: **{story.answers[predicted].text}**  \nMeasured: {story.measured}"
    if predicted == story.right:
        st.success(text, icon=":material/check_circle:")
    else:
        st.info(text, icon=":material/lightbulb:")
    st.button("Predict again", icon=":material/undo:", on_click=_predict, args=(name, None))


def _marked(story: Story, predicted: int | None = None) -> None:
    """The answers as a list: the true one is marked, and the one that was predicted."""
    lines = []
    for number, answer in enumerate(story.answers):
        mark = "check_circle" if answer.true else "adjust" if number == predicted else "radio_button_unchecked"
        text = f"**{answer.text}**" if answer.true else answer.text
        lines.append(f":material/{mark}: {text}{' (your prediction)' if number == predicted else ''}")
    st.markdown("  \n".join(lines))


def _predict(name: str, choice: int | None) -> None:
    st.session_state[_predicted(name)] = choice


def _figures(story: Story) -> None:
    figures = list(story.figures.items())
    for start in range(0, len(figures), 3):
        for column, (label, value) in zip(st.columns(3), figures[start : start + 3], strict=False):
            column.metric(label, value)


def _explanation(story: Story) -> None:
    left, right = st.columns(2, gap="medium")
    left.markdown(f"**Why.** {story.answers[story.right].why} {story.why}")
    right.markdown(f"**What this does not show.** {story.not_shown}")


def _now_try(story: Story) -> None:
    st.markdown("##### Now try")
    for column, door in zip(st.columns(len(story.now_try), gap="medium"), story.now_try, strict=True):
        with column.container(border=True):
            st.page_link(door.page, label=door.label, icon=":material/arrow_forward:", query_params=dict(door.query))
            st.markdown(door.task)
