"""Self-contained HTML pages: escaped text, tables, inline pictures, light and dark; nothing is fetched.

Every builder returns an ``Html`` fragment. Plain ``str`` is text and is escaped wherever it is put; only ``Html``
goes into the page as it stands. A page carries a Content-Security-Policy that forbids scripts and any network
address, so a report about hostile file names stays harmless.
"""

from __future__ import annotations

import base64
import html as _html
import numbers
import re
from typing import Iterable, Optional, Sequence, Union

import numpy as np

from arcface_paddle import files, image_headers, images
from arcface_paddle.errors import ImageError


class Html(str):
    """A piece of finished HTML; a plain ``str`` is text that is still to be escaped."""

    __slots__ = ()


Part = Union[str, Html, int, float, None]
"""What a builder takes: text (escaped), a number (formatted), ``None`` (shown as a dash) or finished ``Html``."""

_MIME_OF_SUFFIX = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}
_TONES = ("plain", "good", "warn", "bad")
_TAG = re.compile(r"<[^>]*>")
_SHORT_CELL = 24
"""Characters of a cell that is never broken over two lines: a figure with its interval has 22."""
_WIDE_PX = 1000
"""From this width on a picture would be illegible if it were squeezed into a phone's 390 px."""


def escape(part: Part) -> Html:
    """Turn text or a number into HTML; ``Html`` passes through unchanged.

    Control characters are spelt out: those that turn the direction of writing around would turn what stands behind.

    >>> escape("<b>")
    '&lt;b&gt;'
    >>> escape(1234567)
    '1,234,567'
    >>> escape(None)
    '&ndash;'
    """
    if isinstance(part, Html):
        return part
    if part is None:
        return Html("&ndash;")
    if isinstance(part, (bool, np.bool_)):
        return Html("yes" if part else "no")
    if isinstance(part, numbers.Integral):
        return Html(f"{int(part):,}")
    if isinstance(part, numbers.Real):
        return Html(f"{float(part):.4g}")
    # Lone surrogates stand for undecodable bytes of file names; they cannot be written as UTF-8.
    text = str(part).encode("utf-8", "backslashreplace").decode("utf-8")
    return Html(_html.escape(files.plain(text), quote=True))


def join(parts: Iterable[Part]) -> Html:
    """Put fragments one after the other."""
    return Html("".join(escape(part) for part in parts))


def paragraph(*parts: Part) -> Html:
    """Return the parts as one paragraph."""
    return Html(f"<p>{join(parts)}</p>")


def code(text: str) -> Html:
    """Return text in a fixed-width face: a path, a command, a flag."""
    return Html(f"<code>{escape(text)}</code>")


def flag(text: str) -> Html:
    """Return a flag of a command, which is never broken over two lines."""
    return Html(f'<code class="flag">{escape(text)}</code>')


def link(text: Part, *, anchor: str) -> Html:
    """Return a link to the section with this anchor on the same page."""
    return Html(f'<a href="#{escape(anchor)}">{escape(text)}</a>')


def notice(text: Part, *, tone: str = "plain") -> Html:
    """Return a framed remark; ``tone`` is ``plain``, ``good``, ``warn`` or ``bad``."""
    return Html(f'<p class="notice {_checked_tone(tone)}">{escape(text)}</p>')


def badge(text: Part, *, tone: str = "plain") -> Html:
    """Return a short coloured word for a table cell or a heading; tones as ``notice``."""
    return Html(f'<span class="badge {_checked_tone(tone)}">{escape(text)}</span>')


def tiles(items: Sequence[tuple[str, Part]]) -> Html:
    """Return the few leading figures of a report as (what, value) tiles in a row."""
    cells = (
        f'<div class="tile"><span class="value">{escape(value)}</span><span class="what">{escape(name)}</span></div>'
        for name, value in items
    )
    return Html(f'<div class="tiles">{"".join(cells)}</div>')


def table(headers: Sequence[Part], rows: Iterable[Sequence[Part]], *, caption: Optional[str] = None) -> Html:
    """Return a table; cells that are numbers are aligned to the right.

    Args:
        headers: one title per column.
        rows: cells, as many per row as there are headers.
        caption: a line above the table.
    """
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def image(content: Union[bytes, np.ndarray], *, alt: str, caption: Part = None, width_px: Optional[int] = None) -> Html:
    """Return a picture as a figure that carries its own bytes.

    Args:
        content: an encoded JPEG, PNG, WebP or GIF, stored as it is; or (H, W, 3) uint8 RGB, stored as JPEG.
        alt: what a reader without pictures is told.
        caption: text under the picture.
        width_px: width on the page, at most that of the page; the picture's own width when None. Wide pictures, those
            of several charts, stay legible on a phone: they keep a width and scroll.

    Raises:
        ImageError: bytes of another format (decode them and pass the array).
    """
    if isinstance(content, np.ndarray):
        content = images.encode_image(content, suffix=".jpg", quality=90)
    suffix = image_headers.suffix_by_content(content)
    mime = _MIME_OF_SUFFIX.get(suffix or "")
    if mime is None:
        raise ImageError(f"a page cannot show {suffix or 'unknown'} bytes; allowed: {', '.join(_MIME_OF_SUFFIX)}")
    uri = f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
    size = f' width="{width_px:d}"' if width_px is not None else ""
    wide = ' class="wide"' if width_px is not None and width_px >= _WIDE_PX else ""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption is not None else ""
    return Html(f'<figure{wide}><img src="{uri}" alt="{escape(alt)}"{size}>{text}</figure>')


