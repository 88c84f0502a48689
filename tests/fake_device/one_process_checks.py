"""Checks of one process that computes on the fake device. Usage: one_process_checks.py FOLDER; writes checks.json.

All run in one process, because importing Paddle takes longer than any of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from fake_device import KIND, library, stream_notes
from host_waits import counted, settings, waits_of_steps
from tiny_data import write_dataset

from arcface_paddle import devices
from arcface_paddle.backbones import build_backbone
from arcface_paddle.data.dataset import _NORMALIZED
from arcface_paddle.distributed import any_rank, gather_json
from arcface_paddle.errors import ConfigError
from arcface_paddle.evaluation.model_opening import EmbedderSettings, open_embedder
from arcface_paddle.evaluation.ranks import device_of_rank, joined_ranks
from arcface_paddle.export.exporter import export_model
from arcface_paddle.export.graph import GraphSettings
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.training import pictures
from arcface_paddle.training import precision as precision_module
from arcface_paddle.training.precision import mixed_precision
from arcface_paddle.training.run import Run, build_run
from arcface_paddle.training.step import train_step

CHECKS: dict[str, Callable[[Path], None]] = {}
SLOW_COPY_S = 0.6


def check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Enter a function into the list of what ``main`` runs, each with the fake device as the current one."""
    CHECKS[function.__name__] = function
    return function


def silent(_: str) -> None:
    """Take a line and tell it to nobody."""


def places_of(run: Run) -> set[str]:
    """Return where everything lies that a run computes with."""
    tensors = [*run.network.parameters(), *run.network.buffers(), run.scaler.scale, run.decay.value]
    tensors += [run.classifier._weight, *run.classifier._states.values()]
    tensors += [state for group in run.optimizer._groups for state in group._states.values()]
    tensors += list(run.margin._statistics.values()) + run.statistics._tensors
    if run.classifier.feature_centres is not None:
        tensors.append(run.classifier.feature_centres._centres)
    return {str(tensor.place) for tensor in tensors}


def refusal_of(function: Callable[[], Any]) -> str:
    """Return what ``ConfigError`` says."""
    try:
        function()
    except ConfigError as error:
        return str(error)
    raise AssertionError("not refused")


@check
def device_names(_: Path) -> None:
    assert paddle.get_device() == f"{KIND}:0" and devices.is_accelerator()
    assert devices.collectives_backend() == "xccl"
    assert [devices.choose_device(name) for name in ("auto", "gpu", "gpu:1", "cpu")] == [
        f"{KIND}:0",
        f"{KIND}:0",
        f"{KIND}:1",
        "cpu",
    ]
    os.environ[f"FLAGS_selected_{KIND}s"] = "1"
    assert devices.choose_device("gpu") == f"{KIND}:1"
    del os.environ[f"FLAGS_selected_{KIND}s"]


@check
def all_of_a_run_lies_on_the_device(folder: Path) -> None:
    options = {"loss": "AdaFace", "centre_weight": 0.1, "optimizer": "amsgrad", "weight_decay_shrink": 0.9}
    run = build_run(settings(folder, **options), say=silent)
    assert places_of(run) == {f"Place({KIND}:0)"}
    batch = next(iter(run.loader.epoch(0)))
    train_step(run, [batch])
    assert places_of(run) == {f"Place({KIND}:0)"}
    run.loader.close()


@check
def device_cpu_means_the_cpu(folder: Path) -> None:
    """On a build whose default is an accelerator, as that of a GPU build is."""
    with devices.on_cpu():
        run = build_run(settings(folder, loss="AdaFace"), say=silent)
        train_step(run, [next(iter(run.loader.epoch(0)))])
        assert places_of(run) == {"Place(cpu)"}
        run.loader.close()
    paddle.save(build_backbone("MobileFaceNet_128", embedding_size=8, width=0.125).state_dict(), f"{folder}/w.pdparams")
    settings_of_model = EmbedderSettings(network="MobileFaceNet_128", device="cpu")
    before = paddle.nn.Layer.__call__
    inputs: set[str] = set()

    def noting(layer: Any, *args: Any, **options: Any) -> Any:
        inputs.update(str(tensor.place) for tensor in (*args, *layer.parameters()) if isinstance(tensor, paddle.Tensor))
        return before(layer, *args, **options)

    paddle.nn.Layer.__call__ = noting
    try:
        open_embedder(f"{folder}/w.pdparams", settings=settings_of_model).embed(np.zeros((2, 112, 112, 3), np.uint8))
    finally:
        paddle.nn.Layer.__call__ = before
    assert inputs == {"Place(cpu)"}


