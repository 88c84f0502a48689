"""Enrol a person in a running service, ask it who is on a picture, and remove the person again.

In one terminal ``arcface-paddle serve --demo --port 8080`` (or a service with keys), in another:

    python examples/service_client.py http://127.0.0.1:8080 demo/queries/stranger_collins.jpg demo/queries/group.jpg
"""

import argparse
import sys

from arcface_paddle.service.client import ServiceCallError, ServiceClient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("portrait", help="shows the one face of the person to enrol")
    parser.add_argument("picture", help="whose faces are looked for")
    parser.add_argument("--key", help="API key with the role write, for a service with keys")
    args = parser.parse_args()

    client = ServiceClient(args.address, key=args.key)
    try:
        person = client.create_person("Eileen Collins", consent="example, removed at its end")
        client.add_face(person["id"], args.portrait)
        print(f"{client.people()['total']} people are known")
        for face in client.identify(args.picture)["faces"]:
            print(face["name"] or "unknown", "-" if face["similarity"] is None else f"{face['similarity']:.2f}")
        client.remove_person(person["id"])
        print(f"{client.people()['total']} people are known")
    except ServiceCallError as error:  # says what to do, and under which number the service's log has the request
        sys.exit(f"error {error.status} {error.code}: {error}")


if __name__ == "__main__":
    main()