def grid(figures: Iterable[Html]) -> Html:
    """Return figures side by side, wrapping to the width of the page; nothing for no figure."""
    content = join(figures)
    return Html(f'<div class="grid">{content}</div>') if content else content


def cards(items: Iterable[tuple[Part, Html]]) -> Html:
    """Return small titled blocks (title, content) side by side, wrapping to the width of the page."""
    blocks = (f'<div class="card"><h3>{escape(title)}</h3>{escape(content)}</div>' for title, content in items)
    return Html(f'<div class="cards">{"".join(blocks)}</div>')


def details(summary: Part, *parts: Part) -> Html:
    """Return parts that are folded away under a line the reader can open."""
    return Html(f"<details><summary>{escape(summary)}</summary>{join(parts)}</details>")


def section(title: Part, *parts: Part, anchor: Optional[str] = None) -> Html:
    """Return a headed section, one that ``link`` leads to if it has an anchor; plain text becomes paragraphs."""
    body = join(part if isinstance(part, Html) else paragraph(part) for part in parts)
    place = "" if anchor is None else f' id="{escape(anchor)}"'
    return Html(f"<section{place}><h2>{escape(title)}</h2>{body}</section>")


def page(title: str, parts: Iterable[Part], *, subtitle: Part = None) -> str:
    """Return a whole document.

    Args:
        title: heading and window title.
        parts: sections and other fragments, in order.
        subtitle: a line below the heading: what was examined, when, by which version.
    """
    below = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle is not None else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>{below}\n"
        + "\n".join(escape(part) for part in parts)
        + "\n</main></body></html>\n"
    )


def write_page(path: files.PathLike, title: str, parts: Iterable[Part], *, subtitle: Part = None) -> None:
    """Write a whole document to ``path`` atomically. Raises ``OSError`` when it cannot be written."""
    files.write_text(path, page(title, parts, subtitle=subtitle))


def _cell(part: Part) -> str:
    if isinstance(part, numbers.Real) and not isinstance(part, bool):
        return f"<td class=number>{escape(part)}</td>"
    content = escape(part)
    is_long = len(_TAG.sub("", content)) > _SHORT_CELL
    return f"<td{' class=long' if is_long else ''}>{content}</td>"


def _checked_tone(tone: str) -> str:
    if tone not in _TONES:
        raise ValueError(f"tone is {tone!r}; allowed: {', '.join(_TONES)}")
    return tone


_STYLE = """
:root{color-scheme:light dark;--page:#fbfbfa;--card:#fff;--text:#1f2328;--dim:#656d76;--line:#dcdfe3;--accent:#2f6f9f;
--good:#2c7a3f;--warn:#96690b;--bad:#b3342d}
@media (prefers-color-scheme:dark){:root{--page:#16181b;--card:#1e2125;--text:#e3e6ea;--dim:#99a1ab;--line:#363b42;
--accent:#6aa9d8;--good:#6cc481;--warn:#dcb04f;--bad:#ee7d75}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,"Noto Sans","Noto Sans CJK SC",sans-serif}
main{max-width:1200px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:0 0 10px}h3{font-size:16px;margin:16px 0 6px}
p{margin:6px 0}.subtitle{color:var(--dim);margin-bottom:18px}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:16px 0}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.92em;overflow-wrap:anywhere}
code.flag{white-space:nowrap}a{color:var(--accent);overflow-wrap:break-word}
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:8px 0;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--dim);padding-bottom:4px}
th,td{text-align:left;vertical-align:top;padding:4px 14px 4px 0;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--dim);font-weight:600}td.number{text-align:right}
td.long{white-space:normal;overflow-wrap:anywhere;min-width:150px;max-width:640px}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 16px;min-width:116px}
.tile .value{display:block;font-size:22px;font-weight:600;font-variant-numeric:tabular-nums}
.tile .what{color:var(--dim);font-size:13px}
.notice{border-left:4px solid var(--line);padding:6px 12px;background:var(--page)}
.badge{border:1px solid currentColor;border-radius:10px;padding:0 8px;font-size:12px;white-space:nowrap}
.notice.good{border-color:var(--good)}.notice.warn{border-color:var(--warn)}.notice.bad{border-color:var(--bad)}
.badge.good{color:var(--good)}.badge.warn{color:var(--warn)}.badge.bad{color:var(--bad)}
.grid{display:flex;flex-wrap:wrap;gap:14px;align-items:flex-start;margin:10px 0}
.cards{display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;margin:10px 0}
.card{border:1px solid var(--line);border-radius:6px;padding:10px 12px;max-width:100%}
.card h3{font-size:13px;margin:0 0 6px;max-width:420px}.card .grid{margin:0}
figure{margin:0;max-width:100%}figure img,figure svg{display:block;max-width:100%;height:auto;border-radius:4px}
.grid figure{max-width:136px}.grid figure.chart{max-width:100%}
figcaption{color:var(--dim);font-size:12px;line-height:1.35;margin-top:4px;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--accent)}
svg text{fill:var(--dim);font:12px system-ui,"Noto Sans",sans-serif}svg .title{fill:var(--text);font-weight:600}
svg .axis{stroke:var(--line);stroke-width:1}svg .bar{fill:var(--accent)}
@media (max-width:720px){main{padding:14px 10px 40px}section{padding:12px}h1{font-size:22px;overflow-wrap:anywhere}
td.long{min-width:200px;max-width:70vw}th:first-child,td:first-child{position:sticky;left:0;
min-width:0;max-width:40vw;white-space:normal;background:var(--card)}
figure.wide{overflow-x:auto}figure.wide img{width:1000px;max-width:none}}
@media print{section{break-inside:avoid}}
"""