@check
def the_group_is_joined_on_the_chosen_device(_: Path) -> None:
    """The group takes the collectives of the device that is current when it is joined."""
    os.environ["PADDLE_TRAINERS_NUM"] = "1"
    try:
        with joined_ranks("cpu") as ranks:
            assert ranks is not None and paddle.get_device() == "cpu" and devices.collectives_backend() == "gloo"
        with joined_ranks("gpu"):
            assert paddle.get_device() == f"{KIND}:0"
    finally:
        del os.environ["PADDLE_TRAINERS_NUM"]
    os.environ["FLAGS_selected_gpus"] = "3"  # noqa: SIM112  # the launcher's spelling
    assert [device_of_rank(name) for name in ("gpu", "gpu:1", "cpu")] == ["gpu:3", "gpu:1", "cpu"]
    del os.environ["FLAGS_selected_gpus"]  # noqa: SIM112


@check
def export_runs_on_the_cpu(folder: Path) -> None:
    """The gate compares with CPU inference to five digits; a GPU's TF32 would not pass it."""
    loaded: list[str] = []

    class Source(NetworkSource):
        def load(self) -> Any:
            network = super().load()
            loaded.extend(str(weight.place) for weight in network.parameters())
            return network

    paddle.save(build_backbone("MobileFaceNet_128", embedding_size=8, width=0.125).state_dict(), f"{folder}/e.pdparams")
    source = Source("MobileFaceNet_128", f"{folder}/e.pdparams")
    export_model(source, folder / "exported", model_format="json", settings=GraphSettings())
    assert set(loaded) == {"Place(cpu)"}
    assert paddle.get_device() == f"{KIND}:0"


def half_kernels_asked_for(function: Callable[[], Any]) -> str:
    """Return what the device, which has no kernels of its own, and the CPU, which has none in 16 bits, refuse."""
    try:
        function()
    except RuntimeError as error:
        return str(error)
    return ""


@check
def prelu_computes_in_16_bits_on_cuda(_: Path) -> None:
    x, slopes = paddle.ones([1, 4, 2, 2]), paddle.full([4], 0.25)
    with mixed_precision("float16"):
        assert half_kernels_asked_for(lambda: F.prelu(x, slopes)) == "", "nobody knows of a plugged-in accelerator"
        assert "float16) of kernel `conv2d`" in half_kernels_asked_for(lambda: F.conv2d(x, paddle.ones([2, 4, 1, 1])))
    real = precision_module.operators_in_half
    precision_module.operators_in_half = lambda _: real("gpu:0")
    try:
        with mixed_precision("float16"):
            assert "float16) of kernel `prelu`" in half_kernels_asked_for(lambda: F.prelu(x, slopes))
        with mixed_precision("float32"):
            assert F.prelu(x, slopes).dtype == paddle.float32
        with devices.on_cpu(), mixed_precision("float16"):
            assert F.prelu(x.cpu(), slopes.cpu()).dtype == paddle.float32
    finally:
        precision_module.operators_in_half = real
    assert real("gpu:1") == {"prelu"} and real("cpu") == real(f"{KIND}:0") == frozenset()


@check
def the_head_computes_in_16_bits_where_asked(folder: Path) -> None:
    for flags, dtype in (({"fp16": True}, "float16"), ({"bf16": True}, "bfloat16"), ({}, "float32")):
        run = build_run(settings(folder, **flags), say=silent)
        assert run.classifier.settings.matmul_dtype == dtype
        with devices.on_cpu():
            assert build_run(settings(folder, **flags), say=silent).classifier.settings.matmul_dtype == "float32"


@check
def a_precision_that_the_device_lacks_is_refused(folder: Path) -> None:
    """Paddle itself only warns, and computes in float32."""
    os.environ["FAKE_DEVICE_HALF"] = "0"
    try:
        assert "precision bfloat16" in refusal_of(lambda: build_run(settings(folder, bf16=True), say=silent))
        assert "precision float16" in refusal_of(lambda: build_run(settings(folder, fp16=True), say=silent))
        devices.require_precision("float32")
        with devices.on_cpu():
            devices.require_precision("bfloat16")
    finally:
        del os.environ["FAKE_DEVICE_HALF"]


@check
def weights_lie_in_one_piece_of_memory(folder: Path) -> None:
    """On a device by default; steps, and loading a checkpoint, leave them there."""
    run = build_run(settings(folder), say=silent)
    batches = run.loader.epoch(0)
    before = [weight.numpy() for weight in run.network.parameters() if not weight.stop_gradient]
    for _ in range(2):
        train_step(run, [next(batches)])
        run.network.set_state_dict({key: tensor.numpy() for key, tensor in run.network.state_dict().items()})
    after = [weight.numpy() for weight in run.network.parameters() if not weight.stop_gradient]
    assert not any(np.array_equal(old, new) for old, new in zip(before, after)), "a weight has not been updated"
    for group in run.optimizer._groups:
        flat = group._shared.numpy()
        for start, size, weight in zip(group._starts, group._sizes, group._weights):
            assert group._shared._is_shared_buffer_with(weight)
            assert np.array_equal(flat[start : start + size], weight.numpy().ravel())
    run.loader.close()
    with devices.on_cpu():
        assert build_run(settings(folder), say=silent).optimizer._groups[0]._shared is None


