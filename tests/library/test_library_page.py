"""The page of a library's groups, in a headless browser and without: as a file, with no server and no network."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from library_making import face_of, people_of, picture_of

from arcface_paddle import images
from arcface_paddle.errors import DataError
from arcface_paddle.library import face_sheets, page
from arcface_paddle.library.correction_files import read_corrections
from arcface_paddle.library.correction_rules import corrections_of
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.library.face_sheets import TILE_PX, FaceSheets
from arcface_paddle.library.page import write_page

HOSTILE = "</script><img src=x onerror=document.title='hit'>&amp;\u202e"
COLORS = [(200, 30, 30), (30, 180, 30), (40, 40, 220), (220, 200, 30), (20, 190, 190), (190, 30, 190)]
PHONE, DESK = (390, 844), (1280, 800)
COMMAND = "arcface-paddle people photos --corrections corrections.json"
KEPT = """
const done = arguments[arguments.length - 1], request = indexedDB.open("arcface-paddle", 1);
request.onsuccess = () => {
  const change = request.result.transaction("texts", "readwrite"), texts = change.objectStore("texts");
  const all = (%s);
  change.oncomplete = () => { request.result.close(); done(all.result); };
};
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> PeopleDocument:
    """Groups of 3, 2 and 2 faces, each person with a colour; an uncertain face and two that are alone."""
    root = tmp_path_factory.mktemp("pictures {data} <b>")
    pictures, faces = [], []
    for number, color in enumerate([0, 0, 0, 1, 1, 2, 2, 1, 3, 4]):
        name = f"{number} 图{HOSTILE[:9].replace('/', '')}.png"
        picture = np.full((120, 160, 3), 128, np.uint8)
        picture[20:80, 40:100] = COLORS[color]
        picture[0, 0] = number  # two pictures with the same bytes would be one
        images.write_image(root / name, picture)
        pictures.append(picture_of(root, name, size_wh=(160, 120), captured=datetime(2020, 1, 10 - number)))
        faces.append(face_of(pictures[-1], 0, (40, 20, 100, 80), row=number))
    groups = [("g1", HOSTILE, faces[:3]), ("g2", None, faces[3:5]), ("g3", None, faces[5:7])]
    return people_of(root, pictures, faces, groups=groups, uncertain=[(faces[7], [("g2", 0.45), ("g3", 0.3)])])


