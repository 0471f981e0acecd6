"""Settings as people write them, on the command line, in a form and in an address."""

import json
from typing import Any


def listed(value: Any) -> Any:
    """Several values from a text as people write it, with commas or as a JSON list; anything else unchanged."""
    if not isinstance(value, str):
        return value
    parsed = from_text(value)
    if isinstance(parsed, list):
        return parsed
    return [part.strip() for part in value.split(",")] if "," in value else value.strip()


def text_of(value: Any) -> str:
    """A setting as it is written on the command line; read from there, it is the same."""
    if isinstance(value, list | tuple):
        parts = [str(part) for part in value]
        plain = ",".join(parts)
        return plain if len(parts) > 1 and listed(plain) == parts else json.dumps(list(value))
    return value if isinstance(value, str) else json.dumps(value)


def from_text(text: str) -> Any:
    """A setting as it is written on the command line: JSON where it parses, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def tasks_listed(classes_per_task: Any) -> int | None:
    """The number of tasks that a list of class counts implies; None where one number is for all tasks."""
    sizes = listed(classes_per_task)
    return len(sizes) or None if isinstance(sizes, list | tuple) else None
