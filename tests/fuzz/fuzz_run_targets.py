"""Targets of runs: a training run's folder, caches of the doctor and of encoding, videos, models of others."""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import fuzz_seeds as seeds
import numpy as np
from fuzz_target import Parse, Target, of_content, of_file

_ROOT = Path(__file__).parents[2]

# a training run


@cache
def _config() -> bytes:
    from arcface_paddle.training.config import TrainConfig, config_text

    return config_text(TrainConfig()).encode()


_METRICS = (
    b'{"step": 10, "loss": 9.5, "lr": 0.1}\n{"step": 20, "loss": 8.5, "accuracy_mean": 0.6, "accuracy/lfw": 0.6}\n'
)
_LOG = (
    b"4 identities, 12 images; 1 processes on cpu, 4 images per step\n"
    b"step 3 skipped: gradient not finite\nunreadable sample, replaced by another: a.jpg\n"
)


def _recorded(part: str) -> Target:
    """Return the target of a file of a run's folder, as ``train.py --explain`` reads it."""

    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.training import run_log
        from arcface_paddle.training.explain.recorded_run import read_run
        from arcface_paddle.training.schedule import learning_rate

        written = {"config.yaml": b"{}", run_log.METRICS_FILE: _METRICS, run_log.LOG_FILE: _LOG}
        for name, text in {**written, part: content}.items():
            (folder / name).write_bytes(text)

        def parse() -> None:
            run = read_run(folder)
            learning_rate(run.schedule, run.step)
            for ask in (run.has_validation, run.best_accuracy, lambda: run.latest("loss"), lambda: run.untrained_loss):
                ask()

        return parse

    sound = {"metrics.jsonl": _METRICS, "config.yaml": _config(), "training.log": _LOG}[part]
    return Target(f"run_{Path(part).stem}", lambda: [sound], prepare)


def _override(content: bytes) -> None:
    from arcface_paddle.training.override import parse_override

    parse_override(content.decode("utf-8", "surrogateescape").split())


# caches


def _doctor_cache(content: bytes, folder: Path) -> Parse:
    """Go on from a cache of six embeddings of four values; what is kept of it must be usable."""
    from arcface_paddle.doctor.crop_embeddings import EmbeddingStore

    path = folder / "embeddings-1.f16"
    path.write_bytes(content)
    first = seeds.unit(2, 4)

    def parse() -> None:
        with EmbeddingStore(np.arange(6), cached_at=path) as store:
            kept = store.begin(first)
            store.append(seeds.unit(6 - kept, 4))
            store.finish(4)
            assert np.isfinite(store.take(np.arange(6))).all(), "the cache gives NaN"

    return parse


def _doctor_caches() -> list[bytes]:
    rows = np.concatenate([seeds.unit(2, 4), seeds.unit(4, 4)]).astype(np.float16)
    return [rows.tobytes(), rows[:3].tobytes()]


def _shard_done(path: Path) -> None:
    from arcface_paddle.pipeline.picture_shards import ShardJob, finished

    finished(ShardJob("/data/s.tar", str(path.parent)))


def _shard_dones() -> list[bytes]:
    report = {"name": "s", "pictures": 3, "encoded": 2, "embeddings": 2, "files": ["s-00000.parquet"], "problem": ""}
    return [seeds.json_bytes({"format": 1, "options": [], "report": report})]


def _shard_index(path: Path) -> None:
    """Read what ``encode`` in a process of its own has written."""
    from arcface_paddle.pipeline.picture_shards import _report_of

    _report_of(path.parent, "s", "")


def _shard_indexes() -> list[bytes]:
    shard = {"file": "s-00000.parquet", "pictures": 3, "pictures_sha256": "0", "embeddings": 2, "encoded": 2}
    return [seeds.json_bytes({"format": 1, "shard_size": 2, "model": "m", "shards": [shard]})]


def _shard_tar(content: bytes, folder: Path) -> Parse:
    """Unpack a shard's archive below a folder: nothing beside it may be written."""
    from arcface_paddle.pipeline.picture_shards import unpack_archive

    (folder / "s.tar").write_bytes(content)
    (folder / "fuzz_unpacked").mkdir()

    def parse() -> None:
        unpack_archive(folder / "s.tar", folder / "fuzz_unpacked")
        assert sorted(path.name for path in folder.iterdir()) == ["fuzz_unpacked", "s.tar"]

    return parse


