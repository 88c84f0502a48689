"""Tell whether two pictures show the same person, at a rate of errors that you choose.

The exit code is 0 for one person and 1 for two, so that scripts can use it. From the repository's root:

    python examples/compare_pictures.py demo/queries/obama_speech_2009.jpg demo/queries/obama_blue_room.jpg --far 1e-3
"""

import argparse
import sys

from arcface_paddle import ArcfaceError, compare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--far", help="how often two strangers may pass for one person: 1e-2, 1e-3 or 1e-4")
    choice.add_argument("--threshold", type=float, help="least similarity, -1 to 1, instead of a rate")
    args = parser.parse_args()
    try:
        found = compare(args.first, args.second, far=args.far, threshold=args.threshold)
    except ArcfaceError as error:  # no face, no picture, a rate that the model's card does not have
        sys.exit(f"error: {error}")
    verdict = "the same person" if found.same_person else "two people"
    print(f"{verdict}: similarity {found.similarity:.3f}, needed {found.threshold:.3f}")
    if found.probability is not None:
        print(f"estimated probability of one person: {found.probability:.1%}")
    return 0 if found.same_person else 1


if __name__ == "__main__":
    sys.exit(main())
