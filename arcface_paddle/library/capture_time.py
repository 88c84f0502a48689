"""When a photograph was taken, by its EXIF data.

Cameras write the time on their own clock, and since EXIF 2.31 (2016) most telephones add how far that clock is from
UTC. Pictures are put in order by the clock on the wall: a camera that does not know its zone and a telephone beside it
then agree, while an order by UTC would put them hours apart.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any, Mapping, Optional

# Time, fraction of its second, offset from UTC. EXIF 3.0, tables 7 and 8.
_ORIGINAL = (0x9003, 0x9291, 0x9011)
_DIGITIZED = (0x9004, 0x9292, 0x9012)
_CHANGED = (0x0132, 0x9290, 0x9010)
_FIELDS = (_ORIGINAL, _DIGITIZED, _CHANGED)
"""From the best to the worst: a scanner's time is not the photograph's, an editor's often the day before yesterday."""

_TIME = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
_MOST_OFFSET = timedelta(hours=14)  # Kiritimati


def capture_time(exif: Mapping[int, Any]) -> Optional[datetime]:
    """Return when a photograph was taken, by EXIF tags as ``images.read_header`` gives them.

    Args:
        exif: values by tag; nothing of them is trusted.

    Returns:
        The time on the camera's clock, with its zone where the file names one (``datetime.tzinfo`` None otherwise);
        None where there is no time or none that can be, such as ``0000:00:00 00:00:00`` of a camera without battery.
    """
    for time_tag, fraction_tag, offset_tag in _FIELDS:
        taken = _parsed_time(_text(exif.get(time_tag)))
        if taken is not None:
            microseconds = _parsed_fraction(_text(exif.get(fraction_tag)))
            return taken.replace(microsecond=microseconds, tzinfo=_parsed_offset(_text(exif.get(offset_tag))))
    return None


def sort_key(taken: Optional[datetime]) -> tuple[bool, datetime]:
    """Return what pictures are sorted by: the clock on the wall; those without a time come last."""
    return taken is None, datetime.max if taken is None else taken.replace(tzinfo=None)


def to_text(taken: Optional[datetime]) -> str:
    """Return a time in ISO 8601, ``2024-05-01T12:00:00.250000+02:00``; empty for none."""
    return "" if taken is None else taken.isoformat()


def from_text(text: str) -> Optional[datetime]:
    """Return the time that ``to_text`` wrote. Raises ``ValueError`` for other text."""
    return datetime.fromisoformat(text) if text else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip(" \0\t\r\n") if isinstance(value, str) else ""


def _parsed_time(text: str) -> Optional[datetime]:
    found = _TIME.match(text)
    if found is None:
        return None
    try:
        return datetime(*map(int, found.groups()))  # type: ignore[arg-type]  # six numbers
    except ValueError:  # month 13, year 0
        return None


def _parsed_fraction(text: str) -> int:
    """Return microseconds: ``5``, ``50`` and ``500`` are all half a second."""
    return int(text[:6].ljust(6, "0")) if text.isascii() and text.isdigit() else 0


def _parsed_offset(text: str) -> Optional[timezone]:
    if text in ("Z", "z"):
        return timezone.utc
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if offset > _MOST_OFFSET or int(found[3]) > 59:
        return None
    return timezone(-offset if found[1] == "-" else offset)
