"""The reference of the documentation site is whole: public names, commands and flags, routes, settings, errors."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re

import pytest
from site_pages import SITE, pages, source

import arcface_paddle

generated = pytest.importorskip("generated", reason="Sphinx is not installed: pip install -e '.[docs]'")
import raised  # noqa: E402  (found through site_pages)
import reference_commands  # noqa: E402
import reference_environment  # noqa: E402
import reference_errors  # noqa: E402
import reference_http  # noqa: E402
import reference_models  # noqa: E402
import reference_python  # noqa: E402
import reference_settings  # noqa: E402
import repository_files  # noqa: E402


def filled(page: str) -> str:
    return generated.fill(source("en", page), language="en")


def test_every_public_name_is_explained():
    page = filled("reference/python/index")
    for name in arcface_paddle.__all__:
        assert name == "__version__" or f":: arcface_paddle.{name}\n" in page, name


@pytest.mark.parametrize("room", reference_python.rooms())
def test_every_class_and_function_of_a_room_is_explained(room):
    page = filled(f"reference/python/{room}")
    modules = reference_python.modules_of(room)
    assert modules
    for module in modules:
        for name in reference_python.names_of(module):
            assert f"({reference_python.anchor_of(f'{module}.{name}')})=" in page, f"{module}.{name}"


COMMANDS = [command.page for command in reference_commands.commands()]


@pytest.mark.parametrize(
    "page", [*COMMANDS, pytest.param("benchmark", marks=pytest.mark.long)]
)  # the benchmarks import all that they compare
def test_every_flag_of_a_command_is_there_with_its_default(page):
    text = filled(f"reference/commands/{page}")
    parsers = [reference_commands.parser_of(page)]
    for parser in parsers:
        parsers += [inner for _, inner in reference_commands.subparsers_of(parser)]
        for action in reference_commands.shown_actions(parser):
            described = [part for part in text.split("::::{option} ") if set(action.option_strings) <= flags_of(part)]
            assert described, f"{parser.prog} {action.option_strings or action.dest}"
            default = reference_commands.default_of(action)
            assert not default or any(default in part for part in described), action.option_strings


def flags_of(part: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", part.partition("\n")[0]))


def test_every_route_and_every_document_of_the_service_is_there():
    page = filled("reference/http")
    routes = list(reference_http.routes())
    assert len(routes) > 20
    for method, path, _ in routes:
        assert f"### {method} {path}".replace("{", "\\{").replace("}", "\\}") in page
    for name, schema in reference_http.document()["components"]["schemas"].items():
        assert f"### {name}\n" in page
        assert all(f"`{field}`" in page for field in schema.get("properties", {})), name


def test_every_option_of_a_training_run_is_there():
    page = filled("reference/configuration")
    for option in reference_settings.options():
        assert f"| `{option.name}` |" in page, option.name


def test_every_field_of_every_settings_class_is_there():
    page = filled("reference/configuration")
    for path in reference_settings.CLASSES:
        module, _, name = path.rpartition(".")
        kind = getattr(importlib.import_module(f"arcface_paddle.{module}"), name)
        section = page.partition(f"`arcface_paddle.{path}`")[2].partition("\n### ")[0]
        assert all(f"| `{field.name}` |" in section for field in dataclasses.fields(kind)), path


def test_no_settings_class_is_forgotten():
    told = set(reference_settings.CLASSES)
    modules = {path.rpartition(".")[0] for path in told}
    for module in modules:
        for name in reference_python.names_of(f"arcface_paddle.{module}"):
            kind = getattr(importlib.import_module(f"arcface_paddle.{module}"), name)
            assert not dataclasses.is_dataclass(kind) or f"{module}.{name}" in told, f"{module}.{name}"


def test_every_environment_variable_is_there():
    told = {one["name"] for one in reference_environment.variables()}
    assert told == reference_environment.in_the_source()


def test_every_error_has_a_remedy_in_both_languages():
    messages = raised.messages()
    assert len(messages) > 1000
    without = sorted({message.file for message in messages if reference_errors.remedy_of(message) is None})
    assert not without, f"docs/site/remedies.yaml says nothing of the errors of {without}"
    for entry in reference_errors.remedies():
        assert len(entry["en"]) > 20 and len(entry["zh"]) > 8, entry
        assert re.search("[\u4e00-\u9fff]", entry["zh"]), entry


def test_every_remedy_is_of_an_error():
    used = {id(reference_errors.remedy_of(message)) for message in raised.messages()}
    assert not [entry["files"] for entry in reference_errors.remedies() if id(entry) not in used]


def test_every_room_with_errors_has_its_table():
    page = source("en", "reference/errors")
    assert re.findall(r"<!-- generated: errors (\w+) -->", page) == reference_errors.rooms()


def test_an_error_is_read_from_the_source_with_its_values_as_words():
    tree = 'def f(a, b):\n    raise ConfigError(f"a is {a.size:g} and {len(b)}; " "allowed: more")\n'
    import ast

    (message,) = raised._of_module(ast.parse(tree), "here.py", {"ConfigError"})
    assert message.text == "a is {size} and {b}; allowed: more"


def test_every_shipped_model_has_its_card_and_its_figures_are_of_models():
    page = source("en", "models")
    shipped = {name for name in reference_models.model_files.REGISTRY if reference_models.shipped_folder(name)}
    assert set(re.findall(r"<!-- generated: model-card (\w+) -->", page)) == shipped
    assert set(reference_models.figures()) <= set(reference_models.model_files.REGISTRY)


def test_links_of_included_files_lead_to_pages():
    there = set(pages("en"))
    assert set(repository_files.PAGES.values()) <= there
    for name in repository_files.PAGES:
        assert (repository_files.ROOT / name).exists()


def test_pages_of_the_repository_lead_to_pages_of_the_site():
    assert "[measured](/project/measured.md)" in repository_files.file("en", "VERIFY.md")
    assert "[实测](/project/measured.md)" in repository_files.file("zh", "docs/published_en.md", "docs/published_ch.md")


def test_every_generated_line_is_of_a_kind_that_is_known():
    for page in pages("en"):
        for kind in re.findall(r"<!-- generated: ([\w-]+)", source("en", page)):
            assert kind in generated.KINDS, f"{page}: {kind}"


@pytest.mark.long
def test_the_benchmarks_are_shown_under_the_words_that_start_them():
    text = filled("reference/commands/benchmark")
    assert "python tools/benchmark.py search [flags]" in text and "__main__" not in text


def test_every_drawing_is_used_and_says_its_words_in_both_languages():
    used = {name for page in pages("en") for name in re.findall(r"```\{drawing\} ([\w-]+)", source("en", page))}
    assert used == {path.stem for path in (SITE / "drawings").glob("*.svg")}
    for path in (SITE / "drawings").glob("*.svg"):
        for attributes, words in re.findall(r"<text([^>]*)>([^<]*)<", path.read_text(encoding="utf-8")):
            assert "data-zh=" in attributes or not re.search(r"[a-z]{4} [a-z]", words), f"{path.name}: {words}"


def test_a_plot_has_a_bar_for_each_value_as_long_as_the_value():
    import plots

    svg = plots.bars(["a", "b & c"], {"x": [1.0, 4.0], "y": [2.0, 0.0]})
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="17"', svg)]
    assert len(widths) == 4
    assert widths[2] / widths[0] == pytest.approx(4.0, rel=0.01) and widths[1] / widths[0] == pytest.approx(
        2.0, rel=0.01
    )
    assert "b &amp; c" in svg
    with pytest.raises(ValueError, match="5 columns"):
        plots.bars(["a"], {str(number): [1.0] for number in range(5)})


def test_a_plot_over_time_has_a_line_for_each_row_through_its_points():
    import plots

    svg = plots.lines("minutes", {"a & b": [(0.0, 0.0), (5.0, 30.0), (10.0, 20.0)], "c": [(0.0, 10.0), (10.0, 10.0)]})
    first, second = (
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline class="\w+" points="([^"]+)"', svg)
    )
    left, bottom = first[0]
    right = first[2][0]
    scale = (bottom - first[1][1]) / 30.0
    assert first[1] == pytest.approx(((left + right) / 2, bottom - 30 * scale))
    assert first[2] == pytest.approx((right, bottom - 20 * scale))
    assert second == [pytest.approx((left, bottom - 10 * scale)), pytest.approx((right, bottom - 10 * scale))]
    assert "a &amp; b" in svg and ">40</text>" in svg and ">30</text>" in svg, "the axis ends at a short number"
    with pytest.raises(ValueError, match="5 lines"):
        plots.lines("minutes", {str(number): [(0.0, 1.0)] for number in range(5)})


def test_every_file_of_the_benchmarks_is_shown_and_names_its_machine():
    used = set(re.findall(r"```\{plot\} (\w+)", source("en", "benchmarks")))
    assert used == {path.stem for path in (SITE / "benchmarks").glob("*.json")}
    for path in (SITE / "benchmarks").glob("*.json"):
        assert {"topic", "machine", "rows"} <= set(json.loads(path.read_text(encoding="utf-8")))