@check
def pictures_are_copied_in_a_queue_of_their_own(folder: Path) -> None:
    """Each copy waits for what has read its place, and is waited for; the host waits for neither."""
    runs = [build_run(settings(folder, copy_stream=flag, batch_norm="frozen"), say=silent) for flag in (False, True)]
    batches = [run.loader.epoch(0) for run in runs]
    stream_notes()
    paddle.device.current_stream().record_event()
    [(_, computing, _)] = stream_notes()
    for number in range(6):
        losses, notes = [], []
        for run, own in zip(runs, batches):
            batch = next(own)
            stream_notes()
            with counted() as waits:
                losses.append(train_step(run, [batch])[0])
            notes.append(stream_notes())
            assert waits.places == []
        assert float(losses[0]) == float(losses[1])
        queues = {queue for what, queue, _ in notes[1]} - {queue for what, queue, _ in notes[0]}
        if number < 2:
            continue  # the first two make the places
        [queue] = queues
        order = [(what, event) for what, own, event in notes[1] if own == queue]
        assert [what for what, _ in order] == ["wait", "copy", "record"], order
        arrived = order[-1][1]
        waits_of_computing = [event for what, own, event in notes[1] if what == "wait" and own != queue]
        assert arrived in waits_of_computing
        paddle.device.current_stream().record_event()
        assert stream_notes()[-1][1] == computing != queue
    for run in runs:
        run.loader.close()


@check
def what_is_for_cuda_alone_is_refused(folder: Path) -> None:
    for changes in ({"cudnn_search": True}, {"batch_norm": "native_sync"}, {"mode": "cinn"}):
        said = refusal_of(lambda changes=changes: build_run(settings(folder, **changes), say=silent))
        assert f"is for CUDA GPUs, the device is {KIND}:0" in said, said


@check
def channels_last_trains_on_the_device(folder: Path) -> None:
    """Step by step the losses of the other order."""
    of_formats = []
    for data_format in ("NCHW", "NHWC"):
        run = build_run(settings(folder, data_format=data_format, batch_norm="frozen", lr=0.1), say=silent)
        batches = run.loader.epoch(0)
        of_formats.append([float(train_step(run, [next(batches)])[0]) for _ in range(3)])
        run.loader.close()
    assert len(set(of_formats[0])) == 3
    assert np.allclose(of_formats[0], of_formats[1], rtol=1e-4), of_formats


def longest_silence_s(direction: str, function: Callable[[], Any]) -> float:
    """Return for how long no other thread ran while ``function`` waits for a slow copy."""
    ticks, ended = [time.monotonic()], threading.Event()

    def tick() -> None:
        while not ended.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    getattr(library(), f"fake_device_slow_next_copy_to_{direction}")(int(1000 * SLOW_COPY_S))
    begin = time.monotonic()
    function()
    took_s = time.monotonic() - begin
    ended.set()
    thread.join()
    assert took_s >= 0.9 * SLOW_COPY_S, "nothing was copied"
    return float(np.diff([*ticks, time.monotonic()]).max())


@check
def other_threads_run_while_a_copy_waits(_: Path) -> None:
    one, array = paddle.ones([1]), np.ones(3, np.float32)
    ways: dict[str, tuple[str, Callable[[], Any]]] = {
        "to_device": ("device", lambda: devices.to_device(array)),
        "to_host": ("host", lambda: devices.to_host(one)),
        "float": ("host", lambda: float(paddle.ones([]))),
    }
    for name, (direction, function) in ways.items():
        silence_s = longest_silence_s(direction, function)
        assert silence_s < 0.75 * SLOW_COPY_S, (name, silence_s)
    # What they replace keeps the lock all the time, which is why they are there.
    assert longest_silence_s("device", lambda: paddle.to_tensor(array)) > 0.9 * SLOW_COPY_S
    assert longest_silence_s("host", lambda: one.item()) > 0.9 * SLOW_COPY_S


@check
def copies_keep_shape_and_type(_: Path) -> None:
    for dtype in ("float32", "float64", "int64", "int32", "bool", "uint8", "float16"):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        for value in (array, array[:, ::2], array[:0]):
            there = devices.to_device(value)
            assert str(there.place) == f"Place({KIND}:0)"
            back = devices.to_host(there)
            assert back.dtype == value.dtype and back.shape == value.shape and (back == value).all()


