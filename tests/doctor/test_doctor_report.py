"""The report's three faces: JSON document, text tables and the HTML page; settings and locations that they show."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from doctor_faults import jpeg, picture, write_clean

from arcface_paddle import __version__, images
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.doctor import document, findings, page, text
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.document import report_document
from arcface_paddle.doctor.examination import examine
from arcface_paddle.doctor.findings import KINDS, NOTE, PROBLEM, Finding, Ledger, VerificationRef
from arcface_paddle.doctor.location import Location, listed_name, locate, short_path
from arcface_paddle.doctor.page import write_report_page
from arcface_paddle.doctor.text import report_text
from arcface_paddle.errors import ConfigError

TOP_KEYS = {
    *("format", "version", "dataset", "problems", "examined", "seconds", "settings", "statistics", "counts", "findings")
}
FINDING_KEYS = {"detail", "score", "images", "image_count", "labels", "compare_with"}
STATISTICS_KEYS = {
    *("images", "identities", "num_classes", "readable", "broken", "images_per_identity"),
    *("images_per_identity_histogram", "sizes", "distinct_sizes", "encoded_bytes", "color_mean_rgb", "color_std_rgb"),
    *("middle_redder_than_blue", "middle_bluer_than_red", "exact_duplicate_surplus", "own_similarity"),
}


@pytest.fixture(scope="module")
def full_document(full_report):
    return report_document(full_report)


def test_document_has_its_published_keys_and_goes_through_json(full_document):
    assert set(full_document) == TOP_KEYS and full_document["format"] == 1
    assert set(full_document["statistics"]) == STATISTICS_KEYS
    assert json.loads(json.dumps(full_document, allow_nan=False)) == full_document
    for found in full_document["findings"].values():
        for finding in found:
            assert set(finding) - {"groups", "verification"} == FINDING_KEYS
            for image in finding["images"]:
                assert set(image) == {"index", "path", "line", "label"}
    assert full_document["version"] == __version__


def test_counts_of_the_document_agree_with_each_other(full_document, full_report):
    assert list(full_document["findings"]) == list(full_document["counts"])
    assert [kind for kind in KINDS if kind in full_document["counts"]] == list(full_document["counts"]), "their order"
    for kind, count in full_document["counts"].items():
        assert len(full_document["findings"][kind]) == count
    problems = sum(count for kind, count in full_document["counts"].items() if KINDS[kind].severity == PROBLEM)
    assert full_document["problems"] == problems == full_report.problems
    facts = full_document["statistics"]
    assert facts["readable"] + facts["broken"] == facts["images"] == full_document["examined"]
    assert sum(facts["images_per_identity_histogram"].values()) == facts["identities"]
    assert sum(facts["sizes"].values()) == facts["readable"]
    assert facts["exact_duplicate_surplus"] == 2


def test_document_says_what_was_looked_for(full_document):
    settings = full_document["settings"]
    assert settings["recogniser"] is True and settings["verification_sets"] == ["lfw_like"]
    assert settings["ignored"] == [] and settings["near_radius"] == 3
    assert set(vars(DoctorSettings())) <= set(settings)


def test_groups_of_a_split_identity_are_told(full_document):
    (split,) = full_document["findings"]["split_identity"]
    assert sum(split["groups"]) == split["image_count"] == len(split["images"]) == 4
    (rejected, *_) = full_document["findings"]["cluster_reject"]
    assert rejected["compare_with"] and "groups" not in rejected


def test_long_findings_are_cut_in_the_document_but_counted(full_report, monkeypatch):
    monkeypatch.setattr(document, "_IMAGES_LISTED", 3)
    finding = Finding("exact_duplicate_same", "many", tuple(range(9)))
    places = {index: Location(index, f"{index}.jpg", None, 0) for index in range(9)}
    shown = document.finding_document(finding, places)
    assert len(shown["images"]) == 3 and shown["image_count"] == 9


def test_file_names_that_are_not_utf8_can_be_written_as_json():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    shown = document.finding_document(Finding("missing", "gone", (0,)), {0: Location(0, name, 1, 0)})
    json.dumps(shown).encode("utf-8")
    assert shown["images"][0]["path"] == r"caf\udce9.jpg"


def test_facts_of_nothing_are_empty_and_not_wrong(tmp_path):
    (tmp_path / "label.txt").write_text("a.jpg\t0\n")
    report = examine(open_dataset(tmp_path))
    facts = report_document(report)["statistics"]
    assert facts["encoded_bytes"] == {"min": None, "median": None, "mean": None, "max": None}
    assert facts["color_mean_rgb"] is None and facts["own_similarity"] is None and facts["sizes"] == {}
    shown = report_text(report)
    assert "picture sizes" not in shown and "broken images" in shown
    write_report_page(report, tmp_path / "page.html")
    assert "No image could be read." in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_text_has_a_table_for_each_kind_and_ends_with_the_verdict(full_report):
    shown = report_text(full_report)
    for kind in full_report.ledger.kinds_found():
        word = "problem" if kind.severity == PROBLEM else "note"
        count = full_report.ledger.counts[kind.key]
        assert f"{kind.title}: {count:,} ({word}: {kind.key})\n{kind.advice}" in shown
    notes = sum(full_report.ledger.counts.values()) - full_report.problems
    assert shown.splitlines()[-1] == f"{full_report.problems} problems found; {notes} notes or ignored findings"
    assert "| similarity to own identity" in shown and "140x112" in shown


def test_text_counts_what_it_does_not_show(full_report):
    rejected = full_report.ledger.counts["cluster_reject"]
    assert rejected > 1
    shown = report_text(full_report, rows_per_kind=1)
    assert f"... and {rejected - 1} more (see the JSON or HTML report)" in shown
    assert max(map(len, shown.splitlines())) < 260


def test_text_of_one_finding_lists_few_places_and_labels():
    places = {index: Location(index, f"p{index}.jpg", 10 + index, index) for index in range(9)}
    where, labels, what = text._finding_row(Finding("near_duplicate_across", "nine", tuple(range(9))), places)
    assert where.split("\n") == ["p0.jpg (line 10)", "p1.jpg (line 11)", "p2.jpg (line 12)", "and 6 more"]
    assert labels == "0, 1, 2" and what == "nine"
    many = Finding("near_duplicate_across", "nine", (0,), tuple(range(7)))
    assert text._finding_row(many, places)[1] == "0, 1, 2, 3, ..."
    assert text._finding_row(Finding("label_gap", "gap", labels=(3, 5)), places)[0] == "-"


@pytest.mark.parametrize(("ignored", "count", "tail"), [((), 1, ""), (("missing",), 0, "; 1 note or ignored finding")])
def test_ignored_kinds_are_notes(tmp_path, ignored, count, tail):
    write_clean(tmp_path / "set", identities=3, shots=3)
    label_file = tmp_path / "set" / "label.txt"
    label_file.write_text(label_file.read_text() + "images/none.jpg\t0\n")
    report = examine(open_dataset(tmp_path / "set"), DoctorSettings(ignored=frozenset(ignored)))
    assert report.problems == count
    words = "1 problem found" if count else "no problems found"
    assert report_text(report).endswith(words + tail)
    assert ("(note: missing)" in report_text(report)) == bool(ignored)
    write_report_page(report, tmp_path / "page.html")
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert ('<span class="badge bad">problem<' in shown) == bool(count)


class Page(HTMLParser):
    """Collects tags, what they refer to, and the text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.pictures: list[bytes] = []
        self.words = ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "action", "data", "srcset", "poster"):
                if value.startswith("data:image/"):
                    self.pictures.append(base64.b64decode(value.split(",", 1)[1]))
                else:
                    self.references.append(value)

    def handle_data(self, data):
        self.words += data


