"""The table of errors: every message of the source with its remedy from ``remedies.yaml``."""

from __future__ import annotations

import fnmatch
import functools
from pathlib import Path
from typing import Any, Optional

import markdown
import yaml
from raised import Message, messages

REMEDIES = Path(__file__).parents[1] / "remedies.yaml"
WORDS = {
    "en": ("message", "kind", "what to do", "of the caller"),
    "zh": ("消息（英文原文）", "类别", "处理办法", "由调用者决定"),
}


@functools.cache
def remedies() -> tuple[dict[str, Any], ...]:
    """Return the entries of the file, in its order: the first that fits a message counts."""
    return tuple(yaml.safe_load(REMEDIES.read_text(encoding="utf-8")))


def remedy_of(message: Message) -> Optional[dict[str, Any]]:
    """Return the entry that fits a message; None if nobody has written one."""
    for entry in remedies():
        files_fit = any(fnmatch.fnmatchcase(message.file, pattern) for pattern in entry["files"])
        kind_fits = message.kind in entry.get("kinds", [message.kind])
        if files_fit and kind_fits and entry.get("says", "") in message.text:
            return entry
    return None


def room_of(message: Message) -> str:
    """Return the heading under which a message stands."""
    return message.file.partition("/")[0] if "/" in message.file else "beside"


def errors(language: str, room: str) -> str:
    """Return the table of a room's errors; those that say the same stand once."""
    rows: dict[tuple[str, str], list[str]] = {}
    message_word, kind_word, remedy_word, unknown = WORDS[language]
    for message in messages():
        if room_of(message) == room:
            entry = remedy_of(message)
            remedy = entry[language] if entry else ""
            rows[message.text, message.kind] = [markdown.escaped(message.text), message.kind or unknown, remedy]
    return markdown.table([message_word, kind_word, remedy_word], rows.values())


def rooms() -> list[str]:
    """Return the headings in order."""
    return sorted({room_of(message) for message in messages()})