@check
def pixels_are_mirrored_and_normalised_on_the_device(folder: Path) -> None:
    """Bit for bit as workers of a run on CPU do it, from a quarter of the bytes."""
    flip = {"flip": True, "batch_size": 30}
    run = build_run(settings(folder, **flip), say=silent)
    with devices.on_cpu():
        on_cpu = build_run(settings(folder, **flip), say=silent)
    batch, expected = next(run.loader.epoch(0)), next(on_cpu.loader.epoch(0))
    assert batch.images.dtype == np.uint8 and expected.images.dtype == np.float32
    assert batch.mirrors is not None and 0 < batch.mirrors.sum() < 30 and expected.mirrors is None
    there = pictures.on_device(batch, run.upload)
    assert str(there.place) == f"Place({KIND}:0)"
    assert (devices.to_host(there) == expected.images).all()
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert (pictures.normalised(devices.to_device(every)).numpy().ravel() == _NORMALIZED).all()
    run.loader.close()
    on_cpu.loader.close()


@check
def numbers_of_16_bits_are_those_of_numpy(_: Path) -> None:
    """In which the device sums float16 and bfloat16: every float16 there and back, and what lies between them."""
    to_float16, from_float16 = library().fake_device_to_float16, library().fake_device_from_float16
    to_bfloat16 = library().fake_device_to_bfloat16
    to_float16.argtypes = to_bfloat16.argtypes = [ctypes.c_float]
    to_float16.restype = to_bfloat16.restype = ctypes.c_uint16
    from_float16.argtypes, from_float16.restype = [ctypes.c_uint16], ctypes.c_float
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    there = np.array([from_float16(int(bits)) for bits in every.view(np.uint16)], np.float32)
    np.testing.assert_array_equal(there, every.astype(np.float32))
    random = np.random.default_rng(0)
    values = random.standard_normal(5000) * 10.0 ** random.integers(-8, 7, 5000)
    values = np.concatenate([values, [65519.9, 65520.0, 2.0**-25, 2.0**-24 * 1.5, -0.0, np.inf]]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal([to_float16(float(value)) for value in values], expected)
    brain = paddle.to_tensor(values, place=paddle.CPUPlace()).astype("bfloat16").astype("float32").numpy()
    np.testing.assert_array_equal([to_bfloat16(float(value)) for value in values], brain.view(np.uint32) >> 16)


@check
def a_step_waits_for_nothing(folder: Path) -> None:
    ways: tuple[dict[str, Any], ...] = (
        {},
        {"sample_rate": 0.3, "accumulation": 2},
        {"loss": "AdaFace", "subcentres": 2, "batch_norm": "frozen"},
        {"centre_weight": 0.1, "optimizer": "adamw", "weight_decay_shrink": 0.9},
    )
    for changes in ways:
        run = build_run(settings(folder, **changes), say=silent)
        batches = run.loader.epoch(0)
        own = [next(batches) for _ in range(run.config.optimizer.accumulation)]
        with counted() as waits:
            train_step(run, own)
        assert waits.places == [], (changes, waits.places)
        run.loader.close()


@check
def a_logged_step_waits_once(folder: Path) -> None:
    of_steps = waits_of_steps(settings(folder, output=str(folder / "logged"), weight_decay_shrink=0.9))
    assert [len(places) for places in of_steps] == [0, 0, 1, 0, 0, 1], of_steps


@check
def what_counts_the_waits_sees_them(_: Path) -> None:
    one = paddle.ones([])
    with counted() as waits:
        (float(one), bool(one), int(one), one.item(), one.tolist(), np.asarray(one), one.numpy(), one.cpu())
        paddle.to_tensor(np.ones(3))
        devices.wait_for_device()
        devices.to_host(one)
    assert len(waits.places) == 11, waits.places
    with counted() as waits:
        devices.to_device(np.ones(3))
        paddle.to_tensor(np.ones(3), place=paddle.CPUPlace()).numpy()
        any_rank(True)  # alone
        gather_json(1)
    assert waits.places == [], waits.places


def main() -> None:
    """Run every check and note how it ended."""
    folder = Path(sys.argv[1])
    write_dataset(folder / "data", identities=10, pictures=3, pairs=4)
    ended: dict[str, str] = {}
    for name, function in CHECKS.items():
        devices.use_device("gpu")
        begin = time.monotonic()
        try:
            function(folder)
            ended[name] = ""
        except Exception:  # noqa: BLE001  # of whatever kind: the test shows it
            ended[name] = traceback.format_exc()
        print(f"{name}: {'failed' if ended[name] else 'passed'} in {time.monotonic() - begin:.1f} s", flush=True)
    (folder / "checks.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main()
