"""Compare: methods over several seeds with intervals, parts of ARI, one setting varied, runs side by side."""

from pages.parts.address import choose_one
from pages.parts.frame import frame
from pages.parts.methods import methods
from pages.parts.one_setting import one_setting
from pages.parts.parts_of_ari import parts_of_ari
from pages.parts.side_by_side import side_by_side

VIEWS = {
    "methods": ("Methods", methods),
    "parts": ("Parts of ARI", parts_of_ari),
    "setting": ("One setting", one_setting),
    "runs": ("Runs side by side", side_by_side),
}

frame("Compare")
view = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
VIEWS[view][1]()
