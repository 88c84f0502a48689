"""Group the faces of an album in which nobody has a name, then list all pictures of the person on a portrait.

A second run looks at new pictures only. From the repository's root:

    python examples/group_album.py demo/queries output/album --find demo/queries/obama_blue_room.jpg
"""

import argparse

from arcface_paddle import PipelineSettings, ThresholdSettings, open_pipeline
from arcface_paddle.library.embedded import load_embedded
from arcface_paddle.library.finding import FaceFilter, faces_like, find_pictures_of
from arcface_paddle.library.folder_run import PeopleSettings, update_library
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.thresholds import search_threshold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("album", help="folder of pictures")
    parser.add_argument("output", help="folder for people.json and a folder of links per person")
    parser.add_argument("--find", metavar="PICTURE", help="a portrait of somebody to look for")
    args = parser.parse_args()

    models = PipelineSettings(rec_model="FaceFusion")  # the most accurate of those that come along
    analyzer = open_pipeline(models).analyzer
    settings = PeopleSettings(args.album, output=args.output)
    done = update_library(settings, models, open_workers=lambda count: PictureWorkers(analyzer))
    for group in done.people.grouping.groups:
        print(f"group {group.group_id}: {len(group.face_ids)} faces")

    if args.find:
        card = analyzer.recognizer.card
        threshold = search_threshold(card, ThresholdSettings(), comparisons=len(done.people.faces)).similarity
        library = load_embedded(done.people).judged_by(card)
        portrait = analyzer.analyze(args.find).faces[0]
        faces = faces_like(args.find, library, portrait.embedding, threshold=threshold)
        for found in find_pictures_of([faces], [], done.people, faces=FaceFilter(0, 0)):
            print(f"{found.picture.path} ({found.similarity:.2f})")


if __name__ == "__main__":
    main()
