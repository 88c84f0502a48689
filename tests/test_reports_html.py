"""Report pages: nothing unescaped, nothing fetched, pictures and charts inside the file."""

from __future__ import annotations

import base64
import doctest
import logging
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ImageError, MissingDependencyError
from arcface_paddle.reports import charts, figures, html

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x.png>'


class Collector(HTMLParser):
    """Gathers tags, attributes and text, and checks that tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "rect", "line"})

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def everything(text: str) -> str:
    axes = charts.Axes(text, x_title=text, y_title=text)
    parts = [
        html.tiles([(text, text)]),
        html.section(
            text,
            text,
            html.paragraph(text, html.code(text)),
            html.notice(text, tone="warn"),
            html.table([text], [[text], [html.badge(text, tone="bad")]], caption=text),
            html.grid([html.image(picture(), alt=text, caption=text, width_px=64)]),
            html.cards([(text, html.grid([]))]),
            html.details(text, text),
            charts.bar_chart([text], [3.0], axes=axes),
            charts.histogram(np.array([1.0, 2.0]), axes=axes),
        ),
        text,
    ]
    return html.page(text, parts, subtitle=text)


def test_hostile_text_is_shown_as_text_everywhere():
    seen = Collector(everything(HOSTILE))
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "iframe", "link", "object"})
    assert [attrs["src"][:11] for tag, attrs in seen.tags if tag == "img"] == ["data:image/"]
    assert seen.text.count(HOSTILE) >= 15
    assert not any(name.startswith("on") for _, attrs in seen.tags for name in attrs)


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\x9b", "\x1b", "\0", "\u2028"])
def test_signs_that_turn_what_stands_behind_around_are_spelt_out(sign):
    seen = Collector(everything(f"a{sign}b"))
    spelt = f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"
    assert sign not in seen.text and seen.text.count(f"a{spelt}b") >= 15


def test_page_needs_nothing_from_outside():
    document = everything("harmless")
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(([^)]*)\)|@import""", document)
    assert addresses and all(address.startswith("data:") for address, _ in addresses)
    assert "http://" not in document and "https://" not in document
    assert "default-src 'none'" in document


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_encoded_pictures_are_kept_byte_for_byte(suffix):
    content = images.encode_image(picture(), suffix=suffix)
    found = re.search(r"data:image/\w+;base64,([^\"]+)", html.image(content, alt="x"))
    assert found and base64.b64decode(found.group(1)) == content


def test_picture_of_another_format_is_refused():
    with pytest.raises(ImageError, match="unknown bytes"):
        html.image(b"not a picture", alt="x")


def test_numbers_none_and_undecodable_names():
    assert html.escape(0.123456) == "0.1235"
    assert html.escape(np.int64(12345)) == "12,345"
    assert html.escape(True) == "yes"
    html.page("x", ["name\udcff"]).encode("utf-8")
    assert "<td class=number>7</td><td>7</td>" in html.table(["a", "b"], [[7, "7"]])


def test_unknown_tone_is_refused():
    with pytest.raises(ValueError, match="tone is 'red'"):
        html.notice("x", tone="red")


def test_bar_heights_are_proportional():
    chart = charts.bar_chart(["a", "b", "c"], [10, 5, 0], axes=charts.Axes("t"))
    heights = [float(value) for value in re.findall(r'height="([\d.]+)"><title>', chart)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.11) and heights[2] == 0


@pytest.mark.parametrize("values", [[1.0], [1.0, -1.0], [1.0, float("nan")]])
def test_bad_bars_are_refused(values):
    with pytest.raises(ValueError):
        charts.bar_chart(["a", "b"], values, axes=charts.Axes("t"))


def bars_of(chart):
    """Return (left, width, height, title) of each bar."""
    pattern = r'<rect class="bar" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"><title>([^<]*)</title>'
    return [(float(x), float(width), float(height), title) for x, width, height, title in re.findall(pattern, chart)]


def test_histogram_counts_every_value_in_bars_that_begin_at_round_numbers():
    values = np.random.default_rng(0).normal(0.613, 0.1, 1000)
    chart = charts.histogram(values, axes=charts.Axes("t"))
    bars = bars_of(chart)
    assert 12 <= len(bars) <= 32
    assert sum(int(title.split(": ")[1].replace(",", "")) for *_, title in bars) == 1000
    for (left, width, _, title), following in zip(bars, bars[1:]):
        assert left + width == pytest.approx(following[0], abs=0.11)  # they touch
        low, high = map(float, title.split(": ")[0].split(" to "))
        assert high > low and round(low, 2) == low
    ticks = re.findall(r'text-anchor="middle">(-?[\d.]+)<', chart)
    assert set(ticks) >= {"0.4", "0.6", "0.8"}


def test_histogram_of_equal_values_and_of_none():
    bars = bars_of(charts.histogram(np.full(7, 3.0), axes=charts.Axes("t")))
    assert sorted(title.split(": ")[1] for *_, title in bars)[-1] == "7"
    for values in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match="at least one value, all of them finite"):
            charts.histogram(np.array(values), axes=charts.Axes("t"))


