"""Moving pictures: files, cameras and streams in, annotated videos and timelines of who was there out.

``VideoSession`` runs a whole film or camera as the command does. Its parts stand alone: ``VideoReader`` gives frames,
``FaceTracks`` joins their faces to tracks with names, ``VideoWriter`` writes a film.

    tracks = FaceTracks(analyzer)
    with VideoReader("film.mp4") as film:
        for frame in film:
            tracks.update(frame.image, frame.time_s)
    print(timeline_to_csv(tracks.finish()))

Importing this package opens no video library; reading and writing do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arcface_paddle.lazy_names import loader_of

if TYPE_CHECKING:  # the names for editors and type checkers; they are loaded on first use
    from arcface_paddle.video.analysis import EachFrameAlone as EachFrameAlone
    from arcface_paddle.video.frames import VideoFrame as VideoFrame
    from arcface_paddle.video.reading import VideoReader as VideoReader
    from arcface_paddle.video.session import VideoSession as VideoSession
    from arcface_paddle.video.timeline import Attendance as Attendance
    from arcface_paddle.video.timeline import TimelineEntry as TimelineEntry
    from arcface_paddle.video.timeline import attendance as attendance
    from arcface_paddle.video.timeline import attendance_to_csv as attendance_to_csv
    from arcface_paddle.video.timeline import timeline_to_csv as timeline_to_csv
    from arcface_paddle.video.track_settings import TrackSettings as TrackSettings
    from arcface_paddle.video.tracking import FaceTracks as FaceTracks
    from arcface_paddle.video.video_settings import VideoSettings as VideoSettings
    from arcface_paddle.video.writing import VideoWriter as VideoWriter

_HOME_OF_NAME = {
    "Attendance": "arcface_paddle.video.timeline",
    "EachFrameAlone": "arcface_paddle.video.analysis",
    "FaceTracks": "arcface_paddle.video.tracking",
    "TimelineEntry": "arcface_paddle.video.timeline",
    "TrackSettings": "arcface_paddle.video.track_settings",
    "VideoFrame": "arcface_paddle.video.frames",
    "VideoReader": "arcface_paddle.video.reading",
    "VideoSession": "arcface_paddle.video.session",
    "VideoSettings": "arcface_paddle.video.video_settings",
    "VideoWriter": "arcface_paddle.video.writing",
    "attendance": "arcface_paddle.video.timeline",
    "attendance_to_csv": "arcface_paddle.video.timeline",
    "timeline_to_csv": "arcface_paddle.video.timeline",
}

__all__ = sorted(_HOME_OF_NAME)
__getattr__ = loader_of(__name__, _HOME_OF_NAME)


def __dir__() -> list[str]:
    return __all__
