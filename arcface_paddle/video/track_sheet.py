"""The tracks of a video as one HTML page: who was there when, and the best view of every track. It needs no network."""

from __future__ import annotations

import base64
from typing import Optional, Sequence

from arcface_paddle import files
from arcface_paddle.reports import html
from arcface_paddle.types import UNKNOWN
from arcface_paddle.video.timeline import Attendance, TimelineEntry, attendance

_CROP_PX = 132  # of a face on the page: two stand side by side on a phone
_MOST_SHOWN = 2000  # tracks with pictures: some 10 KB each

_STYLE = html.Html(
    "<style>"
    ".span{display:grid;grid-template-columns:minmax(4.5rem,22%) 1fr;gap:.6rem;align-items:center;margin:.25rem 0}"
    ".span .who{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}"
    ".span .line{position:relative;height:1rem;border-radius:.25rem;background:rgba(127,127,127,.18)}"
    ".span .bar{position:absolute;top:0;bottom:0;min-width:3px;border-radius:.25rem;background:#2f7de1}"
    ".span .bar.stranger{background:#8a8a8a}"
    ".faces{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:.8rem}"
    ".face img{width:100%;aspect-ratio:1;object-fit:cover;border-radius:.4rem;display:block}"
    ".face .none{width:100%;aspect-ratio:1;border-radius:.4rem;background:rgba(127,127,127,.18)}"
    ".face p{margin:.3rem 0 0;font-size:.85rem;line-height:1.3;overflow-wrap:anywhere}"
    "</style>"
)


def write_track_sheet(
    path: files.PathLike, entries: Sequence[TimelineEntry], *, source: str, unknown: str = UNKNOWN
) -> None:
    """Write the page atomically.

    Args:
        path: of the HTML file.
        entries: the timeline; pictures are shown of those that have a crop.
        source: the video, as text.
        unknown: what strangers are called.

    Raises:
        OSError: it cannot be written.
    """
    people = attendance(entries)
    end = max((entry.last_s for entry in entries), default=0.0)
    known = [one for one in people if one.person != UNKNOWN]
    figures = html.tiles([("tracks", len(entries)), ("people with a name", len(known)), ("until", _clock(end))])
    parts = [_STYLE, figures]
    if people:
        parts.append(html.section("Who was there", _spans(people, entries, end, unknown), _attendance(people, unknown)))
    parts.append(html.section("Tracks", _faces(entries, unknown)))
    html.write_page(path, "Faces of a video", parts, subtitle=source)


def _spans(people: Sequence[Attendance], entries: Sequence[TimelineEntry], end: float, unknown: str) -> html.Html:
    """Draw a line for each person, with a bar for every track."""
    rows = []
    for one in people:
        kind = " stranger" if one.person == UNKNOWN else ""
        own = [entry for entry in entries if entry.person == one.person]
        bars = [_bar(entry.track, span, end, kind=kind) for entry in own for span in entry.spans]
        who = html.escape(_called(one.person, unknown))
        rows.append(f'<div class="span"><span class="who">{who}</span><div class="line">{"".join(bars)}</div></div>')
    return html.Html("".join(rows))


def _bar(track: int, span: tuple[float, float], end: float, *, kind: str) -> str:
    left, width = (100 * part / max(end, 1e-3) for part in (span[0], span[1] - span[0]))
    title = html.escape(f"track {track}: {_clock(span[0])} to {_clock(span[1])}")
    return f'<span class="bar{kind}" style="left:{left:.2f}%;width:{width:.2f}%" title="{title}"></span>'


def _attendance(people: Sequence[Attendance], unknown: str) -> html.Html:
    rows = [
        (_called(one.person, unknown), _clock(one.first_s), _clock(one.last_s), _clock(one.seconds), one.tracks)
        for one in people
    ]
    return html.table(["person", "first seen", "last seen", "in sight", "tracks"], rows)


def _faces(entries: Sequence[TimelineEntry], unknown: str) -> html.Html:
    if not entries:
        return html.notice("No face was seen for long enough to be a track.")
    shown = [_face(entry, unknown) for entry in entries[:_MOST_SHOWN]]
    more = len(entries) - len(shown)
    rest = html.notice(f"{more:,} further tracks are in the timeline.") if more else ""
    return html.Html(f'<div class="faces">{"".join(shown)}</div>{rest}')


def _face(entry: TimelineEntry, unknown: str) -> str:
    name = _called(entry.person, unknown) if entry.person is not None else f"track {entry.track}"
    similarity = "" if entry.similarity is None else f" · {entry.similarity:.2f}"
    when = f"{_clock(entry.first_s)} to {_clock(entry.last_s)}"
    text = f"track {entry.track} · {when}{similarity}"
    picture = _picture(entry.best.crop, alt=f"{name}, track {entry.track}")
    return f'<div class="face">{picture}<p><b>{html.escape(name)}</b><br>{html.escape(text)}</p></div>'


def _picture(crop: Optional[bytes], *, alt: str) -> str:
    if crop is None:
        return '<div class="none"></div>'
    content = base64.b64encode(crop).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{content}" alt="{html.escape(alt)}" width="{_CROP_PX}">'


def _called(person: Optional[str], unknown: str) -> str:
    return unknown if person is None or person == UNKNOWN else person


def _clock(seconds: float) -> str:
    """Return a time as people read it.

    >>> _clock(7.26), _clock(3725.4)
    ('0:07.3', '1:02:05')
    """
    if seconds < 60:
        return f"0:{seconds:04.1f}"
    minutes, left = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
