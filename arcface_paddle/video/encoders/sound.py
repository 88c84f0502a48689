"""The sound of a video beside its annotated frames: copied as it is, or made AAC where browsers do not play it so."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Iterator, Optional

from arcface_paddle.video.sources.pyav_video import ffmpeg_name, lenient, reason_of, require_av

_PLAYED_IN_MP4 = frozenset({"aac", "mp3", "mp3float", "opus", "flac"})  # by Chromium, Firefox and Safari
_AHEAD_S = 0.5  # of the frames: players want the sound of a moment near its picture


@dataclass(frozen=True)
class SoundSource:
    """Where the sound comes from.

    Attributes:
        path: of the video, or its address.
        start_s: second of the video that the first frame shows.
    """

    path: str
    start_s: float = 0.0


class Sound:
    """Reads the sound of a file again and puts it into a container, up to what the frames have reached.

    What goes wrong with it does not harm the frames.

    Attributes:
        problem: what went wrong; empty if nothing did.
    """

    def __init__(self, source: SoundSource, target: Any) -> None:
        """Add a stream for the sound of ``source`` to ``target``; none when it has no sound."""
        self.problem = ""
        self._av = require_av()
        self._start_s = source.start_s
        self._target = target
        self._container: Any = None
        self._packets: Iterator[Any] = iter(())
        self._waiting: Optional[Any] = None
        self._resampler: Any = None
        self._samples = 0
        try:
            self._open(source)
        except self._av.FFmpegError as error:
            self._give_up(error)

    def copy_until(self, time_s: float) -> None:
        """Put in what is heard up to ``time_s`` after the first frame, and a little more."""
        try:
            while True:
                packet = self._waiting or next(self._packets, None)
                self._waiting = None
                if packet is None:
                    return
                if packet.pts is not None and self._time_of(packet) > time_s + _AHEAD_S:
                    self._waiting = packet
                    return
                self._put(packet)
        except self._av.FFmpegError as error:
            self._give_up(error)

    def close(self) -> None:
        """Put in what the encoder holds back, and free the source."""
        try:
            if self._resampler is not None:
                self._encode(None)
        except self._av.FFmpegError as error:
            self._give_up(error)
        if self._container is not None:
            self._container.close()

    def _open(self, source: SoundSource) -> None:
        self._container = self._av.open(ffmpeg_name(source.path), **lenient())
        if not self._container.streams.audio:
            return
        self._from = self._container.streams.audio[0]
        self._begins_s = self._beginning_of_frames() + source.start_s
        if source.start_s > 0:
            self._container.seek(int(self._begins_s * self._av.time_base), backward=True)
        if self._from.codec_context.name in _PLAYED_IN_MP4:
            self._to = self._target.add_stream_from_template(self._from)
        else:
            context = self._from.codec_context
            self._to = self._target.add_stream("aac", rate=context.sample_rate or 48_000, layout=context.layout)
            self._resampler = self._av.AudioResampler(
                format="fltp", layout=self._to.layout, rate=self._to.sample_rate, frame_size=1024
            )
        self._packets = self._container.demux(self._from)

    def _beginning_of_frames(self) -> float:
        """Return the second of the file's clock at which its frames begin."""
        stream = self._container.streams.video[0]
        return float((stream.start_time or 0) * stream.time_base)

    def _time_of(self, packet: Any) -> float:
        return float(packet.pts * packet.time_base) - self._begins_s

    def _put(self, packet: Any) -> None:
        """Put in one packet; what is heard before the first frame is left out."""
        if self._resampler is not None:
            for frame in packet.decode():
                if frame.pts is None or float(frame.pts * frame.time_base) >= self._begins_s:
                    self._encode(frame)
            return
        if packet.dts is None or packet.pts is None or self._time_of(packet) < -0.5 * _duration_s(packet):
            return
        shift = self._shift(packet.time_base)
        packet.pts = max(0, packet.pts - shift)
        packet.dts = max(0, packet.dts - shift)
        packet.stream = self._to
        self._target.mux(packet)

    def _shift(self, time_base: Fraction) -> int:
        """Return how many units lie before the first frame."""
        return round(
            Fraction(self._begins_s).limit_denominator(1_000_000) / Fraction(time_base.numerator, time_base.denominator)
        )

    def _encode(self, frame: Any) -> None:
        """Encode a frame of sound; None for what is held back."""
        if frame is not None and self._samples == 0 and frame.pts is not None:
            begins_s = float(frame.pts * frame.time_base) - self._begins_s
            self._samples = max(0, round(begins_s * self._to.sample_rate))
        for resampled in self._resampler.resample(frame):
            # Counted, as time stamps of some containers jump by a sample, which encoders refuse.
            resampled.pts, resampled.time_base = self._samples, Fraction(1, self._to.sample_rate)
            self._samples += resampled.samples
            self._target.mux(self._to.encode(resampled))
        if frame is None:
            self._target.mux(self._to.encode(None))

    def _give_up(self, error: Any) -> None:
        self.problem = f"the sound could not be kept: {reason_of(error)}"
        self._packets, self._waiting, self._resampler = iter(()), None, None


def _duration_s(packet: Any) -> float:
    return float((packet.duration or 0) * packet.time_base)
