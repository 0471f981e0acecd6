"""Actions on a recorded run. Each says at the top of the page what it did, or why it did nothing."""

from collections.abc import Callable

import streamlit as st

from arli_core import records
from arli_core.config import Ari
from arli_core.errors import LabError, RecordError
from arli_core.live.messages import without_places
from arli_core.records import exports

from ..shell.address import write
from ..shell.run_bar import guarded, jobs, open_run

LARGEST = 64  # MB of an archive sent by a browser, which the server holds in memory


def tell() -> None:
    """Shows once what the last action did."""
    # There without a message too, so that what is below keeps its place and an open form stays open.
    place = st.empty()
    done, text = st.session_state.pop("done", (True, ""))
    if text:
        (place.success if done else place.error)(text, icon=f":material/{'check_circle' if done else 'error'}:")


def _do(action: Callable[[], str]) -> None:
    try:
        st.session_state["done"] = (True, action())
    except LabError as error:
        st.session_state["done"] = (False, without_places(str(error)))


def take_in() -> None:
    """A form for the archive of a run."""
    turn = st.session_state.setdefault("imports", 0)  # a new one after each import: empty fields
    with st.expander("Import a run", icon=":material/upload:"):
        file = st.file_uploader(
            "A .zip file exported from this lab or from another",
            "zip",
            key=f"archive-{turn}",
            max_upload_size=LARGEST,
        )
        st.caption(f"For a file larger than {LARGEST} MB: `python -m arli_core import FILE`.")
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        left.text_input("Name in this lab", key=f"imported-{turn}", placeholder="the name it had", max_chars=60)
        right.button("Import", on_click=_do, args=(lambda: _import(turn),), disabled=file is None, width="stretch")


def _import(turn: int) -> str:
    file, new_name = st.session_state[f"archive-{turn}"], st.session_state[f"imported-{turn}"].strip()
    try:
        packed, files = exports.unpacked(file.getvalue())
        name = new_name or packed
        with jobs().held(name):
            records.add(name, files)
    except RecordError as error:
        raise RecordError(f"{file.name} was not imported: {error}") from None
    st.session_state["imports"] = turn + 1
    write(run=name)
    return f"{file.name} was imported as {name}."


def links(name: str, damaged: bool) -> None:
    """Links to the pages that show this run, and to the form that trains it again, if its settings can be read."""
    try:
        config = records.config_of(name)
    except LabError:
        config = None
    fuses = isinstance(config, Ari)
    places = [
        ("matrix", "Open in Matrix", "grid_on", damaged or not fuses),
        ("spectrum", "Open in Spectrum", "scatter_plot", damaged or not fuses),
        ("masks", "Open in Masks", "visibility", damaged),
        ("forgetting", "Open in Forgetting", "history_toggle_off", damaged),
    ]
    *columns, last = st.columns(len(places) + 1)
    for column, (page, label, icon, without) in zip(columns, places, strict=True):
        column.page_link(
            f"pages/{page}.py", label=label, icon=f":material/{icon}:", query_params={"run": name}, disabled=without
        )
    last.page_link(
        "pages/train.py",
        label="Train again",
        icon=":material/replay:",
        query_params={"again": name},
        disabled=config is None,
        help="Opens the Train page with this run's settings.",
    )


def downloads(name: str, damaged: bool) -> None:
    """Offers the run in every export format."""
    st.markdown("##### Export")
    if damaged:
        st.caption("A damaged run cannot be exported.")
        return
    record = guarded(open_run, name)
    forms = {
        "Whole run": ("zip", "folder_zip", lambda: exports.archive(name, records.files(name))),
        "Settings": ("json", "data_object", lambda: exports.configuration(record.config)),
        "Script": ("py", "code", lambda: exports.script(record)),
        "Notebook": ("ipynb", "menu_book", lambda: exports.notebook(record)),
    }
    with st.container(horizontal=True, gap="small"):
        for label, (kind, icon, content) in forms.items():
            st.download_button(
                label, content, f"{name}.{kind}", icon=f":material/{icon}:", help=f".{kind}",
                on_click="ignore",  # redrawing the page would drop the file of the next button pressed
            )  # fmt: skip
    st.caption(
        "The script and the notebook train the run again and draw its accuracy matrices and, where the method has "
        "one, its last dif*."
    )


def change(name: str, unfinished: bool) -> None:
    """Rename and delete, where that does no harm."""
    st.markdown("##### Rename or delete")
    job = jobs().get(name)
    if name in records.SHIPPED:
        st.info(f"{name} comes with the lab: it cannot be renamed or deleted.", icon=":material/lock:")
        return
    if job and job.alive:
        st.info(f"{name} is {job.state.value}: stop it on the Train page first.", icon=":material/lock:")
        return
    if unfinished:  # other processes are not known here
        st.caption("This run is unfinished. If the command line is still training it, stop that first.")
    left, middle, right = st.columns([3, 2, 2], vertical_alignment="bottom")
    left.text_input("Name", name, key=f"rename-{name}", max_chars=60)
    middle.button("Rename", icon=":material/edit:", on_click=_do, args=(lambda: _rename(name),), width="stretch")
    with right.popover("Delete", icon=":material/delete:", width="stretch"):
        st.markdown(
            f"Deletes **{name}** and all its records. This cannot be undone: export the run first to keep a copy."
        )
        sure = st.checkbox(f"Delete {name}", key=f"sure-{name}")
        st.button("Delete for good", type="primary", disabled=not sure, on_click=_do, args=(lambda: _delete(name),))


def _rename(name: str) -> str:
    new = st.session_state[f"rename-{name}"].strip()
    with jobs().held(name, new):
        records.rename(name, new)
    write(run=new)
    return f"{name} is now called {new}."


def _delete(name: str) -> str:
    with jobs().held(name):
        records.delete(name)
    write(run=None)
    return f"{name} was deleted."
