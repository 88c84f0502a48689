"""Documents that are sound but for a few values: what byte-wise mutation seldom reaches, since it breaks the syntax.

Hypothesis takes a sound document of a target apart, puts other values into it, leaves keys out or doubles them, and
writes it again as JSON or YAML. The same guard watches as everywhere in this folder. The examples follow from a fixed
seed, so that a run is like the last.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Iterator

import pytest
from fuzz_running import attack_with
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

yaml = pytest.importorskip("yaml")

JSON_TARGETS = (
    "model_json", "graph_json", "checkpoint_manifest", "checkpoint_state", "gallery_gallery", "gallery_saved",
    "gallery_contract", "people_json", "corrections", "corrections_memory", "face_sheets", "store_identity", "api_keys",
    "embedding_shards", "shard_done", "shard_index", "packed_json", "paddle_meta", "http_json", "http_body",
    "bcolz_sizes",
)  # fmt: skip
YAML_TARGETS = ("yaml", "run_config")
_COMMON = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)

pytestmark = pytest.mark.filterwarnings("ignore")

numbers = st.one_of(
    st.sampled_from(
        (0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.0, -0.0, 1e308, float("inf"), float("nan"))
    ),
    st.integers(-(2**70), 2**70),
    st.floats(),
)
texts = st.one_of(
    st.sampled_from(
        ("", "\0", "..", "../x", "/etc/x", "\ud800", "a" * 300, "\x1b[2J", "1e400", "NaN", "nan", "2001-13-45")
    ),
    st.text(max_size=12),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=4),
    st.dictionaries(texts, scalars, max_size=3),
    st.integers(1, 60).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)
"""What may stand in the place of a value: of every kind, at the ends of ranges, of the right kind and absurd."""

_ABSURD: tuple[Any, ...] = (
    10**400, float("nan"), float("inf"), -1, 2**63, True, None, "", "\ud800", "\0", "x" * 5000, [], {}, [[1] * 3], 1.5,
)  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values of a document, its own included."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None], value: Any) -> Any:
    """Return the document with a change at a place; the place may be gone by an earlier change."""
    if not path:
        return value
    holder = document
    try:
        for key in path[:-1]:
            holder = holder[key]
        change(holder, (path[-1], value))
    except (KeyError, IndexError, TypeError, AttributeError):
        pass
    return document


def _put(holder: Any, what: Any) -> None:
    holder[what[0]] = what[1]


def _take(holder: Any, what: Any) -> None:
    del holder[what[0]]


def _add(holder: Any, what: Any) -> None:
    if isinstance(holder, dict):
        holder[str(what[1])[:40]] = what[1]
    else:
        holder.append(what[1])


def _double(holder: Any, what: Any) -> None:
    holder.append(holder[what[0]])


_CHANGES = (_put, _put, _put, _take, _add, _double)


@st.composite
def documents(draw: st.DrawFn, sound: list[Any]) -> Any:
    """Give one of some documents with one to three changes."""
    document = json.loads(json.dumps(draw(st.sampled_from(sound))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)))
        document = changed(document, path, draw(st.sampled_from(_CHANGES)), draw(values))
    return document


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


def as_yaml(document: Any) -> bytes:
    return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")


def _parse(name: str, *, read: Callable[[bytes], Any], write: Callable[[Any], bytes], examples: int) -> None:
    """Attack a target with changed documents."""
    sound = [document for document in map(read, TARGETS[name].seeds()) if document]

    @settings(_COMMON, max_examples=examples)
    @given(documents(sound))
    def attack(document: Any) -> None:
        outcome = attack_with(TARGETS[name], [write(document)])
        assert not outcome.violations, dict(outcome.seen)

    attack()


@pytest.mark.parametrize("name", JSON_TARGETS)
def test_json_documents_with_other_values(name: str) -> None:
    _parse(name, read=json.loads, write=as_json, examples=20)


@pytest.mark.parametrize("name", YAML_TARGETS)
def test_recipes_with_other_values(name: str) -> None:
    _parse(name, read=yaml.safe_load, write=as_yaml, examples=12)


def _with_one_other_value(sound: Any, *, step: int) -> Iterator[bytes]:
    """Give a document with each absurd value at each ``step``-th of its places."""
    for path in places(sound)[::step]:
        for value in _ABSURD:
            yield as_json(changed(json.loads(json.dumps(sound)), path, _put, value))


@pytest.mark.parametrize("name", JSON_TARGETS)
def test_every_absurd_value_at_places_of_a_document(name: str) -> None:
    sound = json.loads(TARGETS[name].seeds()[0])
    step = 1 + len(places(sound)) // 25
    outcome = attack_with(TARGETS[name], _with_one_other_value(sound, step=step))
    assert not outcome.violations, dict(outcome.seen)


@pytest.mark.long
@pytest.mark.parametrize("name", JSON_TARGETS)
def test_every_absurd_value_everywhere(name: str) -> None:
    for sound in map(json.loads, TARGETS[name].seeds()):
        outcome = attack_with(TARGETS[name], _with_one_other_value(sound, step=1))
        assert not outcome.violations, dict(outcome.seen)


@pytest.mark.long
@pytest.mark.parametrize("name", JSON_TARGETS)
def test_many_json_documents(name: str) -> None:
    _parse(name, read=json.loads, write=as_json, examples=150)


def test_a_document_is_changed_at_every_depth() -> None:
    sound = {"a": [1, {"b": 2}], "c": "d"}
    assert places(sound) == [(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",)]
    assert changed(json.loads(json.dumps(sound)), ("a", 1, "b"), _put, None) == {"a": [1, {"b": None}], "c": "d"}
    assert changed(json.loads(json.dumps(sound)), ("a", 0), _take, None) == {"a": [{"b": 2}], "c": "d"}
    assert changed(json.loads(json.dumps(sound)), ("c",), _add, 5) == {**sound, "5": 5}
