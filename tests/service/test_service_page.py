"""The web page in a headless browser, before a real service with the demonstration's people.

On a telephone's and a desk's screen. After each test: nothing was complained of in the console, and nothing came from
another host.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")

from chromium_page import Page, open_browser, write_camera_film, write_moving_film  # noqa: E402

from arcface_paddle.pipeline.gallery import GalleryEntry  # noqa: E402
from arcface_paddle.service.app import create_app  # noqa: E402
from arcface_paddle.service.gallery_store import NewFace, open_people_store  # noqa: E402
from arcface_paddle.service.inference import FaceModels  # noqa: E402
from arcface_paddle.service.keys import KEYS, KeyFile  # noqa: E402
from arcface_paddle.service.service_settings import ServiceSettings  # noqa: E402
from arcface_paddle.service.serving import address_of, open_socket  # noqa: E402

ROOT = Path(__file__).parents[2]
QUERIES = ROOT / "demo" / "queries"
PHONE, DESK = (375, 812), (1280, 800)
both_sizes = pytest.mark.parametrize("page", [PHONE, DESK], ids=["phone", "desk"], indirect=True)
on_a_phone = pytest.mark.parametrize("page", [PHONE], ids=["phone"], indirect=True)
on_a_desk = pytest.mark.parametrize("page", [DESK], ids=["desk"], indirect=True)
COUNT_PIXELS = """
const canvas = document.querySelector("canvas");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
const counts = [0, 0];
for (let at = 0; at < data.length; at += 4) {
  arguments[0].forEach((colour, i) => (counts[i] += colour.every((value, c) => Math.abs(data[at + c] - value) < 3)));
}
return counts;
"""
HTML_NAME = "<img src=x onerror=window.hit=1><b>Mallory</b>\u202eevil"
SHOWN_NAME = HTML_NAME.replace("\u202e", r"\u202e")  # or what stands behind it would be read backwards


def run_service(settings: ServiceSettings, models: FaceModels) -> Iterator[str]:
    """Serve on a free port; yields the address."""
    app = create_app(settings, models=models)
    listening = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http="h11", ws="none", loop="asyncio"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield address_of(listening)
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def settings(tmp_path_factory, demo_index) -> ServiceSettings:
    gallery = shutil.copy(demo_index, tmp_path_factory.mktemp("service") / "gallery.index")
    return ServiceSettings(gallery, keep_unknown=True, keep_crops=True, workers=1)


@pytest.fixture(scope="module")
def address(settings, models) -> Iterator[str]:
    yield from run_service(settings, models)


@pytest.fixture(scope="module")
def key(address, settings) -> str:
    return KeyFile(settings.state_folder / KEYS).add("the page", role="write")


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator[Any]:
    film = tmp_path_factory.mktemp("camera") / "obama.y4m"
    write_camera_film(QUERIES / "obama_blue_room.jpg", film)
    browser = open_browser(film)
    yield browser
    browser.quit()


@pytest.fixture
def page(request, driver, address, key) -> Iterator[Page]:
    page = Page(driver, address, key)
    page.resize(*request.param)
    yield page
    complaints = [entry for entry in page.console() if entry["source"] != "network"]  # a refusal is no fault
    assert complaints == []
    assert page.hosts() <= {page.address}
    assert page.run("return document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    assert page.run("return window.hit") is None


def names(page: Page) -> list[str]:
    return [row.text.splitlines()[1] for row in page.all(".beside .face")]


def people(page: Page) -> list[str]:
    return [row.text for row in page.all(".people .row strong")]


@both_sizes
def test_people_in_a_picture_are_found_named_and_listed(page):
    page.open("recognise")
    assert "Choose a picture" in page.text(".empty")
    page.give(QUERIES / "group.jpg")
    page.wait(lambda: len(page.all(".beside .face")) == 4)
    assert sorted(names(page)) == ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"]
    row = next(row.text for row in page.all(".beside .face") if row.text.splitlines()[1] == "Joe Biden")
    similarity, probability = re.search(r"similarity (\S+) · probability (\S+)\s%", row).groups()
    assert 0.5 < float(similarity) <= 1 and float(probability) > 90
    canvas = page.one("canvas")
    assert canvas.get_attribute("aria-label").startswith("4 faces: Barack Obama, ")
    assert page.run("return document.getElementById('status').textContent") == canvas.get_attribute("aria-label")
    colours = [[0x12, 0xB3, 0xA6], [0xFF, 0xB2, 0x24]]  # boxes of people who are known, and who are not
    assert min(page.driver.execute_script(COUNT_PIXELS, colours)) > 500
    assert page.nameless() == []


@both_sizes
def test_a_person_is_enrolled_recognised_and_deleted_and_a_name_is_never_markup(page):
    page.open("people")
    page.wait(lambda: people(page) == ["Barack Obama", "Grace Hopper", "Joe Biden"])
    page.click("Enrol a person")
    field = page.one("dialog input:not([type=file])")
    assert page.driver.switch_to.active_element == field
    field.send_keys(HTML_NAME)
    page.give(QUERIES / "stranger_collins.jpg", inside="dialog")
    page.click("Enrol a person", inside="dialog")
    page.one(".detail h2", text=SHOWN_NAME)
    assert page.one(".detail h3").text == "1 face"
    page.go("recognise")
    page.give(QUERIES / "stranger_collins.jpg")
    page.wait(lambda: names(page) == [SHOWN_NAME])
    page.go("people")
    page.click("Delete…", inside=".detail .actions")
    assert SHOWN_NAME in page.one("dialog h2").text
    page.click("Delete", inside="dialog .actions")
    page.wait(lambda: not page.all("dialog"))
    page.wait(lambda: people(page) == ["Barack Obama", "Grace Hopper", "Joe Biden"])
    assert page.driver.find_elements("css selector", "main b, main img[src=x]") == []


@both_sizes
def test_two_pictures_are_compared(page):
    page.open("compare")
    assert "Choose two pictures" in page.text(".empty")
    page.give(QUERIES / "obama_blue_room.jpg", index=0)
    page.give(QUERIES / "obama_speech_2009.jpg", index=1)
    page.one(".verdict", text="The same person")
    facts = dict(zip((e.text for e in page.all(".outcome dt")), (e.text for e in page.all(".outcome dd"))))
    assert float(facts["Similarity"]) > float(facts["Threshold"]) > 0 and facts["Probability of one person"].endswith(
        "%"
    )
    page.give(QUERIES / "biden_relit.jpg", index=1)
    page.one(".verdict", text="Different people")


@on_a_phone
def test_without_a_key_the_service_says_so_and_a_key_can_be_entered(page):
    page.open("recognise", key="-")
    page.give(QUERIES / "obama_blue_room.jpg")
    alert = page.one("[role=alert] p")
    assert alert.text == "a valid key is needed: send 'Authorization: Bearer KEY' Enter an API key"
    page.one("[role=alert] a").click()
    page.one("h1", text="Gallery and settings")
    field = page.one("input[type=password]")
    field.clear()
    field.send_keys(page.key)
    page.click("Use this key")
    page.one(".facts dd", text="MobileFace")
    page.wait(lambda: page.all("[role=alert] p") == [])
    assert page.run("return Object.keys(localStorage).join()") == "arcface-paddle.language"
    assert page.run("return Object.values(sessionStorage).join()") == page.key
    page.click("Forget")
    page.one("[role=alert] p", text="a valid key is needed")
    assert page.run("return sessionStorage.length") == 0


@on_a_desk
def test_the_language_is_that_of_the_browser_until_it_is_switched(page):
    agent = page.run("return navigator.userAgent")
    for languages, title in (("zh-CN,zh", "图中是谁？"), ("de-DE,de", "Who is in the picture?")):
        page.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": languages})
        page.open("recognise", language="")
        page.run("localStorage.clear()")
        page.driver.refresh()
        page.one("h1", text=title)
    assert page.one("#language").value_of_css_property("white-space") == "nowrap", "a word of two signs is one line"
    page.one("#language").click()
    assert page.text("h1") == "图中是谁？" and page.run("return document.documentElement.lang") == "zh-Hans"
    assert [link.text for link in page.all("nav a")] == ["识别", "人员", "未知", "比对", "人脸库"]
    page.driver.refresh()  # the choice is remembered
    page.one("h1", text="图中是谁？")
    assert page.driver.title.startswith("识别")


@on_a_desk
def test_dark_and_light_follow_the_system_until_they_are_switched(page):
    def ground(scheme: str) -> float:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        return np.mean(rgb_of(page.run("return getComputedStyle(document.body).backgroundColor")))

    page.open("recognise")
    assert ground("dark") < 60 < 200 < ground("light")
    page.one("#theme").click()
    assert ground("light") < 60 and ground("dark") < 60


def rgb_of(text: str) -> list[float]:
    return [float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]


@on_a_phone
def test_the_camera_names_faces_until_it_is_stopped(page):
    page.open("recognise")
    page.click("Use the camera")
    page.wait(lambda: names(page) == ["Barack Obama"])
    assert page.all("video") and page.one("canvas").size == page.one("video").size
    page.click("Stop the camera")
    page.wait(lambda: not page.all("video"))
    assert page.run("return document.querySelector('video').srcObject") is None
    assert names(page) == ["Barack Obama"]  # the last frame stays
    page.click("Use the camera")
    page.one("video")
    page.go("people")  # nobody is watched from a view that is not shown
    page.wait(lambda: page.run("return document.querySelector('video').srcObject") is None)


@on_a_desk
def test_tracks_keep_a_name_through_a_frame_that_says_otherwise(page):
    page.open("recognise")
    seen = ["A", "A", None, "A", "A", "A", "A", "B", "B", "B"]
    frames = json.dumps([[name, 3 * at] for at, name in enumerate(seen)])
    face = "(name, x) => ({name, box: [x, 0, x + 50, 50], similarity: 0.5})"
    update = "tracks.update([face(name, x)], 500 * i).map((one) => [one.track, one.name])[0]"
    script = f"const tracks = new module.Tracks(); const face = {face}; return {frames}.map(([name, x], i) => {update})"
    shown = page.module("tracks.js", f"(() => {{ {script} }})()")
    assert [name for _, name in shown] == [*"AAAAAAAAAB"]
    assert {track for track, _ in shown} == {1}
    gone = "(() => { const tracks = new module.Tracks(); const face = (x) => ({name: null, box: [x, 0, x + 50, 50]}); "
    gone += "return [[0, 0], [200, 500], [0, 2600]].map(([x, now]) => tracks.update([face(x)], now)[0].track) })()"
    assert page.module("tracks.js", gone) == [1, 2, 3]  # elsewhere, or too late: another face

    named = "(() => { const tracks = new module.Tracks(); const face = (name, x) => ({name, box: [x, 0, x + 50, 50]}); "
    named += "return [[0, 300, 0], [400, 310, 500]].map(([a, b, now]) => "
    named += "tracks.update([face('A', a), face(null, b)], now).map((one) => one.track)) })()"
    assert page.module("tracks.js", named) == [[1, 2], [1, 2]]  # nobody is there twice: A has gone far
    again = "(() => { const tracks = new module.Tracks(); const face = (name, x) => ({name, box: [x, 0, x + 50, 50]}); "
    again += "return [['A', 0], [null, 400], ['A', 410]].map(([name, x], i) => "
    again += "tracks.update([face(name, x)], 500 * i)[0].track) })()"
    assert page.module("tracks.js", again) == [1, 2, 1]  # unknown for one frame, far away, and then A as before
    other = "(() => { const tracks = new module.Tracks(); const face = (name, x) => ({name, box: [x, 0, x + 50, 50]}); "
    other += "const both = [['A', 0], ['B', 400]]; return [both, both, [['A', 405]]].map((faces, i) => "
    other += "tracks.update(faces.map(([name, x]) => face(name, x)), 500 * i).map((one) => [one.track, one.name])) })()"
    assert page.module("tracks.js", other) == [*[[[1, "A"], [2, "B"]]] * 2, [[2, "B"]]]  # one frame takes B for A
    slow = "(() => { const tracks = new module.Tracks(); const face = {name: null, box: [0, 0, 50, 50]}; "
    slow += "return [[face], [face], [], [face]].map((faces, i) => tracks.update(faces, 1000 * i)[0]?.track ?? 0) })()"
    assert page.module("tracks.js", slow) == [1, 1, 0, 1]  # one frame of a service that is busy


@pytest.mark.slow
def test_people_who_move_before_the_camera_keep_names_and_numbers(address, key, tmp_path):
    write_moving_film(QUERIES / "group.jpg", tmp_path / "moving.y4m", way_px=120)
    browser = open_browser(tmp_path / "moving.y4m")
    try:
        page = Page(browser, address, key)
        page.resize(*DESK)
        page.open("recognise")
        page.click("Use the camera")
        page.wait(lambda: len(page.all(".beside .face")) == 4)
        page.run(WATCH_TRACKS)
        page.wait(lambda: page.run("return window.frames_seen") >= 8)
        numbers = page.run("return window.tracks_seen")
    finally:
        browser.quit()
    assert {"Barack Obama", "Grace Hopper", "Joe Biden"} <= set(numbers)
    for name in ("Barack Obama", "Grace Hopper", "Joe Biden"):
        assert len(numbers[name]) == 1, numbers


WATCH_TRACKS = """
window.frames_seen = 0;
window.tracks_seen = {};
const list = document.querySelector(".beside ul");
const look = () => {
  window.frames_seen += 1;
  for (const row of list.children) {
    const numbers = (window.tracks_seen[row.querySelector("strong").textContent] ??= []);
    const number = row.querySelector(".number").textContent;
    if (!numbers.includes(number)) numbers.push(number);
  }
};
look();
new MutationObserver(look).observe(list, {childList: true});
"""


@on_a_desk
def test_pictures_are_pasted_and_dropped(page):
    paste = "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})"
    page.open("recognise")
    transfer(page, QUERIES / "obama_speech_2009.jpg", paste)
    page.wait(lambda: names(page) == ["Barack Obama"])
    page.go("compare")
    for _ in range(2):  # the first empty side takes a pasted picture
        transfer(page, QUERIES / "biden_relit.jpg", paste)
        page.wait(lambda: page.all(".pair canvas"))
    page.one(".verdict", text="The same person")
    drop = "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})"
    transfer(page, QUERIES / "obama_speech_2009.jpg", drop, selector=".side:last-child .drop")
    page.one(".verdict", text="Different people")


def transfer(page: Page, picture: Path, event: str, *, selector: str = "h1") -> None:
    """Paste or drop a picture on an element."""
    content = base64.b64encode(picture.read_bytes()).decode()
    script = f"""
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], "picture.jpg", {{ type: "image/jpeg" }}));
        const shown = [...document.querySelectorAll(arguments[1])].find((one) => one.closest("[hidden]") === null);
        shown.dispatchEvent({event});
    """
    page.driver.execute_script(script, content, selector)


@on_a_desk
def test_the_threshold_slider_says_which_far_it_means_and_recognition_uses_it(page):
    page.open("settings")
    slider = page.one("input[type=range]")
    page.wait(lambda: "FAR" in page.text(".threshold p"))
    models = page.module("api.js", "module.models()")
    table = sorted((point["similarity"], math.log10(point["far"])) for point in models["thresholds"]["far_table"])
    assert len(table) >= 3
    for similarity in (table[0][0] + 0.03, table[1][0] + 0.02):
        far = 10 ** np.interp(similarity, *zip(*table))
        found = page.module("rates.js", f"module.farAt({similarity}, {models['thresholds']['far_table']})")
        assert found["far"] == pytest.approx(far) and found["beyond"] == ""
    set_to = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.driver.execute_script(set_to, slider, slider.get_attribute("max"))
    assert page.text(".threshold p").startswith("FAR below")
    assert page.text("output") in slider.get_attribute("aria-valuetext")
    page.go("recognise")
    page.give(QUERIES / "obama_speech_2009.jpg")
    page.wait(lambda: names(page))
    recognised = float(page.text(".face .hint").split()[1])
    assert names(page) == (["unknown"] if recognised < float(slider.get_attribute("max")) else ["Barack Obama"])
    page.go("settings")
    page.click("Use the service's own")
    page.go("recognise")  # with another threshold than before: the picture is looked at again
    page.wait(lambda: names(page) == ["Barack Obama"])


@pytest.mark.slow
@on_a_desk
def test_a_stranger_is_named_renamed_given_pictures_and_merged(page):
    page.open("recognise")
    page.give(QUERIES / "stranger_collins.jpg")
    page.wait(lambda: names(page) == ["unknown"])
    page.go("unknown")
    page.click("Name…", inside=".face")
    page.one("dialog input").send_keys("Eileen")
    page.click("Name", inside="dialog .actions")
    page.one(".empty", text="No unknown face so far")
    page.go("people")
    page.one(".row", text="Eileen").click()
    page.one(".detail h2", text="Eileen")
    page.give(QUERIES / "group.jpg", QUERIES / "biden_relit.jpg", inside=".detail")
    refusal = page.one("[role=alert] p", text="group.jpg").text
    assert "4 faces" in refusal or "several" in refusal
    page.click("Edit…", inside=".detail .actions")
    field = page.one("dialog input")
    field.clear()
    field.send_keys("Eileen Collins")
    page.driver.execute_script("arguments[0].value = '2031-05-17'", page.one("dialog input[type=date]"))
    page.click("Save", inside="dialog")
    page.one(".detail h2", text="Eileen Collins")
    page.one(".detail dd", text="2031-05-17")
    assert page.driver.switch_to.active_element.tag_name == "h2"  # reading goes on at the person, not at the top
    page.click("Merge…", inside=".detail .actions")
    page.one(".choice", text="Joe Biden").click()
    page.click("Merge", inside="dialog .actions")
    page.one(".detail h2", text="Joe Biden")
    page.wait(lambda: people(page) == ["Barack Obama", "Grace Hopper", "Joe Biden"])
    faces = len(page.all(".detail .face"))
    assert faces >= 3
    for left in range(faces - 1, 0, -1):  # what came with the merge goes again
        page.all(".detail .face button")[-1].click()
        page.click("Delete", inside="dialog .actions")
        page.wait(lambda left=left: not page.all("dialog") and len(page.all(".detail .face")) == left)


@on_a_desk
def test_a_picture_without_a_face_enrols_nobody_and_the_dialog_says_why(page, tmp_path):
    from PIL import Image

    Image.new("RGB", (320, 240), "grey").save(tmp_path / "wall.png")
    page.open("people")
    page.click("Enrol a person")
    page.one("dialog input").send_keys("Nobody")
    page.click("Enrol a person", inside="dialog")
    assert page.one("dialog [role=alert] p").text == "Add at least one picture of the person."
    page.give(tmp_path / "wall.png", inside="dialog")
    page.click("Enrol a person", inside="dialog")
    page.one("dialog [role=alert] p", text="wall.png: no face")
    page.driver.switch_to.active_element.send_keys("\ue00c")  # Escape
    page.wait(lambda: not page.all("dialog"))
    page.one("input[type=search]").send_keys("Nobody")
    page.one(".empty", text="Nobody's name contains “Nobody”")


@on_a_desk
def test_the_page_is_used_by_keyboard(page):
    page.open("recognise")
    keys = lambda text: page.driver.switch_to.active_element.send_keys(text)  # noqa: E731
    page.run("document.activeElement.blur()")
    page.driver.find_element("css selector", "body").send_keys("\ue004")
    assert page.driver.switch_to.active_element.text == "Skip to the content"
    keys("\ue004")
    keys("\ue004")
    assert page.driver.switch_to.active_element.get_attribute("href").endswith("#people")
    keys("\ue007")
    page.one("h1", text="People of the gallery")
    assert page.driver.switch_to.active_element.tag_name == "h1"  # reading begins at the new view's title
    keys("\ue004\ue004")
    add = page.driver.switch_to.active_element
    assert add.text == "Enrol a person"
    keys("\ue007")
    page.one("dialog")
    assert page.nameless() == []
    keys("\ue00c")
    page.wait(lambda: not page.all("dialog"))
    assert page.driver.switch_to.active_element == add  # the focus comes back
    for view in ("people", "unknown", "compare", "settings"):
        page.go(view)
        assert page.nameless() == []


@both_sizes
def test_a_key_that_may_only_read_is_told_what_needs_which_role(page, settings):
    page.open("unknown", key=KeyFile(settings.state_folder / KEYS).add("kiosk", role="read"))
    page.one(".note", text="a key with the role “write” is needed")
    assert page.all("[role=alert] p") == [] and page.all("main button") == []
    page.go("people")
    page.one(".row", text="Joe Biden").click()
    page.one(".detail h2", text="Joe Biden")
    page.one(".note", text="To enrol, change or delete people")
    back = ["Back to the list"] if page.size_wh == PHONE else []
    assert [one.text for one in page.all("main button:not(.row)")] == back
    assert page.all("main .drop") == []
    page.one(".note a").click()
    page.one("h1", text="Gallery and settings")
    page.one("p", text="The key “kiosk” has the role “read”.")
    assert page.one("tr", text="yours").text.startswith("read")
    field = page.one("input[type=password]")
    field.clear()
    field.send_keys(page.key)
    page.click("Use this key")
    page.one("p", text="The key “the page” has the role “write”.")
    page.go("people")
    page.one("button", text="Edit…")
    assert page.all(".note") == []


@on_a_desk
def test_what_the_service_refuses_is_said_in_the_language_of_the_page(page):
    page.open("recognise", key="-", language="zh")
    page.give(QUERIES / "obama_blue_room.jpg")
    said = page.one("[role=alert] p")
    assert said.text.startswith("需要有效的 API 密钥。") and "a valid key is needed" in said.text
    page.one("#language").click()
    assert said.text.startswith("a valid key is needed")


@pytest.fixture(scope="module")
def many_pictures(tmp_path_factory) -> Path:
    """A folder with a folder for each of four people, one of whom has a picture of four faces, and one no picture."""
    folder = tmp_path_factory.mktemp("many") / "people"
    for name, source in (("Eileen Collins", "stranger_collins"), ("Grace Hopper", "hopper_relit"), ("Crowd", "group")):
        (folder / name).mkdir(parents=True)
        shutil.copy(QUERIES / f"{source}.jpg", folder / name / "1.jpg")
    (folder / "Broken").mkdir()
    (folder / "Broken" / "=1+1.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


@both_sizes
def test_a_folder_of_people_is_enrolled_with_progress_and_reasons_and_their_faces_are_shown(page, many_pictures):
    page.open("people")
    opening = page.one("button", text="Enrol many…")
    opening.send_keys("\ue007")
    assert opening.get_attribute("aria-expanded") == "true"
    page.run(WATCH_PROGRESS)
    page.give(many_pictures, inside=".bulk")
    page.one(".bulk p", text="4 pictures of 4 people. 1 other file is left out.")
    assert sorted(page.text(".names").split(" · ")) == ["Broken", "Crowd", "Eileen Collins", "Grace Hopper"]
    go = page.driver.switch_to.active_element
    assert go.text == "Enrol them" and page.nameless() == []
    go.send_keys("\ue007")
    page.one(".bulk h3", text="The pictures are enrolled.")
    assert page.driver.switch_to.active_element.tag_name == "h3"
    page.one(".bulk p", text="4 of 4 pictures looked at · 2 enrolled · 2 without success")
    reasons = dict(row.text.split("\n", 1) for row in page.all(".problems .row"))
    assert "4 faces were found" in reasons["Crowd/1.jpg"] and "not a picture" in reasons["Broken/=1+1.jpg"]
    assert page.run("return window.bars")  # a bar was shown, that of these pictures
    page.one(".people .row", text="Eileen Collins").send_keys("\ue007")
    picture = page.one(".detail .crop")
    assert page.driver.execute_script("return arguments[0].naturalWidth", picture) == 112
    assert picture.get_attribute("aria-label") == "Face of Eileen Collins"
    page.one(".detail .actions button", text="Delete…").send_keys("\ue007")
    page.click("Delete", inside="dialog .actions")
    page.wait(lambda: people(page) == ["Barack Obama", "Grace Hopper", "Joe Biden"])


WATCH_PROGRESS = """
window.bars = 0;
new MutationObserver(() => (window.bars += document.querySelector('progress[max="4"]') ? 1 : 0))
  .observe(document.querySelector('.bulk'), {subtree: true, childList: true, attributes: true});
