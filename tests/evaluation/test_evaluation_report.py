from __future__ import annotations

import base64
import doctest
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.evaluation import report
from arcface_paddle.evaluation.documents import identification_document
from arcface_paddle.evaluation.identification import IdentificationResult
from arcface_paddle.evaluation.identification_report import (
    identification_report_document,
    identification_rows,
    template_report_document,
    template_rows,
    write_identification_report,
    write_template_report,
)
from arcface_paddle.evaluation.identification_run import ModelIdentification
from arcface_paddle.evaluation.ijb import TemplateSearch, TemplateVerification
from arcface_paddle.evaluation.ijb_run import ModelTemplates
from arcface_paddle.evaluation.metrics import ConfidenceInterval, OperatingPoint
from arcface_paddle.evaluation.plots import Scores, cmc_figure, score_figure
from arcface_paddle.evaluation.report import (
    ModelResults,
    far_text,
    percent,
    report_document,
    val_text,
    write_report,
)
from arcface_paddle.evaluation.verification import ValidationRate, verify
from arcface_paddle.reports import html
from arcface_paddle.reports.figures import png_bytes

sys.path.insert(0, str(Path(__file__).parent))
import published_protocol as twin

pytest.importorskip("matplotlib")


def set_of(name, pairs, *, genuine=None, noise=1.0):
    features, mirrored, issame = twin.random_set(pairs, 16, seed=pairs, genuine=genuine, noise=noise)
    gray = [images.encode_image(np.full((112, 112, 3), i % 256, dtype=np.uint8)) for i in range(2 * pairs)]
    return VerificationSet(name, gray, issame), verify(features, mirrored, issame, name=name)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The report of two models on odd sets, of which the second saw one only."""
    folder = tmp_path_factory.mktemp("several") / "report"
    sets, results = {}, []
    for name, pairs, genuine in (("lfw", 300, None), ("same_only", 20, np.ones(20)), ("<b>", 12, None)):
        sets[name], result = set_of(name, pairs, genuine=genuine)
        results.append(result)
    models = [ModelResults("one", "a/b", results), ModelResults("two $x$ <i>", "c", results[:1])]
    return write_report(folder, models, sets, title="A <title>").read_text(), folder, models


def test_report_of_several_models_and_odd_sets(several):
    page, folder, models = several
    assert "<b>" not in page
    assert "<i>" not in page
    assert "A &lt;title&gt;" in page
    assert page.count("data:image/png") == 3
    document = json.loads((folder / "report.json").read_text())
    assert document == json.loads(json.dumps(report_document(models)))
    assert document["models"][0]["sets"][1]["auc"] is None
    assert (folder / "report.png").stat().st_size > 10_000


def test_hardest_pairs_are_shown_first(tmp_path):
    pictures, result = set_of("lfw", 60, noise=1.5)
    page = write_report(tmp_path, [ModelResults("m", "", [result])], {"lfw": pictures}, title="t").read_text()
    genuine = np.flatnonzero(result.issame)
    hardest = genuine[np.argmin(result.similarities[genuine])]
    assert page.index(f"pair {hardest}: {result.similarities[hardest]:.3f}") < page.index("Two persons")
    impostor = np.flatnonzero(~result.issame)
    nearest = impostor[np.argmax(result.similarities[impostor])]
    first = page.split("Two persons, most similar")[1].split("<figcaption>")[1]
    assert first.startswith(f"pair {nearest}: ")
    for part, kind in zip(page.split("One person, least similar")[1].split("Two persons, most similar"), (True, False)):
        shown = [caption.split("</figcaption>")[0] for caption in part.split("<figcaption>")[1:]]
        order = np.argsort(np.where(kind, 1, -1) * result.similarities + 9 * (result.issame != kind), kind="stable")[:8]
        right = (result.similarities[order] >= result.best_threshold) == kind
        words = [f", {'right' if one else 'wrong'}" for one in right]
        assert shown == [f"pair {p}: {result.similarities[p]:.3f}{word}" for p, word in zip(order, words)]
    both = np.concatenate([pictures.decode(2 * hardest), pictures.decode(2 * hardest + 1)], axis=1)
    assert html.image(both, alt="").split('"')[1] in page


def test_the_tables_of_a_report(several):
    page, _, models = several
    cells, result = cells_of(page), models[0].results[0]
    accuracy = f"{percent(result.accuracy.mean)} ± {100 * result.accuracy.std:.2f}"
    figures = [f"{result.auc:.5f}", percent(result.equal_error_rate), f"{result.best_threshold:.3f}"]
    assert ["one", "lfw", "300", accuracy, f"{result.xnorm:.4f}", "too few pairs", *figures] in cells
    (left_out,) = [row[6:] for row in cells if row[:3] == ["one", "same_only", "20"] and len(row) == 9]
    assert left_out == ["&ndash;"] * 3
    rates = [report.point_text(point) for point in result.operating_points]
    assert ["two $x$ &lt;i&gt;", "lfw", str(result.impostors), *rates] in cells
    assert ["one", "a/b"] in cells and ["two $x$ &lt;i&gt;", "c"] in cells
    assert page.count('width="1400"') == 3 and page.count("Hardest pairs for two") == 1
    drawn_at = [base64.b64decode(one) for one in re.findall(r"data:image/png;base64,([^\"]*)", page)]
    assert [images.decode_image(one).shape[1] for one in drawn_at] == [1400] * 3


def test_long_curves_are_thinned_without_losing_their_ends():
    generator = np.random.default_rng(0)
    issame = generator.random(50_000) < 0.5
    scores = Scores(generator.normal(0.4 * issame, 0.15), issame)
    curve = scores.curve
    assert len(curve.far) < 2500
    assert (curve.far[0], curve.tar[0]) == (0, 0)
    assert (curve.far[-1], curve.tar[-1]) == (1, 1)
    lowest = curve.far[curve.far > 0].min()
    assert lowest == pytest.approx(1 / np.count_nonzero(~issame))
    assert png_bytes(score_figure({"s": {"m": scores}})).startswith(b"\x89PNG")


def drawn(figure):
    """Lay a figure out, so that its parts know where they are."""
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("models", [1, 9])
def test_legends_cover_no_curve(models):
    _, result = set_of("lfw", 60)
    scores = {f"model_{number}": Scores(result.similarities, result.issame) for number in range(models)}
    figure = drawn(score_figure({"lfw": scores, "again": scores}))
    charts = [axes.get_window_extent() for axes in figure.axes]
    beside = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    (above,) = figure.legends
    assert [text.get_text() for text in above.get_texts()] == list(scores)
    assert [text.get_text() for one in beside for text in one.get_texts()] == ["same person", "strangers"] * 2
    for legend in (*beside, above):
        place = legend.get_window_extent()
        assert not any(place.overlaps(chart) for chart in charts)
        assert place.x1 <= figure.bbox.x1 and place.y1 <= figure.bbox.y1


@pytest.mark.parametrize("seed", range(5))
def test_ticks_are_at_round_numbers(seed):
    generator = np.random.default_rng(seed)
    issame = np.arange(200) % 2 == 0
    scores = Scores(generator.normal(0.4 * issame, generator.uniform(0.01, 0.3)), issame)
    for axes in drawn(score_figure({"s": {"m": scores}})).axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "linear":
                step = np.diff(axis.get_ticklocs())[0]
                assert round(step / 10 ** np.floor(np.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_cmc_figure_without_open_set_points():
    from arcface_paddle.evaluation.identification import identification_result, rank_probes

    embeddings = np.eye(6)
    ranking = rank_probes(embeddings, np.arange(6), embeddings, np.arange(6))
    result = identification_result(ranking, name="s", people=6)
    figure = cmc_figure({"m": result})
    assert png_bytes(figure).startswith(b"\x89PNG")
    ticks = figure.axes[0].xaxis.get_ticklocs()
    assert np.array_equal(ticks, ticks.round())  # there is no rank 2.5


def test_examples_in_docstrings():
    assert doctest.testmod(report).failed == 0


def val_of(**changes):
    return ValidationRate(
        **{"val": 0.8312, "val_std": 0.0, "far": 9e-4, "far_target": 1e-3, "impostors": 2700, **changes}
    )


def test_val_is_shown_with_the_far_that_was_realised():
    assert val_text(val_of()) == "83.12 % (FAR 0.9e-3)"
    assert val_text(val_of(far=0.0243)) == "83.12 % (FAR 24.3e-3)"
    assert val_text(val_of(far=0.79)) == "83.12 % (FAR 0.79)"
    assert val_text(val_of(far=0.79, impostors=90)) == "too few pairs"
    assert val_text(val_of(val=None)) == "no genuine pairs"


def test_val_that_means_nothing_is_in_no_document_and_on_no_page(tmp_path):
    pictures, result = set_of("lfw", 60, noise=1.5)
    assert result.validation_rate.val is not None
    models = [ModelResults("m", "", [result])]
    figures = report_document(models)["models"][0]["sets"][0]["val_at_far"]
    assert (figures["val"], figures["val_std"], figures["far"]) == (None, None, None)
    assert figures["remark"].startswith("too few pairs: ")
    page = write_report(tmp_path, models, {"lfw": pictures}, title="t").read_text()
    assert f"<td>{percent(result.validation_rate.val)}" not in page
    assert "<td>too few pairs</td>" in page


def test_val_of_enough_pairs_is_in_the_document():
    features, mirrored, issame = twin.random_set(2500, 16, seed=2500)
    result = verify(features, mirrored, issame, name="lfw")
    figures = report_document([ModelResults("m", "", [result])])["models"][0]["sets"][0]["val_at_far"]
    assert figures["val"] == result.validation_rate.val
    assert 0 <= figures["far"] < 5e-3
    assert figures["remark"] == ""


def test_texts():
    assert percent(0.99617) == "99.62 %"
    assert far_text(1e-3) == "FAR 1e-3"
    assert far_text(1e-2, rate="FPIR") == "FPIR 1e-2"


def test_a_row_of_a_search_says_ranks_and_what_strangers_cost():
    interval = ConfidenceInterval(0.4, 0.6)
    points = (OperatingPoint(0.1, 9, 20, tar=0.75, tar_interval=ConfidenceInterval(0.5, 0.9)),)
    cmc = np.array([0.5, 0.625, 0.75])
    results = [IdentificationResult("set", 3, 8, unmated, cmc, interval, points) for unmated in (20, 0)]
    head, rows = identification_rows([("one", results[0]), ("other", results[1])])
    assert head == ["model", "set", "people", "probes", "rank-1", "rank-5", "rank-10", far_text(0.1, rate="FPIR")]
    with_strangers = [report.point_text(points[0])]
    shared = [f"{percent(0.5)} [40.0, 60.0]", percent(0.75), percent(0.75)]
    assert rows[0] == ["one", "set", "3", "8 + 20 strangers", *shared, *with_strangers]
    assert rows[1] == ["other", "set", "3", "8 + 0 strangers", *shared, "no strangers"]


POINTS = (
    OperatingPoint(0.1, 9, 20, 0.5, 0.75, ConfidenceInterval(0.5, 0.9), 2, ConfidenceInterval(0.0, 0.1)),
    OperatingPoint(0.01, 9, 20),
)


def found_of(people, *, name="set", unmated=20):
    cmc = np.linspace(0.5, 1, people)
    return IdentificationResult(name, people, 8, unmated, cmc, ConfidenceInterval(0.4, 0.6), POINTS)


def test_a_search_as_a_document():
    document = identification_document(found_of(120))
    assert [document[key] for key in ("set", "people", "mated_probes", "unmated_probes")] == ["set", 120, 8, 20]
    assert document["rank"] == {str(k): pytest.approx(0.5 + 0.5 * (k - 1) / 119) for k in (1, 5, 10, 20, 50)}
    assert document["cmc"] == np.linspace(0.5, 1, 120)[:100].tolist()
    assert document["rank_1_interval"] == {"low": 0.4, "high": 0.6}
    assert [(one["tar"], one["remark"] == "") for one in document["tpir_at_fpir"]] == [(0.75, True), (None, False)]
    assert list(identification_document(found_of(10))["rank"]) == ["1", "5", "10"]


def templates_of(*, auc=0.987654):
    similarities, issame = np.linspace(0, 1, 20), np.arange(20) >= 10
    one = TemplateVerification("IJBC 1:1 N1D1F1", 10, 10, auc, POINTS, (0.8125, 0.5), similarities, issame)
    search = TemplateSearch(found_of(3, name="G1+G2", unmated=0), {"G1": found_of(2, name="G1")})
    return ModelTemplates("m", "from here", [one], [search])


def test_a_row_of_templates_says_the_published_figure_behind_its_own():
    head, rows = template_rows([templates_of(), templates_of(auc=None)])
    assert head == ["model", "set", "AUC", "FAR 1e-1", "FAR 1e-2"]
    shown = [f"{report.point_text(POINTS[0])} (81.25)", "too few pairs"]
    assert rows == [["m", "IJBC 1:1 N1D1F1", auc, *shown] for auc in ("0.98765", "-")]


def cells_of(page):
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]


def test_the_report_of_templates_has_both_protocols(tmp_path):
    entry = templates_of()
    path = write_template_report(tmp_path / "report", [entry], title="t")
    page, document = path.read_text(), json.loads((tmp_path / "report" / "report.json").read_text())
    assert document == json.loads(json.dumps(template_report_document([entry]))) and document["format"] == 1
    (model,) = document["models"]
    assert (model["model"], model["description"]) == ("m", "from here")
    (one,) = model["one_to_one"]
    assert [one[key] for key in ("set", "genuine_pairs", "impostor_pairs", "auc")] == [
        entry.verifications[0].name,
        10,
        10,
        0.987654,
    ]
    assert [point["published_tar"] for point in one["tar_at_far"]] == [0.8125, 0.5]
    (search,) = model["one_to_many"]
    assert search["closed"]["set"] == "G1+G2" and search["open"]["G1"]["set"] == "G1"
    for row in (*template_rows([entry])[1], *identification_rows([("m", entry.searches[0].closed)])[1]):
        assert row in cells_of(page)
    assert ["m", "from here"] in cells_of(page) and page.count('width="1400"') == 1


def test_the_report_of_a_search(tmp_path):
    entry = ModelIdentification("m", "from there", found_of(12))
    page = write_identification_report(tmp_path, [entry], title="t").read_text()
    document = json.loads((tmp_path / "report.json").read_text())
    assert document == json.loads(json.dumps(identification_report_document([entry]))) and document["format"] == 1
    assert document["models"][0]["people"] == 12 and document["models"][0]["model"] == "m"
    assert identification_rows([("m", entry.result)])[1][0] in cells_of(page)
    assert ["m", "from there"] in cells_of(page) and page.count('width="1400"') == 1
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
