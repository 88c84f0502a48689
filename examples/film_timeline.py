"""Write who is in a film, from when to when, as CSV; and print how long each person was there.

The gallery is a file that ``arcface-paddle gallery build`` has made. From the repository's root:

    arcface-paddle gallery build people.index --img_dir demo/gallery
    python examples/film_timeline.py people.index film.mp4 timeline.csv
"""

import argparse
from pathlib import Path

from arcface_paddle import Gallery, PipelineSettings, open_pipeline
from arcface_paddle.video import FaceTracks, VideoReader, attendance, timeline_to_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery")
    parser.add_argument("film")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()

    analyzer = open_pipeline(PipelineSettings(), gallery=Gallery.load(args.gallery)).analyzer
    tracks = FaceTracks(analyzer)  # names follow from all frames in which somebody was seen
    with VideoReader(args.film) as film:
        for frame in film:
            tracks.update(frame.image, frame.time_s)
    entries = tracks.finish()
    args.output.write_text(timeline_to_csv(entries), encoding="utf-8")
    for person in attendance(entries):
        print(f"{person.person}: {person.seconds:.1f} s, first at {person.first_s:.1f} s")


if __name__ == "__main__":
    main()