@pytest.fixture(scope="module")
def shown_page(full_report, tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report_page(full_report, path)
    return Page(path.read_text(encoding="utf-8"))


def test_page_is_self_contained(shown_page):
    """Catches a script, a style sheet or a picture that another server would have to bring."""
    assert "script" not in shown_page.tags and "link" not in shown_page.tags and "iframe" not in shown_page.tags
    assert shown_page.references and all(reference.startswith("#") for reference in shown_page.references)
    assert "url(" not in shown_page.words and "@import" not in shown_page.words


def test_page_shows_every_kind_with_its_pictures(shown_page, full_report):
    kinds = full_report.ledger.kinds_found()
    assert {f"#{kind.key}" for kind in kinds} <= set(shown_page.references)
    for kind in kinds:
        assert kind.title in shown_page.words
    assert len(shown_page.pictures) > 40
    for content in shown_page.pictures:
        height, width = images.decode_crop(content).shape[:2]
        assert max(height, width) <= 112
    assert "cluster 0: label" in shown_page.words and "compare: label" in shown_page.words
    assert "lfw_like picture 0, pair 0" in shown_page.words


def test_page_shows_fewer_findings_when_asked(full_report, tmp_path, shown_page):
    write_report_page(full_report, tmp_path / "short.html", findings_per_kind=1)
    short = Page((tmp_path / "short.html").read_text(encoding="utf-8"))
    assert len(short.pictures) < len(shown_page.pictures)
    rejected = full_report.ledger.counts["cluster_reject"]
    assert f"... and {rejected - 1} more (see the JSON report)." in short.words


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", 'a&b;"quoted"\'s', "</td></table><script>"])
def test_names_of_people_and_files_are_text_on_the_page(tmp_path, name):
    folder = tmp_path / "set" / name.replace("/", "_")
    folder.mkdir(parents=True)
    for shot in range(2):
        (folder / f"{shot}.jpg").write_bytes(jpeg(picture(1, shot)))
    (folder / "<b>bold.jpg").write_bytes(b"broken")
    write_report_page(examine(open_dataset(tmp_path / "set")), tmp_path / "page.html")
    shown = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "script" not in shown.tags and "b" not in shown.tags and "<b>bold.jpg" in shown.words
    assert all(reference.startswith("#") for reference in shown.references)
    assert folder.name in shown.words


def test_groups_share_the_pictures_of_a_card():
    finding = Finding("split_identity", "x", tuple(range(12)), groups=(6, 4, 2))
    assert page._begin_of_groups(finding) == [
        ("cluster 0: ", (0, 1)),
        ("cluster 1: ", (6, 7)),
        ("cluster 2: ", (10, 11)),
    ]
    assert page._begin_of_groups(Finding("near_duplicate_same", "x", tuple(range(12)))) == [("", tuple(range(6)))]
    refs = tuple(VerificationRef("lfw", number) for number in range(5))
    assert page._verification_pictures(Finding("verification_image", "x", verification=refs)) == 1
    assert page._verification_pictures(Finding("verification_identity", "x", verification=refs)) == 3


def test_locations_of_a_label_file_count_its_lines(tmp_path):
    write_clean(tmp_path / "set", identities=3, shots=3)
    dataset = open_dataset(tmp_path / "set")
    lines = (tmp_path / "set" / "label.txt").read_text().splitlines()
    places = locate(dataset, [8, 0, 3, 3])
    assert list(places) == [0, 3, 8]
    for index, place in places.items():
        assert lines[place.line - 1] == f"images/{index:04d}.jpg\t{index // 3}" and place.label == index // 3
        assert str(place) == f"{place.path} (line {place.line})"
        assert listed_name(dataset, index) == short_path(dataset, index) == f"images/{index:04d}.jpg"
    assert locate(dataset, []) == {}


def test_locations_of_containers_are_numbers(tmp_path):
    write_clean(tmp_path / "set", identities=2, shots=2)
    source = open_dataset(tmp_path / "set")
    export_recordio(source, tmp_path / "recordio")
    pack_dataset(source, tmp_path / "packed")
    for name in ("recordio", "packed"):
        dataset = open_dataset(tmp_path / name)
        place = locate(dataset, [3])[3]
        assert place.line is None and place.label == 1 and str(place) == place.path
        assert listed_name(dataset, 3) == "3" and short_path(dataset, 3) == dataset.path_of(3)


def test_locations_of_a_folder_are_paths_without_lines(tmp_path):
    images.write_image(tmp_path / "anna" / "0.jpg", picture(0, 0))
    dataset = open_dataset(tmp_path)
    assert locate(dataset, [0])[0] == Location(0, str(tmp_path / "anna/0.jpg"), None, 0)
    assert short_path(dataset, 0) == "anna/0.jpg"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 8}, "image_size is 8; allowed: 16 to 4096"),
        ({"kin_radius": 12}, "kin_radius is 12; allowed: 0 to 11"),
        ({"verification_radius": -1}, "verification_radius is -1; allowed: 0 to 11"),
        ({"near_correlation": 1.01}, "near_correlation is 1.01; allowed: -1 to 1"),
        ({"dark_mean": 100, "bright_mean": 90}, "bright_mean is 90; allowed: 100 to 255"),
        ({"gray_chroma": -1}, "gray_chroma is -1; allowed: 0 to 255"),
        ({"cluster_cap": 1}, "cluster_cap is 1; allowed: 2 to 20000"),
        ({"match_similarity": float("nan")}, "match_similarity is nan"),
        ({"mislabel_margin": 2.5}, "mislabel_margin is 2.5; allowed: 0 to 2"),
        ({"merge_similarity": -2}, "merge_similarity is -2"),
        ({"embed_batch": 0}, "embed_batch is 0"),
        ({"max_listed": 0}, "max_listed is 0"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_settings_name_the_value_and_what_is_allowed(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        DoctorSettings(**values)


def test_settings_at_their_bounds_are_allowed():
    DoctorSettings(near_radius=0, kin_radius=11, cluster_distance=0, cluster_cap=2, sample=1, bright_mean=255)
    assert DoctorSettings().sample is None


def test_kinds_say_what_to_do_and_have_one_of_two_severities():
    assert {kind.severity for kind in KINDS.values()} == {PROBLEM, NOTE}
    for key, kind in KINDS.items():
        assert kind.key == key and kind.order in (-1, 0, 1)
        assert kind.advice.endswith(".") and kind.title[0].isupper() and len(kind.title) < 50
    assert [kind for kind in KINDS.values() if kind.severity == NOTE] == [KINDS["single_image"], KINDS["grayscale"]]


def test_ledger_of_equal_scores_keeps_those_that_came_first():
    ledger = Ledger(2)
    for index in range(5):
        ledger.add(Finding("cluster_reject", "equal", (index,), score=0.5))
        ledger.add(replace(Finding("mislabelled", "no score", (index,))))
    for kind in ("cluster_reject", "mislabelled"):
        assert [finding.samples for finding in ledger.listed(kind)] == [(0,), (1,)]
    assert [kind.key for kind in ledger.kinds_found()] == ["cluster_reject", "mislabelled"]
    assert findings.VerificationRef("lfw", 7).pair == 3