@pytest.fixture(scope="module")
def written(people, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    sheets = FaceSheets(folder / "faces")
    assert sheets.update(people.pictures, people.faces, root=people.root) == []
    births = {HOSTILE: date(1990, 12, 31)}
    write_page(folder / "people.html", people, sheets=sheets, command=COMMAND, births=births)
    return folder / "people.html"


@pytest.fixture
def shown(driver, written, tmp_path, request) -> Iterator[Any]:
    from chromium_page import Page

    shown = Page(driver, written.as_uri(), "")
    shown.resize(*getattr(request, "param", DESK))
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    driver.get(written.as_uri())
    shown.one("#tabs button")
    driver.execute_async_script(KEPT % "texts.clear(), texts.put('en', 'arcface-paddle.language')")
    driver.get(written.as_uri())
    shown.one("#tabs button")
    yield shown
    # The page of the test before asked whether to leave it, as its unsaved corrections had been thrown away.
    assert [one for one in shown.console() if "beforeunload" not in one["message"]] == []
    assert driver.title != "hit"


def saved(shown, folder: Path) -> dict[str, Any]:
    """Click on saving and return the file that the browser wrote."""
    shown.one("#save").click()
    target = folder / "corrections.json"
    shown.wait(target.is_file, "the file")
    return json.loads(target.read_text(encoding="utf-8"))


def counts(shown) -> list[int]:
    return [int(button.text.split()[-1]) for button in shown.all("#tabs button")]


def test_what_is_done_on_the_page_is_what_the_file_says(shown, people, tmp_path):
    a0, a1, a2, b0, b1, c0, c1, doubt, d0, e0 = (face.face_id for face in people.faces)
    assert counts(shown) == [3, 1, 2]
    field = shown.one("[data-group=g2] input[type=text]")
    field.send_keys("李雷\n")
    shown.one("[data-group=g2] input.pick").click()
    shown.one("[data-group=g3] input.pick").click()
    shown.click("Merge", inside="#selection")
    assert counts(shown) == [2, 1, 2]
    shown.one("[data-group=g1] button").click()
    shown.one(f"button.face[data-face='{a2}']").click()
    shown.click("Not this person", inside="#selection")
    assert shown.one("main input[type=date]").get_attribute("value") == "1990-12-31"
    shown.run(
        "const [one] = document.querySelectorAll('input[type=date]'); one.value = '2001-02-03'; "
        "one.dispatchEvent(new Event('change'))"
    )
    shown.one("#tabs [data-view=uncertain]").click()
    shown.one(f"[data-face-row='{doubt}'] button.primary").click()
    shown.one("#tabs [data-view=alone]").click()
    shown.one(f"button.face[data-face='{d0}']").click()
    shown.click("Unknown", inside="#selection")
    shown.one(f"button.face[data-face='{e0}']").click()
    shown.click("Name", inside="#selection")
    shown.one("#chooser input").send_keys("Grace <Hopper>\n")
    assert counts(shown) == [3, 0, 2]
    document = saved(shown, tmp_path)
    assert document["actions"] == [
        {"do": "name", "group": "g2", "name": "李雷"},
        {"do": "merge", "groups": ["g2", "g3"]},
        {"do": "not_person", "faces": [a2], "group": "g1"},
        {"do": "birth", "name": HOSTILE, "date": "2001-02-03"},
        {"do": "move", "faces": [doubt], "to": [b0, b1, c0, c1]},
        {"do": "unknown", "faces": [d0]},
        {"do": "name", "faces": [e0], "name": "Grace <Hopper>"},
    ]
    said = corrections_of(read_corrections(tmp_path / "corrections.json", people.grouping).actions)
    assert said.names == {**dict.fromkeys([b0, b1, c0, c1, doubt], "李雷"), e0: "Grace <Hopper>"}
    assert said.not_person == ((a2, HOSTILE),)
    assert said.cannot_link == tuple(sorted(tuple(sorted(pair)) for pair in ((a2, a0), (a2, a1))))
    assert said.unknown == (d0,)
    assert COMMAND in shown.text("#saving")


def test_split_and_move_and_undo_and_another_visit(shown, people, driver, tmp_path):
    faces = [face.face_id for face in people.faces]
    shown.one("[data-group=g1] button").click()
    shown.one(f"button.face[data-face='{faces[0]}']").click()
    shown.click("Split off", inside="#selection")
    assert counts(shown) == [4, 1, 2]
    shown.one(f"button.face[data-face='{faces[1]}']").click()
    shown.click("Move to", inside="#selection")
    shown.one("#chooser .choice", text="No name yet").click()
    shown.wait(lambda: any("move" in text for text in driver.execute_async_script(KEPT % "texts.getAll()")), "the text")
    driver.get(driver.current_url)  # another visit: what was done is there again
    shown.one("#tabs button")
    assert counts(shown) == [4, 1, 2]
    assert "3 corrections of your last visit" in shown.text("main .empty")
    shown.one("#undo").click()
    shown.one("#undo").click()
    assert saved(shown, tmp_path)["actions"] == [{"do": "split", "faces": [faces[0]], "from": "g1"}]
    shown.one("#undo").click()
    assert counts(shown) == [3, 1, 2]
    assert shown.one("#undo").get_attribute("disabled")


def test_corrections_are_there_again_at_every_visit(shown, driver):
    """Of what this page kept in ``localStorage`` before, Chromium had lost the newest at every third visit."""
    name = "const field = document.querySelector('[data-group=g2] input[type=text]'); field.value = 'name %d'; "
    for visit in range(1, 9):
        shown.run(name % visit + "field.dispatchEvent(new Event('change'))")
        kept = shown.wait(lambda: [one for one in driver.execute_async_script(KEPT % "texts.getAll()") if "do" in one])
        assert len(json.loads(kept[0])) == visit
        driver.refresh()
        assert f"{visit} correction" in shown.one("main .empty").text


def test_without_a_database_the_page_works_and_keeps_what_it_can(shown, driver):
    stored = "return Object.values(localStorage).join()"
    for reason in (
        "throw new Error('closed')",
        "const request = {}; setTimeout(() => request.onerror()); return request",
    ):
        source = "Object.defineProperty(window, 'indexedDB', { value: { open() { " + reason + " } } })"
        added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        driver.refresh()
        shown.one("[data-group=g2] input[type=text]").send_keys("Ada\n")
        shown.wait(lambda: '"name":"Ada"' in shown.run(stored), "the text")
        shown.one("#undo").click()
        assert "Ada" not in shown.run(stored)
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_a_database_that_goes_away_is_not_waited_for(shown):
    shown.run("IDBDatabase.prototype.transaction = () => { throw new Error('gone') }")
    shown.one("[data-group=g2] input[type=text]").send_keys("Ada\n")
    shown.wait(lambda: '"name":"Ada"' in shown.run("return Object.values(localStorage).join()"), "the text")
    assert shown.run("return dispatchEvent(new Event('beforeunload', { cancelable: true }))"), "asks whether to leave"
    shown.one("#undo").click()


def test_the_corrections_can_be_copied(shown, driver):
    granted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    driver.execute_cdp_cmd("Browser.grantPermissions", granted)
    shown.one("[data-group=g2] input[type=text]").send_keys("Ada\n")
    shown.one("#copy").click()
    shown.wait(lambda: "copied" in shown.run("return document.getElementById('status').textContent"), "the copy")
    copied = driver.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], (e) => arguments[0](String(e)))"
    )
    assert json.loads(copied)["actions"] == [{"do": "name", "group": "g2", "name": "Ada"}]


