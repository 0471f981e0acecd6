"""Compare: methods over several seeds with intervals, parts of ARI, one setting varied, runs side by side."""

from pages.parts.compare.methods import methods
from pages.parts.compare.one_setting import one_setting
from pages.parts.compare.parts_of_ari import parts_of_ari
from pages.parts.compare.side_by_side import side_by_side
from pages.parts.shell.address import choose_one
from pages.parts.shell.frame import frame

VIEWS = {
    "methods": ("Methods", methods),
    "parts": ("Parts of ARI", parts_of_ari),
    "setting": ("One setting", one_setting),
    "runs": ("Runs side by side", side_by_side),
}

frame("Compare")
view = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
VIEWS[view][1]()