def _shard_tars() -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../../s.tar"
            archive.addfile(info)
        info = tarfile.TarInfo("../above.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    members = {"Ada/1.jpg": b"abc" * 30, "./b/2.jpg": b"x"}
    return [stream.getvalue(), *(seeds.tar(members, mode=mode) for mode in ("w", "w:gz", "w:bz2", "w:xz"))]


# videos


def _video(engine: str) -> Target:
    def parse(path: Path) -> None:
        from arcface_paddle.video.reading import VideoReader
        from arcface_paddle.video.video_settings import VideoSettings

        with VideoReader(str(path), settings=VideoSettings(engine=engine)) as reader:
            assert reader.duration_s is None or reader.duration_s >= 0
            for frame, _ in zip(reader, range(4)):
                assert frame.image.ndim == 3 and frame.image.dtype == np.uint8

    return Target(f"video_{engine}", lambda: list(_clips()), of_file("a.mp4", parse))


@cache
def _clips() -> tuple[bytes, ...]:
    """A few frames in several containers and codecs."""
    import av

    found = []
    for suffix, codec in ((".mp4", "mpeg4"), (".avi", "mjpeg"), (".mkv", "libx264"), (".webm", "libvpx"),
                          (".mpg", "mpeg2video"), (".gif", "gif"), (".mov", "png")):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a{suffix}"
            with av.open(str(path), "w") as container:
                video = container.add_stream(codec, rate=25)
                video.width, video.height = 32, 24
                video.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "png": "rgb24"}.get(codec, "yuv420p")
                for number in range(4):
                    image = np.full((24, 32, 3), 40 * number, np.uint8)
                    container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(video.encode(None))
            found.append(path.read_bytes())
    return tuple(found)


# models of others


def _tflite(path: Path) -> None:
    from arcface_paddle.export.importing.tflite_file import TfliteFile

    file = TfliteFile(path)
    file.convolutions()
    file.prelu_slopes()


@cache
def _tflite_seeds() -> tuple[bytes, ...]:
    sys.path.append(str(_ROOT / "tests" / "export"))
    from tflite_writing import CONV, DEPTHWISE, MUL, TfliteWriter

    writer = TfliteWriter()
    weight, bias = writer.constant(seeds.array(2, 3, 3, 3)), writer.constant(seeds.array(2))
    writer.operator(CONV, [weight, weight, bias])
    writer.operator(DEPTHWISE, [weight, writer.half(seeds.array(1, 3, 3, 2)), bias])
    writer.operator(MUL, [writer.constant(seeds.array(2)), bias])
    with tempfile.TemporaryDirectory() as folder:
        return (writer.write(Path(folder) / "a.tflite").read_bytes(),)


def _onnx(path: Path) -> None:
    from arcface_paddle.pipeline import foreign_models, model_files

    presets = {name: model_files.preset_card(name) for name in (foreign_models.SCRFD, foreign_models.RECOGNIZER)}
    foreign_models.card_of_onnx(path, presets)


@cache
def _onnx_seeds() -> tuple[bytes, ...]:
    from onnx import TensorProto, helper

    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 3, 112, 112])
    embedding = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 512])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    nodes = [helper.make_node("Sub", ["input", "w"], ["a"]), helper.make_node("Mul", ["a", "w"], ["output"])]
    graph = helper.make_graph(nodes, "g", [picture], [embedding], [weight])
    return (helper.make_model(graph).SerializeToString(),)


def _paddle_meta(content: bytes, folder: Path) -> Parse:
    """Read the class centres of a PLSC run, whose ``meta.json`` is the input."""
    from arcface_paddle.export.importing.paddle_checkpoint import read_parameter_folder

    (folder / "meta.json").write_bytes(content)
    (folder / "dist@fc@rank@00000.w_0.pdparam").write_bytes(seeds.parameters()[0])
    return lambda: read_parameter_folder(folder)


def _metas() -> list[bytes]:
    return [b'{"pretrain_world_size": 1, "num_classes": 3, "embedding_size": 2}']


TARGETS = (
    _recorded("metrics.jsonl"),
    _recorded("config.yaml"),
    _recorded("training.log"),
    Target("override", lambda: [b"step=0 epoch=0 best=none optimizer=none", b"monitor=0.5"], of_content(_override)),
    Target("doctor_cache", _doctor_caches, _doctor_cache, may_write="embeddings-"),
    Target("shard_done", _shard_dones, of_file("s.done.json", _shard_done)),
    Target("shard_index", _shard_indexes, of_file("s.shards.json", _shard_index)),
    Target("shard_tar", _shard_tars, _shard_tar, may_write="fuzz_unpacked"),
    _video("pyav"),
    _video("opencv"),
    Target("tflite", lambda: list(_tflite_seeds()), of_file("a.tflite", _tflite)),
    Target("onnx", lambda: list(_onnx_seeds()), of_file("a.onnx", _onnx)),
    Target("paddle_meta", _metas, _paddle_meta),
)