"""


@on_a_desk
def test_names_of_many_pictures_come_from_folders_or_files_and_are_sent_in_parts(page):
    page.open("people")
    file = "(path) => ({path, file: {name: path.split('/').pop(), size: 3e7, type: ''}})"
    paths = [
        "a/Joe Biden/1.jpg",
        "a/.hidden/2.jpg",
        "a/notes.txt",
        "Grace_Hopper (2).jpg",
        "王芳 3.PNG",
        "7.jpg",
        "x.zip",
    ]
    sorted_files = f"module.sortFiles({json.dumps(paths)}.map({file}))"
    found = page.module(
        "bulk_files.js", f"(({{pictures, zips, others}}) => [pictures.length, zips.length, others])({sorted_files})"
    )
    assert found == [4, 1, 1]
    names = f"['folders', 'files'].map((by) => {sorted_files}.pictures.map((one) => module.personOf(one, by)))"
    assert page.module("bulk_files.js", names) == [
        ["Joe Biden", "Grace Hopper", "王芳", "7"],
        ["1", "Grace Hopper", "王芳", "7"],
    ]
    batches = f"module.batchesOf({sorted_files}, 'folders').map(({{files, zip}}) => [files.length, zip !== null])"
    assert page.module("bulk_files.js", batches) == [[2, False], [2, False], [0, True]]  # 64 MB at once
    table = "module.problemTable([{picture: '=1+1/\"a\".jpg', code: 'no_face', message: 'none'}]).split('\\r\\n')[1]"
    assert page.module("bulk_files.js", table) == """"'=1+1/""a"".jpg","no_face","none\""""