@pytest.mark.parametrize("low, high", [(0, 1), (0.2, 0.2), (-3, 17), (0, 123456), (1e-7, 3e-7)])
def test_ticks_span_the_range_with_even_steps(low, high):
    ticks = charts.nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_figures_are_never_broken_and_paths_are():
    long_path = "/a/very/long/path/to/some/weights.pdparams"
    table = html.table(["a", "b", "c"], [["100.00 % [99.7, 100.0]", long_path, html.code(long_path)]])
    assert "<td>100.00 % [99.7, 100.0]</td>" in table
    assert f"<td class=long>{long_path}</td><td class=long><code>" in table
    assert "<td><code>" in html.table(["a"], [[html.code("short")]])  # markup does not count
    page = html.page("t", [])
    assert "td{text-align:left" in page and "white-space:nowrap}" in page and "td.long{white-space:normal" in page


def test_wide_pictures_keep_a_width_on_a_phone_and_others_shrink():
    assert "<figure><img " in html.image(picture(), alt="x", width_px=480)
    assert '<figure class="wide"><img ' in html.image(picture(), alt="x", width_px=1400)
    page = html.page("t", [])
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    phone = page.split("@media (max-width:720px)")[1]
    assert "figure.wide{overflow-x:auto}" in phone and "td:first-child{position:sticky" in phone


def test_examples_in_docstrings():
    for module in (html, charts):
        assert doctest.testmod(module).failed == 0


def test_write_page_is_atomic(tmp_path):
    target = tmp_path / "sub" / "report.html"
    html.write_page(target, "t", ["Zanzibar"])
    assert Collector(target.read_text(encoding="utf-8")).text.count("Zanzibar") == 1
    assert [entry.name for entry in target.parent.iterdir()] == ["report.html"]


def test_a_link_leads_to_its_section_and_a_flag_is_not_broken():
    page = html.page("t", [html.link("to <it>", anchor="here"), html.section("it", html.flag("--fix"), anchor="here")])
    assert '<a href="#here">to &lt;it&gt;</a>' in page and '<section id="here">' in page
    assert '<code class="flag">--fix</code>' in page and "code.flag{white-space:nowrap}" in page


def drawn_figure(values):
    pytest.importorskip("matplotlib")
    figure = figures.new_figure(4, 3, purpose="this test")
    assert not logging.getLogger("matplotlib.font_manager").isEnabledFor(logging.INFO)
    axes = figure.subplots()
    axes.plot(values, values)
    return figure, axes


@pytest.mark.parametrize("values", [[0.21, 0.33], [-3, 17], [0, 1], [1e-7, 9e-7], [12, 12.4]])
def test_ticks_of_figures_are_round(values):
    figure, axes = drawn_figure(values)
    figures.round_ticks(axes.xaxis)
    figure.draw_without_rendering()
    ticks = axes.xaxis.get_ticklocs()
    step = ticks[1] - ticks[0]
    assert np.allclose(np.diff(ticks), step)
    assert round(step / 10.0 ** np.floor(np.log10(step) + 1e-9), 6) in (1, 2, 5)
    assert np.allclose(ticks / step, np.round(ticks / step))  # multiples of the step, not shifted ones
    assert 3 <= len(ticks) <= 9


def test_counts_have_no_half_ticks():
    figure, axes = drawn_figure([1, 3])
    figures.round_ticks(axes.xaxis, whole=True)
    figure.draw_without_rendering()
    ticks = axes.xaxis.get_ticklocs()
    assert np.array_equal(ticks, np.round(ticks))


def test_a_figure_becomes_a_png_of_its_size_and_leaves_no_global_state():
    import matplotlib.pyplot as pyplot

    figure, _ = drawn_figure([0, 1])
    content = figures.png_bytes(figure, dpi=50)
    assert images.decode_image(content).shape == (150, 200, 3)
    assert pyplot.get_fignums() == []


def test_a_missing_matplotlib_is_named_with_its_purpose(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="this test needs the package 'matplotlib'"):
        figures.new_figure(4, 3, purpose="this test")


def test_labels_of_bars_are_thinned_until_they_fit():
    few = charts.bar_chart(["1", "2", "3"], [1, 2, 3], axes=charts.Axes("t"))
    many = charts.bar_chart([f"bar number {k}" for k in range(40)], range(40), axes=charts.Axes("t"))
    assert all(f'text-anchor="middle">{label}<' in few for label in ("1", "2", "3"))
    shown = re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="middle">bar number', many)
    assert 2 <= len(shown) <= 6
    assert many.count("<title>bar number") == 40  # all of them when pointed at
    assert min(np.diff([float(x) for x in shown])) >= 7 * len("bar number 0")


def test_axes_carry_their_titles_and_the_chart_its_size():
    axes = charts.Axes("Sizes", x_title="KiB", y_title="images", size_wh=(300, 200))
    seen = Collector(charts.histogram(np.arange(10.0), axes=axes))
    (svg,) = [attrs for tag, attrs in seen.tags if tag == "svg"]
    assert (svg["width"], svg["height"], svg["viewbox"]) == ("300", "200", "0 0 300 200")
    assert svg["aria-label"] == "Sizes"
    for word in ("Sizes", "KiB", "images"):
        assert word in seen.text


def test_an_empty_grid_is_nothing_and_a_dash_is_no_number():
    assert html.grid([]) == ""
    assert "<td>&ndash;</td>" in html.table(["a"], [[None]])
    assert html.join(["a<", html.code("b"), 3]) == "a&lt;<code>b</code>3"
