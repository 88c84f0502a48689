"""A headless Chromium for the tests of web pages, and what they ask of it."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

import cv2
import numpy as np
import pytest

from arcface_paddle import images

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
Service = pytest.importorskip("selenium.webdriver.chrome.service").Service
Stale = pytest.importorskip("selenium.common.exceptions").StaleElementReferenceException
WAIT_S = 20.0


def programs() -> tuple[str, str]:
    """Return the paths of the browser and its driver; skips the test where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    return browser, driver


def write_camera_film(picture: Path, film: Path) -> None:
    """Write a picture as the film (Y4M) that Chromium plays as its camera."""
    image = images.read_image(picture)
    scale = min(640 / image.shape[1], 480 / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    write_film([_on_black(small, 0)] * 3, film)


def write_moving_film(picture: Path, film: Path, *, way_px: int, frames: int = 40) -> None:
    """Write a film in which a picture goes to the right and back again; it is played over and over."""
    image = images.read_image(picture)
    scale = (640 - way_px) / image.shape[1]
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    places = np.abs(np.linspace(-way_px, way_px, frames, endpoint=False)).astype(int)
    write_film([_on_black(small, left) for left in places], film)


def write_film(frames: Sequence[np.ndarray], film: Path) -> None:
    """Write frames (480, 640, 3) RGB, ten a second."""
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes() for frame in frames]
    head = b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n"
    film.write_bytes(head + b"".join(b"FRAME\n" + plane for plane in planes))


def _on_black(picture: np.ndarray, left: int) -> np.ndarray:
    frame = np.zeros((480, 640, 3), np.uint8)
    height, width = min(480, picture.shape[0]), min(640 - left, picture.shape[1])
    frame[:height, left : left + width] = picture[:height, :width]
    return frame


def open_browser(film: Optional[Path] = None) -> Any:
    """Start a browser without a window; its camera, if it is to have one, shows ``film``."""
    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
    if film is not None:
        arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        arguments.append(f"--use-file-for-fake-video-capture={film}")
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


class Page:
    """The web page in a browser, as a user sees it."""

    def __init__(self, driver: Any, address: str, key: str) -> None:
        self.driver = driver
        self.address = address
        self.key = key
        self.size_wh = (0, 0)

    def resize(self, width: int, height: int) -> None:
        self.size_wh = (width, height)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, view: str, *, key: Optional[str] = None, language: str = "en") -> None:
        """Open a view as the first of a new visit."""
        self.driver.get(f"{self.address}/page/icon.svg")  # the same origin, without the page's scripts
        self.run("localStorage.clear(); sessionStorage.clear()")
        self.run("localStorage.setItem('arcface-paddle.language', %r)", language)
        key = self.key if key is None else key
        if key:
            self.run("sessionStorage.setItem('arcface-paddle.key', %r)", key)
        self.driver.get(f"{self.address}/#{view}")
        self.wait(lambda: self.text("h1"))

    def go(self, view: str) -> None:
        self.one(f"nav a[href='#{view}']").click()
        self.wait(lambda: self.one(f"nav a[href='#{view}']").get_attribute("aria-current") == "page")

    def run(self, script: str, *values: object) -> Any:
        return self.driver.execute_script(script % values if values else script)

    def module(self, name: str, expression: str) -> Any:
        """Return what an expression makes of a module of the page."""
        script = f"const [done] = arguments; import('/page/{name}').then((module) => done({expression}))"
        return self.driver.execute_async_script(script)

    def all(self, selector: str) -> list[Any]:
        """Return the elements that can be seen."""
        return [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]

    def one(self, selector: str, *, text: str = "") -> Any:
        """Wait for an element that can be seen, and return it."""
        found = lambda: next((one for one in self.all(selector) if text in one.text), None)  # noqa: E731
        return self.wait(found, f"{selector} {text}")

    def text(self, selector: str) -> str:
        found = self.all(selector)
        return found[0].text if found else ""

    def click(self, text: str, *, inside: str = "main") -> None:
        self.one(f"{inside} button", text=text).click()

    def give(self, *pictures: Path, inside: str = "main", index: int = 0) -> None:
        """Choose pictures in a field for files."""
        fields = [
            field
            for field in self.driver.find_elements(By.CSS_SELECTOR, f"{inside} input[type=file]")
            if self.driver.execute_script("return arguments[0].closest('[hidden]') === null", field)
        ]
        fields[index].send_keys("\n".join(str(picture) for picture in pictures))

    def wait(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Return the first value of a condition that is true."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            with contextlib.suppress(Stale):  # the page made it anew between finding and reading
                value = condition()
                if value:
                    return value
            time.sleep(0.03)
        raise AssertionError(f"not within {WAIT_S:g} s: {what}; the page shows {self.text('body')!r}")

    def console(self) -> Iterator[dict[str, Any]]:
        """Return what the browser complained of since the last call."""
        return (entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING"))

    def hosts(self) -> set[str]:
        """Return the origins of everything that the page has loaded."""
        entries = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
        return {origin for origin in self.run(entries) if origin != "null"}

    def nameless(self) -> list[str]:
        """Return the roles of controls and pictures to which a screen reader could give no name."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        named = {"button", "link", "textbox", "searchbox", "slider", "radio", "image", "canvas", "dialog", "Date"}
        return [
            node["role"]["value"]
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in named and not node.get("name", {}).get("value")
        ]