@pytest.fixture(scope="module")
def crowded_address(tmp_path_factory, demo_index, models) -> Iterator[str]:
    """A service with 2,003 people, which keeps no crops."""
    gallery = shutil.copy(demo_index, tmp_path_factory.mktemp("crowded") / "gallery.index")
    settings = ServiceSettings(gallery, auth=False, workers=1)
    store = open_people_store(gallery, settings.state_folder.parent, model=models.identity, card=models.recognizer.card)
    rows = np.random.default_rng(0).normal(size=(2000, 192)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    entries = [GalleryEntry("x", f"{number}.jpg") for number in range(2000)]
    store.enrol([(f"Person {n:04d}", NewFace(entries[n], rows[n], 0.5)) for n in range(2000)])
    store.close()
    yield from run_service(settings, models)


@both_sizes
def test_two_thousand_people_are_paged_quickly(page, crowded_address):
    page.address, page.key = crowded_address, ""
    page.open("people")
    page.one(".hint", text="1 to 25 of 2003")
    number = page.one(".pager input")
    for give, first, last in (
        (lambda: page.one("button[aria-label='Last page']").send_keys("\ue007"), "2001 to 2003", "Person 1999"),
        (lambda: number.send_keys("\ue009a\ue000", "41\ue007"), "1001 to 1025", "Person 1021"),
        (lambda: page.one(".pager button", text="Previous").send_keys("\ue007"), "976 to 1000", "Person 0996"),
    ):
        begun = time.monotonic()
        page.run("performance.clearResourceTimings()")
        give()
        page.one(".hint", text=first)
        assert people(page)[-1] == last and len(page.all(".people .row")) <= 25
        assert page.run("return performance.getEntriesByType('resource').length") == 1  # what is shown, and no more
        assert time.monotonic() - begun < 10  # 0.2 s where nothing else runs
    assert number.get_attribute("value") == "40" and "of 81" in page.text(".pager")
    page.one("input[type=search]").send_keys("person 15")
    page.one(".hint", text="1 to 25 of 100")
    page.one(".row", text="Person 1500").send_keys("\ue007")
    page.one(".detail .hint", text="--keep_crops")  # no picture is there, and why


@pytest.fixture(scope="module")
def empty_address(tmp_path_factory, models) -> Iterator[str]:
    settings = ServiceSettings(tmp_path_factory.mktemp("empty") / "gallery.index", auth=False, workers=1)
    yield from run_service(settings, models)


@on_a_phone
def test_an_empty_gallery_says_what_to_do(page, empty_address):
    page.address, page.key = empty_address, ""
    page.open("people")
    page.one(".empty", text="The gallery is empty. Enrol the first person")
    page.go("unknown")
    page.one(".empty", text="--keep_unknown")
    page.go("settings")
    page.wait(lambda: "FAR" in page.text(".threshold p"))