def test_a_name_that_is_there_already_joins_the_two(shown, tmp_path):
    shown.one("[data-group=g2] input[type=text]").send_keys("Ada\n")
    shown.one("[data-group=g3] input[type=text]").send_keys("Ada\n")
    assert counts(shown)[0] == 2
    assert saved(shown, tmp_path)["actions"][-1] == {"do": "merge", "groups": ["g2", "g3"]}


def test_it_works_by_keyboard(shown, driver):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        ActionChains(driver).send_keys(*keys).perform()

    press("/", "HOSTILE nobody")
    assert "No group matches" in shown.text("main")
    shown.one("#search").clear()
    shown.one("#search").send_keys("onerror", Keys.TAB)
    assert len(shown.all("main [data-group]")) == 1
    shown.one("[data-group=g1] button").send_keys(Keys.ENTER)
    shown.one("button.face").send_keys(Keys.SPACE)
    press(Keys.ARROW_RIGHT, Keys.SPACE)
    assert "2 selected" in shown.text("#selection")
    press(Keys.ESCAPE)
    assert shown.text("#selection") == ""
    press(Keys.ESCAPE)
    assert len(shown.all("main [data-group]")) == 1


@pytest.mark.parametrize("shown", [PHONE, DESK], ids=["phone", "desk"], indirect=True)
def test_it_fits_the_screen_and_a_screen_reader_in_both_languages(shown, people):
    for _ in range(2):
        for view in ("groups", "uncertain", "alone"):
            shown.one(f"#tabs [data-view={view}]").click()
            assert shown.run("return document.documentElement.scrollWidth <= innerWidth")
            assert shown.nameless() == []
            small = [one.text for one in shown.all("main button:not(.face), footer button") if one.size["height"] < 40]
            assert small == []
        shown.one("#language").click()
    shown.one("#tabs [data-view=groups]").click()
    assert shown.one("[data-group=g1] input[type=text]").get_attribute("value") == HOSTILE


@pytest.mark.parametrize("embedded", [True, False], ids=["in the page", "beside it"])
def test_faces_are_shown_and_nothing_is_fetched(people, written, driver, monkeypatch, embedded):
    from chromium_page import Page

    if not embedded:
        monkeypatch.setattr(page, "EMBEDDED_BYTES", 0)
    target = written.with_name("other.html")
    write_page(target, people, sheets=FaceSheets(written.parent / "faces"), command=COMMAND)
    shown = Page(driver, target.as_uri(), "")
    shown.resize(*DESK)
    driver.get(target.as_uri())
    for group, color in (("g1", 0), ("g2", 1), ("g3", 2)):
        face = shown.one(f"[data-group={group}] .face")
        shown.wait(lambda face=face: face.value_of_css_property("background-image") != "none")
        shown.wait(lambda face=face, color=color: _near(face, COLORS[color]), f"colour of {group}")
    assert shown.hosts() <= {"file://"}
    assert list(shown.console()) == []
    assert ("data:" not in target.read_text(encoding="utf-8").split("</style>")[1]) or embedded


