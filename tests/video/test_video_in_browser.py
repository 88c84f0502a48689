"""What is written plays in a browser: size, duration, and time that goes on. Skipped where there is no Chromium."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from video_clips import evenly, make_clip

from arcface_paddle.video.encoders.sound import SoundSource
from arcface_paddle.video.preview import Preview
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.writing import VideoWriter

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")

PLAYER = """<!doctype html><body><script>
const names = NAMES, facts = {};
function play(name) {
  return new Promise(done => {
    const video = document.createElement("video");
    video.muted = true;
    video.onerror = () => done({error: video.error.message});
    video.ontimeupdate = () => {
      if (video.currentTime > 0.1) done({
        seconds: video.duration, width: video.videoWidth, height: video.videoHeight, time: video.currentTime,
        sound: video.webkitAudioDecodedByteCount > 0});
    };
    video.src = name;
    document.body.append(video);
    video.play();
  });
}
(async () => {
  for (const name of names) facts[name] = await play(name);
  await fetch("/told", {method: "POST", body: JSON.stringify(facts)});
})();
</script></body>"""


class Handler(SimpleHTTPRequestHandler):
    def do_POST(self):
        self.server.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.is_told.set()

    def log_message(self, *_):
        pass


def visit(address, folder, *, until):
    """Open a page in a headless Chromium until ``until()`` returns."""
    arguments = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-proxy-server",
        "--autoplay-policy=no-user-gesture-required",
    )
    browser = subprocess.Popen(
        [CHROMIUM, *arguments, f"--user-data-dir={folder}", "--remote-debugging-port=0", address],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return until()
    finally:
        browser.kill()
        browser.wait()


CLIPS = {
    "film.mp4": {"times": evenly(24, 24_000 / 1001), "fps": 24_000 / 1001},
    "pal.mkv": {"times": evenly(25, 25), "sound": "aac"},
    "fifty.mov": {"times": evenly(50, 50), "fps": 50.0, "sound": "pcm_s16le"},
    "variable.mp4": {"times": (0.0, 0.04, 0.08, 0.2, 0.21, 0.5, 0.9, 1.0), "sound": "mp3"},
    "phone.mp4": {"times": evenly(25, 25), "quarters": 3, "size_wh": (96, 64)},
}


def test_every_kind_of_video_plays(tmp_path):
    expected = {}
    for name, how in CLIPS.items():
        source = make_clip(tmp_path / name, **how)
        target = tmp_path / f"{source.stem}_out.mp4"
        with VideoReader(str(source)) as reader:
            writer = VideoWriter(target, fps=reader.fps, sound=SoundSource(str(source)))
            for frame in reader:
                writer.write(frame.image[: frame.image.shape[0] - 1], time_s=frame.time_s)  # an odd number of rows
            writer.close(source_ended=True, end_s=reader.end_s)
        expected[target.name] = {
            "seconds": pytest.approx(how["times"][-1] + 1 / how.get("fps", 25), abs=0.045),
            "width": 64,
            "height": 96 if "quarters" in how else 48,
            "sound": "sound" in how,
        }
    (tmp_path / "index.html").write_text(PLAYER.replace("NAMES", json.dumps(list(expected))))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))) as server:
        server.is_told = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        assert visit(address, tmp_path / "browser", until=lambda: server.is_told.wait(60)), "the browser says nothing"
        server.shutdown()
    for name, facts in expected.items():
        told = server.told[name]
        assert told.pop("time", 0) > 0.1 and told == facts, (name, told)


@pytest.mark.long
def test_the_preview_is_seen_in_a_browser(tmp_path):
    with Preview(0) as preview:
        looked = threading.Event()
        real = preview.next_jpeg

        def noticed(after):
            found = real(after)
            if after > 0:  # a viewer has taken a frame and wants the next
                looked.set()
            return found

        preview.next_jpeg = noticed

        def shown():
            for value in range(0, 250, 2):
                preview.frame(np.full((48, 64, 3), value, np.uint8))
                if looked.wait(0.2):
                    return True
            return False

        assert visit(preview.address, tmp_path / "browser", until=shown)
