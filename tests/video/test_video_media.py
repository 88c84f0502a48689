"""Rates, times, sizes, rotation and sound of real containers, and what comes out at the other end."""

from __future__ import annotations

import shutil
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_clips import av, evenly, gray_of, make_clip

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError, MissingDependencyError
from arcface_paddle.video.encoders.sound import SoundSource
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.sources import opencv_video, pyav_video
from arcface_paddle.video.video_settings import USUAL_VIDEO, VideoSettings, seconds_of
from arcface_paddle.video.writing import VideoWriter

FILM, NTSC = 24_000 / 1001, 30_000 / 1001
VARIABLE = (0.0, 0.04, 0.08, 0.2, 0.21, 0.5, 0.9, 1.0)


def facts_of(path):
    """Return what a player makes of a file: times of the frames, size, durations, codecs."""
    with av.open(str(path)) as container:
        video, sounds = container.streams.video[0], container.streams.audio
        frames = list(container.decode(video))
        return {
            "times": [float(frame.pts * frame.time_base) for frame in frames],
            "size": (frames[0].width, frames[0].height),
            "seconds": container.duration / av.time_base,
            "codec": video.codec_context.name,
            "format": frames[0].format.name,
            "sound": sounds[0].codec_context.name if sounds else None,
        }


def sound_of(path):
    """Return the samples of a file's sound, mono."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        pieces = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
        return np.concatenate([piece.to_ndarray()[0] for piece in pieces])


def passed_on(source, target, settings=USUAL_VIDEO):
    """Read a video and write it, as a run does."""
    with VideoReader(str(source), settings=settings) as reader:
        writer = VideoWriter(target, fps=reader.fps, settings=settings, sound=SoundSource(str(source)))
        for frame in reader:
            writer.write(frame.image, time_s=frame.time_s)
        writer.close(source_ended=settings.end_s is None, end_s=reader.end_s)
    return writer


@pytest.mark.parametrize(
    ("name", "fps", "times", "sound", "kept_as"),
    [
        ("film.mp4", FILM, evenly(24, FILM), None, None),
        ("pal.mp4", 25.0, evenly(25, 25), "aac", "aac"),
        ("ntsc.mp4", NTSC, evenly(30, NTSC), "mp3", "mp3float"),
        ("fifty.mov", 50.0, evenly(50, 50), "pcm_s16le", "aac"),
        ("variable.mp4", 25.0, VARIABLE, "ac3", "aac"),
        ("variable.mkv", 25.0, VARIABLE, "libopus", "opus"),
        ("silent.mkv", 25.0, VARIABLE, None, None),
        ("broadcast.ts", 25.0, evenly(30, 25), "aac", "aac"),
    ],
)
def test_what_goes_in_comes_out(tmp_path, name, fps, times, sound, kept_as):
    source = make_clip(tmp_path / name, times=times, fps=fps, sound=sound)
    writer = passed_on(source, tmp_path / "out.mp4")
    before, after = facts_of(source), facts_of(tmp_path / "out.mp4")
    assert writer.problem == "" and (after["codec"], after["format"], after["sound"]) == ("h264", "yuv420p", kept_as)
    assert len(after["times"]) == len(times)
    np.testing.assert_allclose(after["times"], np.array(before["times"]) - before["times"][0], atol=1.5e-3)
    assert abs(after["seconds"] - before["seconds"]) <= 1 / fps
    if sound is not None:
        heard = sound_of(tmp_path / "out.mp4")
        assert abs(len(heard) / 48_000 - (times[-1] + 1 / fps)) < 0.06 and 4000 < np.abs(heard).max() < 12_000
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a browser begins to play before it has all"


def test_the_frames_are_those_of_the_source(tmp_path):
    source = make_clip(tmp_path / "a.mp4", times=evenly(10, 25), size_wh=(64, 48))
    passed_on(source, tmp_path / "out.mp4")
    with VideoReader(str(tmp_path / "out.mp4")) as reader:
        grays = [int(np.median(frame.image[24:])) for frame in reader]
    np.testing.assert_allclose(grays, [gray_of(index) for index in range(10)], atol=3)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("engine", ["pyav", "opencv"])
def test_a_phone_that_was_held_upright(tmp_path, quarters, engine):
    source = make_clip(tmp_path / "a.mp4", times=evenly(3, 25), size_wh=(96, 64), quarters=quarters)
    with VideoReader(str(source), settings=VideoSettings(engine=engine)) as reader:
        first = next(iter(reader)).image
    assert first.shape == ((64, 96, 3) if quarters % 2 == 0 else (96, 64, 3))
    bar = {0: first[:8], 1: first[:, :8], 2: first[-8:], 3: first[:, -8:]}[quarters]
    assert bar.mean() > 245, "the bar is on top of what the camera saw, and turns with it"


def test_odd_sizes_get_one_more_row_or_column(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        writer.write(np.full((47, 63, 3), 200, np.uint8))
    assert facts_of(tmp_path / "a.mp4")["size"] == (64, 48)


@pytest.mark.parametrize("engine", ["pyav", "opencv"])
@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ({"every": 4}, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({"fps": 5.0}, [0, 5, 10, 15, 20, 25]),
        ({"fps": 90.0}, list(range(30))),
        ({"start_s": 0.4, "end_s": 0.6}, [10, 11, 12, 13, 14]),
        ({"start_s": 1.0}, [25, 26, 27, 28, 29]),
        ({"start_s": 0.2, "end_s": 0.8, "every": 5}, [5, 10, 15]),
    ],
)
def test_which_frames_are_looked_at(tmp_path, engine, wanted, indices):
    source = make_clip(tmp_path / "a.mp4", times=evenly(30, 25))
    with VideoReader(str(source), settings=VideoSettings(engine=engine, **wanted)) as reader:
        expected = reader.frame_count
        frames = list(reader)
    np.testing.assert_allclose([frame.time_s for frame in frames], [index / 25 for index in indices], atol=2e-3)
    assert [frame.index for frame in frames] == list(range(len(indices))) and not reader.ended_early
    assert abs(expected - len(indices)) <= 1
    grays = [int(np.median(frame.image[24:])) for frame in frames]
    np.testing.assert_allclose(grays, [gray_of(index) for index in indices], atol=6)


def test_a_start_is_sought_and_not_decoded_up_to(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "a.mp4", times=evenly(500, 25), size_wh=(32, 32))  # a key frame after 250
    decoded = []
    real = pyav_video.PyAvVideo._decoded
    monkeypatch.setattr(
        pyav_video.PyAvVideo, "_decoded", lambda self: (decoded.append(frame.pts) or frame for frame in real(self))
    )
    with VideoReader(str(source), settings=VideoSettings(engine="pyav", start_s=19.0)) as reader:
        assert next(iter(reader)).time_s == pytest.approx(19.0) and len(decoded) <= 251


def test_a_stretch_keeps_its_own_sound(tmp_path):
    source = make_clip(tmp_path / "a.mp4", times=evenly(75, 25), sound="aac")
    passed_on(source, tmp_path / "out.mp4", VideoSettings(start_s=1.0, end_s=2.0))
    assert len(facts_of(tmp_path / "out.mp4")["times"]) == 25
    assert len(sound_of(tmp_path / "out.mp4")) / 48_000 == pytest.approx(1.0, abs=0.55)


@pytest.mark.parametrize("suffix", [".webm", ".avi", ".mkv", ".flv"])
def test_containers(tmp_path, suffix):
    codec = {".webm": "libvpx", ".avi": "mpeg4"}.get(suffix, "libx264")
    source = make_clip(tmp_path / f"a{suffix}", times=evenly(12, 25), codec=codec)
    with VideoReader(str(source)) as reader:
        assert len(list(reader)) == 12 and reader.fps == pytest.approx(25, rel=0.01) and not reader.ended_early


def test_a_cut_off_file_without_a_count_is_noticed_by_its_time(tmp_path):
    source = make_clip(tmp_path / "a.mkv", times=evenly(60, 25), size_wh=(64, 64))
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with VideoReader(str(source), settings=VideoSettings(engine="pyav")) as reader:
        assert 0 < len(list(reader)) < 50 and reader.ended_early


def test_a_damaged_place_costs_frames_and_not_the_rest(tmp_path):
    source = make_clip(tmp_path / "a.avi", times=evenly(20, 25), codec="mjpeg", size_wh=(64, 48))
    content = bytearray(source.read_bytes())
    place = [found for found in range(len(content)) if content[found : found + 4] == b"00dc"][5]
    size = int.from_bytes(content[place + 4 : place + 8], "little")
    content[place + 8 : place + 8 + size] = bytes(size)
    source.write_bytes(content)
    with VideoReader(str(source), settings=VideoSettings(engine="pyav")) as reader:
        assert len(list(reader)) == 19 and reader.frames_damaged == 1 and not reader.ended_early


def test_a_film_in_a_codec_that_nobody_knows_is_refused(tmp_path):
    """PyAV before 18.1 ends the process at its first packet."""
    film = Path(__file__).parents[1] / "fuzz" / "found" / "video_pyav" / "40a2e001f1976b69"
    with pytest.raises(ImageError, match=r"not a video that can be played, or damaged"):
        VideoReader(str(shutil.copy(film, tmp_path / "a.mp4")), settings=VideoSettings(engine="pyav"))


def write_pictures(folder, numbers):
    for number in numbers:
        images.write_image(folder / f"shot_{number:04}.png", np.full((20, 30, 3), number, np.uint8))


def test_numbered_pictures_and_their_gaps(tmp_path):
    write_pictures(tmp_path, [7, 8, 10, 11])
    (tmp_path / "shot_12.png").write_bytes(b"another width")
    with VideoReader(str(tmp_path / "shot_%04d.png"), settings=VideoSettings(sequence_fps=10)) as reader:
        frames = list(reader)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [7, 8, 10, 11]
    np.testing.assert_allclose([frame.time_s for frame in frames], [0, 0.1, 0.3, 0.4])
    assert reader.frame_count == 4 and reader.duration_s == pytest.approx(0.5) and reader.fps == 10


def test_a_folder_as_a_sequence_in_which_one_picture_is_damaged(tmp_path):
    write_pictures(tmp_path, range(20))
    (tmp_path / "shot_0003.png").write_bytes(b"no picture")
    with VideoReader(str(tmp_path), settings=VideoSettings(sequence_fps=4, every=2)) as reader:
        assert [int(frame.image[0, 0, 0]) for frame in reader] == list(range(0, 20, 2)) and reader.fps == 2
    with VideoReader(str(tmp_path)) as reader:
        assert len(list(reader)) == 19 and reader.frames_damaged == 1 and not reader.ended_early
    with pytest.raises(ImageError, match="no pictures of that name"):
        VideoReader(str(tmp_path / "other_%03d.png"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90.5", 90.5), ("0", 0.0), ("1:30", 90.0), ("01:02:03.5", 3723.5), ("100:00:00", 360_000.0)]
)
def test_times_are_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:75", "1:2:3:4", "a", "1:60:00", "nan", "1e3"])
def test_what_is_no_time(text):
    with pytest.raises(ConfigError, match="no time of a video"):
        seconds_of(text)


@pytest.mark.parametrize(
    "wrong",
    [{"engine": "x"}, {"every": 0}, {"every": 2, "fps": 5}, {"fps": 0}, {"sequence_fps": -1}, {"start_s": -1},
     {"start_s": 2, "end_s": 2}, {"timeout_s": 0}, {"reconnect_s": -1}, {"frame_batch": 0}],
)  # fmt: skip
def test_settings_that_cannot_work(wrong):
    with pytest.raises(ConfigError):
        VideoSettings(**wrong)


def test_opencv_is_silenced_in_version_4_as_in_5():
    """The two functions moved; with version 4, no video could be opened by OpenCV."""
    four = types.SimpleNamespace(utils=types.SimpleNamespace(), getLogLevel=lambda: 3, setLogLevel=lambda level: level)
    assert opencv_video.home_of_log_level(four) is four
    here = opencv_video.home_of_log_level(cv2)
    before = here.getLogLevel()
    opencv_video.open_capture("nowhere.mp4")
    assert here.getLogLevel() == before


def test_without_pyav_opencv_reads_and_pyav_by_name_says_what_to_install(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "a.mp4", times=evenly(5, 25))
    monkeypatch.setattr(pyav_video, "is_installed", lambda: False)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with VideoReader(str(source)) as reader:
        assert len(list(reader)) == 5
    with pytest.raises(MissingDependencyError, match=r"arcface-paddle\[video\]"):
        VideoReader(str(source), settings=VideoSettings(engine="pyav"))