def _near(face: Any, color: tuple[int, int, int]) -> bool:
    screen = cv2.imdecode(np.frombuffer(face.screenshot_as_png, np.uint8), 1)
    middle = screen[screen.shape[0] // 2, screen.shape[1] // 2, ::-1]
    return bool(np.abs(middle.astype(int) - color).max() < 25)


def test_the_page_holds_no_markup_of_names_and_its_policy_knows_its_script(written):
    text = written.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "<title>pictures {data} &lt;b&gt;" in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    script = text.rsplit("<script>", 1)[1].rsplit("</script>", 1)[0]
    assert page._source(script) in policy
    assert not re.search(r"(?:https?:)?//[\w-]+\.\w+", script)


def test_the_face_of_a_near_duplicate_is_shown_once(people):
    pictures, faces = people.pictures, people.faces
    assert page.seen_twice(people) == set()
    changed = {1: 0, 8: 9, 4: 5}  # one of g1 of one of g1; two that are alone; one of g2 of one of g3
    copies = [
        dataclasses.replace(one, duplicate_of=pictures[changed[at]].sha256) if at in changed else one
        for at, one in enumerate(pictures)
    ]
    twice = page.seen_twice(dataclasses.replace(people, pictures=tuple(copies)))
    assert twice == {faces[1].face_id, faces[8].face_id}


def test_both_languages_say_the_same():
    script = (Path(page.__file__).parent / "assets" / "people.js").read_text(encoding="utf-8")
    blocks = re.findall(r"\n  (?:en|zh): \{\n(.*?)\n  \},", script, re.DOTALL)
    keys = [re.findall(r"(?:^|, )\s*(\w+): (?=[\"`(])", block, re.MULTILINE) for block in blocks]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    used = set(re.findall(r"\bt\(\"(\w+)\"", script))
    assert used <= set(keys[0])


def test_faces_keep_their_places_and_only_new_ones_are_read(people, tmp_path, monkeypatch):
    first = FaceSheets(tmp_path)
    first.update(people.pictures, people.faces[:4], root=people.root)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("*.jpg")}
    read = []
    decode = images.read_image
    monkeypatch.setattr(
        face_sheets.images, "read_image", lambda path, **more: read.append(path) or decode(path, **more)
    )
    second = FaceSheets(tmp_path)
    second.update(people.pictures, people.faces, root=people.root)
    assert len(read) == 6
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert second.places.keys() == {face.face_id for face in people.faces}
    FaceSheets(tmp_path).update(people.pictures, people.faces, root=people.root)
    assert len(read) == 6
    (tmp_path / "index.json").write_text("{")
    assert FaceSheets(tmp_path).places == {}


def test_what_was_cut_before_an_interruption_is_kept(people, tmp_path, monkeypatch):
    monkeypatch.setattr(face_sheets, "TILES", 2)
    monkeypatch.setattr(face_sheets, "_PICTURES_AT_ONCE", 1)

    def interrupted(pictures):
        yield from pictures[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FaceSheets(tmp_path).update(people.pictures, people.faces, root=people.root, progress=interrupted)
    assert len(FaceSheets(tmp_path).places) == 4
    again = FaceSheets(tmp_path)
    again.update(people.pictures, people.faces, root=people.root)
    assert len(again.places) == len(people.faces)


def test_a_picture_that_is_gone_is_said_and_a_full_disk_is_one_line(people, tmp_path, monkeypatch):
    gone = picture_of(Path(people.root), "gone.png", size_wh=(10, 10))
    problems = FaceSheets(tmp_path).update([gone], [face_of(gone, 0, (0, 0, 5, 5))], root=people.root)
    assert [problem.endswith("gone.png: no such file") for problem in problems] == [True]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(face_sheets.files, "write_bytes", full)
    with pytest.raises(DataError, match="cannot write faces: No space left on device"):
        FaceSheets(tmp_path).update(people.pictures, people.faces, root=people.root)


@pytest.mark.parametrize("box", [(-20, -20, 30, 30), (90, 40, 130, 70), (0, 0, 120, 60), (5, 5, 5, 5)])
def test_a_tile_is_always_whole(box):
    tile = face_sheets.cut_face(np.full((60, 120, 3), 7, np.uint8), np.array(box, np.float32))
    assert tile.shape == (TILE_PX, TILE_PX, 3)
    assert (tile == 7).all()
