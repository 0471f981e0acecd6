"""Values that nobody should send, and ways to put them into a tree of dictionaries and lists."""

import copy
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

NUMBERS = [
    0, 1, -1, 2, 7, 255, 5000, 20_000, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**400,
    -(10**400), 10**4000, 10**5000, 0.0, -0.0, 0.5, 1e-320, 1e30, 1e308, -1e308, float("nan"), float("inf"),
    float("-inf"),
]  # fmt: skip
TEXTS = [
    "", " ", "0", "-1", "1e309", "nan", "None", "true", "x", "x" * 5000, "\0", "a\0b", "\ud800", "\u202e", "\ufeff",
    "ﷺ" * 40, "é\u0301", "\n", "..", "../..", "../../etc/passwd", "/etc", "~", "~root", "~nobody-here/x", "C:\\x",
    "CON", "nul", "dot.", "folder:", "folder:/etc", "folder:~root", "folder:../..", "folder:\0", "%s%n", "{0}",
    "<script>alert(1)</script>", "'; DROP TABLE runs; --", "${HOME}", "$(id)", "\\x00", "[]", "{}", "![x](y)",
    "10" * 200,
]  # fmt: skip
OTHERS = [None, True, False, [], {}, [[]], [None], [1, 2, 3], ["a"], {"a": 1}, {"": {"": {}}}, [0] * 1000]


def nested(depth: int) -> list[Any]:
    """A list in a list, `depth` deep."""
    tree: list[Any] = []
    for _ in range(depth):
        tree = [tree]
    return tree


def value(rng: random.Random) -> Any:
    """A hostile value of any type."""
    kind = rng.randrange(10)
    if kind == 0:
        return nested(rng.choice([3, 50, 200]))
    if kind == 1:
        return rng.choice([rng.getrandbits(rng.choice([8, 64, 2000])), rng.gauss(0, 10 ** rng.randint(-9, 9))])
    return copy.deepcopy(rng.choice([NUMBERS, TEXTS, OTHERS][kind % 3]))


def text(rng: random.Random) -> str:
    """One of the texts, or a few characters from anywhere in Unicode except surrogates, which no client can send."""
    if rng.random() < 0.7:
        return rng.choice([sample for sample in TEXTS if sample.isascii() or "\ud800" not in sample])
    signs = (rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]) for _ in range(rng.randint(1, 12)))
    return "".join(map(chr, signs))


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every node below the root of a tree, leaf or not."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


def spoilt(rng: random.Random, tree: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(what was done, a copy of the tree with one node replaced, removed, renamed or added)."""
    tree = copy.deepcopy(tree)
    below = rng.choice(list(tree))  # evenly over the top level, however much lies below it
    *above, key = rng.choice([path for path in places(tree) if path[0] == below])
    node: Any = tree
    for part in above:
        node = node[part]
    where = ".".join(str(part) for part in (*above, key))
    action = rng.choice(["replace", "replace", "replace", "replace", "remove", "add", "rename"])
    if action == "remove":
        del node[key]
        return f"{where} removed", tree
    new = value(rng)
    if action == "replace":
        node[key] = new
        return f"{where} = {short(new)}", tree
    name = rng.choice(["extra", "", "\0", "__class__", "seed", "method", "schema"])
    if isinstance(node, dict):
        node[name] = new if action == "add" else node.pop(key)
    else:
        node.insert(key, new)
    return f"{where}: {action} {name!r} {short(new)}", tree


def written(tree: Any) -> bytes:
    """The tree as JSON, with numbers of any length, which Python does not write by itself."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(tree).encode()
    finally:
        sys.set_int_max_str_digits(limit)


def short(anything: Any, length: int = 60) -> str:
    """A value in a few characters."""
    if isinstance(anything, int) and not isinstance(anything, bool) and abs(anything) >= 10**20:
        return f"{'-' * (anything < 0)}2**{anything.bit_length() - 1}…"
    try:
        text = ascii(anything)
    except ValueError:  # a number of more digits than Python writes
        return "holds a number of thousands of digits"
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"
