"""Who gets in, how often, and what is noted of it."""

from __future__ import annotations

import json
import logging
import re
import stat

import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.service.audit import AuditLog
from arcface_paddle.service.client import ServiceCallError
from arcface_paddle.service.errors import RateLimitedError
from arcface_paddle.service.keys import KEYS, KeyFile
from arcface_paddle.service.rate_limit import RateLimiter
from arcface_paddle.service.request_log import LOGGER, JsonFormatter
from arcface_paddle.service.service_settings import Limits, ServiceSettings

ASKED = [
    ("read", "GET", "/v1/people"),
    ("read", "GET", "/v1/models"),
    ("read", "GET", "/v1/gallery"),
    ("read", "GET", "/v1/access"),
    ("read", "GET", "/v1/people/x"),
    ("read", "GET", "/v1/people/x/faces"),
    ("read", "POST", "/v1/detect"),
    ("read", "POST", "/v1/embed"),
    ("read", "POST", "/v1/compare"),
    ("read", "POST", "/v1/identify"),
    ("write", "POST", "/v1/people"),
    ("write", "PATCH", "/v1/people/x"),
    ("write", "DELETE", "/v1/people/x"),
    ("write", "POST", "/v1/people/x/merge"),
    ("write", "POST", "/v1/people/x/faces"),
    ("write", "DELETE", "/v1/people/x/faces/y"),
    ("write", "POST", "/v1/jobs/enrol"),
    ("write", "GET", "/v1/jobs/x"),
    ("write", "DELETE", "/v1/jobs/x"),
    ("write", "GET", "/v1/unknown"),
    ("write", "POST", "/v1/unknown/x/name"),
    ("write", "DELETE", "/v1/unknown/x"),
    ("admin", "GET", "/metrics"),
]
BODIES = {"/v1/people": {"name": "A"}, "/v1/people/x/merge": {"into": "y"}, "/v1/unknown/x/name": {"name": "A"}}
NO_KEYS = [{}, {"Authorization": "Bearer afp_00000000_AAAA"}, {"X-API-Key": "x"}, {"Authorization": "Basic a"}]
PUBLIC = {"/v1/health/live", "/v1/health/ready"}


def test_the_list_names_every_route(service):
    listed = {
        (method.upper(), path)
        for path, operations in service.app.openapi()["paths"].items()
        if path not in PUBLIC
        for method in operations
    }
    asked = {(method, path.replace("/faces/y", "/faces/{face_id}")) for _, method, path in ASKED}
    names = {"people": "{person_id}", "jobs": "{job_id}", "unknown": "{group}"}
    for room, name in names.items():
        asked = {(method, path.replace(f"/{room}/x", f"/{room}/{name}")) for method, path in asked}
    assert asked == listed


def test_every_route_asks_for_a_key_of_its_role(keyed):
    service, keys = keyed
    roles = ["read", "write", "admin"]
    for role, method, path in ASKED:
        body = BODIES.get(path, {}) if method in ("POST", "PATCH") else None
        for wrong in NO_KEYS:
            answer = service.http.request(method, path, json=body, headers=wrong)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path, wrong)
            assert answer.headers["www-authenticate"] == "Bearer"
        for own in roles:
            answer = service.http.request(method, path, json=body, headers={"Authorization": f"Bearer {keys[own]}"})
            refused = answer.status_code == 403 and answer.json()["code"] == "forbidden"
            assert refused == (roles.index(own) < roles.index(role)), (method, path, own, answer.status_code)
            assert answer.status_code != 401


def test_a_caller_is_told_what_it_may_do(keyed, open_service):
    service, keys = keyed
    for role, key in keys.items():
        told = service.client_with(key).access()
        assert told == {"auth": True, "key": key.split("_")[1], "name": f"{role} key", "role": role}
    assert open_service().client.access() == {"auth": False, "key": None, "name": None, "role": "admin"}


def test_health_and_page_ask_for_no_key(keyed):
    service, _ = keyed
    for path in ("/v1/health/live", "/v1/health/ready", "/docs", "/openapi.json", "/docs.css"):
        assert service.http.get(path).status_code == 200, path


def test_a_key_that_is_added_or_revoked_counts_at_once(keyed):
    service, keys = keyed
    file = KeyFile(service.settings.state_folder / KEYS)
    late = file.add("late", role="read")
    client = service.client_with(late)
    assert client.people()["total"] == 3
    revoked = file.revoke(late.split("_")[1])
    assert revoked.label == "late"
    with pytest.raises(ServiceCallError) as caught:
        client.people()
    assert caught.value.status == 401
    assert service.client_with(keys["read"]).people()["total"] == 3


def test_the_file_of_keys_is_private_and_holds_no_key(tmp_path):
    file = KeyFile(tmp_path / "state" / KEYS)
    key = file.add("front desk", role="write")
    path = tmp_path / "state" / KEYS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert key.split("_", 2)[2] not in path.read_text()
    [entry] = file.list()
    assert file.check(key) == entry and entry.may("read") and entry.may("write") and not entry.may("admin")
    other = file.add("other", role="read")
    mixed = f"afp_{other.split('_')[1]}_{key.split('_', 2)[2]}"  # the id of one, the secret of another
    for wrong in (key[:-1], key + "A", key[4:], mixed, f"afp_{entry.id}_{entry.sha256}", "", "afp__", "\udcff"):
        assert file.check(wrong) is None


def test_a_damaged_file_of_keys_lets_nobody_in(keyed):
    service, keys = keyed
    (service.settings.state_folder / KEYS).write_text('{"format": "arcface-paddle-keys"}')
    answer = service.http.get("/v1/people", headers={"Authorization": f"Bearer {keys['admin']}"})
    assert (answer.status_code, answer.json()["code"]) == (500, "misconfigured")
    assert str(service.settings.state_folder) not in answer.text
    (service.settings.state_folder / KEYS).unlink()
    assert service.http.get("/v1/people", headers={"X-API-Key": keys["admin"]}).status_code == 401


@pytest.mark.parametrize("role, label", [("root", "a"), ("read", " "), ("read", "a\x1b[2J")])
def test_a_key_that_cannot_be_is_not_made(tmp_path, role, label):
    with pytest.raises(ConfigError):
        KeyFile(tmp_path / KEYS).add(label, role=role)
    with pytest.raises(ConfigError, match="there is no key 'x'"):
        KeyFile(tmp_path / KEYS).revoke("x")


def test_a_bucket_fills_at_its_rate():
    now = [0.0]
    limiter = RateLimiter(per_minute=60, burst=2, clock=lambda: now[0])
    limiter.take("a"), limiter.take("a")
    with pytest.raises(RateLimitedError) as caught:
        limiter.take("a")
    assert caught.value.retry_after_s == 1
    limiter.take("b")  # has a bucket of its own
    now[0] = 1.0
    limiter.take("a")
    with pytest.raises(RateLimitedError):
        limiter.take("a")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(open_service, gallery):
    service = open_service(auth=True, limits=Limits(requests_per_minute=6, burst=2))
    client = service.client_with(KeyFile(service.settings.state_folder / KEYS).add("a", role="read"))
    client.people(), client.people()
    with pytest.raises(ServiceCallError) as caught:
        client.people()
    assert (caught.value.status, caught.value.code) == (429, "rate_limited") and 1 <= caught.value.retry_after_s <= 10


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_without_keys_only_this_machine_is_served(host):
    with pytest.raises(ConfigError, match="this machine only"):
        ServiceSettings("a.index", host=host, auth=False)
    assert ServiceSettings("a.index", host=host).auth


def test_without_keys_pages_of_other_sites_are_kept_out(open_service, pictures):
    service = open_service(cors=("https://friend.example",))
    body = {"files": {"image": ("a.jpg", pictures["hopper"], "image/jpeg")}}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},  # a name of theirs that points to this machine
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        answer = service.http.post("/v1/detect", headers=headers, **body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), headers
    for headers in ({"Origin": "http://localhost"}, {"Origin": "https://friend.example"}, {}):
        assert service.http.post("/v1/detect", headers=headers, **body).status_code == 200, headers


def test_only_named_origins_may_read_answers(keyed, open_service, gallery):
    strict, keys = keyed
    headers = {"Origin": "https://friend.example", "Authorization": f"Bearer {keys['read']}"}
    assert "access-control-allow-origin" not in strict.http.get("/v1/people", headers=headers).headers
    open_one = open_service(auth=True, cors=("https://friend.example",))
    answer = open_one.http.get("/v1/people", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    headers["Origin"] = "https://evil.example"
    assert "access-control-allow-origin" not in open_one.http.get("/v1/people", headers=headers).headers
    for origin in ("*", "friend.example", "https://friend.example/path"):
        with pytest.raises(ConfigError, match="an origin"):
            ServiceSettings("a.index", cors=(origin,))


def test_every_answer_has_an_id_and_the_headers_that_keep_browsers_safe(service):
    for path in ("/v1/people", "/v1/people/none", "/nowhere", "/docs", "/v1/health/live"):
        answer = service.http.get(path, headers={"X-Request-Id": "mine-7"})
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-request-id"] == "mine-7"
    assert service.http.get("/v1/people").headers["cache-control"] == "no-store"
    ids = {service.http.get("/v1/people", headers={"X-Request-Id": 'a"\tb'}).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2 and all(len(request_id) == 16 for request_id in ids)


def test_the_audit_log_says_who_did_what_and_holds_nothing_of_a_face(keyed, pictures):
    service, keys = keyed
    client = service.client_with(keys["write"])
    person = client.create_person("Eileen Collins")
    face = client.add_face(person["id"], pictures["stranger"])
    client.identify(pictures["stranger"])
    client.remove_face(person["id"], face["id"])
    client.remove_person(person["id"])
    path = service.settings.state_folder / "audit.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    actions = ["person.create", "face.add", "identify", "face.delete", "person.delete"]
    assert [line["action"] for line in lines] == actions
    assert {line["key"] for line in lines} == {keys["write"].split("_")[1]}
    assert [line.get("person") for line in lines] == [person["id"], person["id"], None, person["id"], person["id"]]
    assert all(line["time"].endswith("Z") and line["request"] for line in lines)
    assert "Collins" not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_leaves_no_half_of_an_audit_line(tmp_path):
    resource = pytest.importorskip("resource")
    log = AuditLog(tmp_path / "audit.jsonl")
    log.record("identify", key="first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "audit.jsonl").stat().st_size + 20, limits[1]))
        with pytest.raises(OSError, match="too large"):
            log.record("identify", key="second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.record("identify", key="third")
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["first", "third"]


def test_the_log_has_routes_and_no_names(keyed, pictures, caplog):
    service, keys = keyed
    client = service.client_with(keys["write"])
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        client.create_person("Secret Name")
        client.people(search="Secret Name")
        service.http.get("/v1/people/Secret%20Name")
        service.http.get("/Secret%20Name%1b%5b2J")
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name == LOGGER.name]
    assert "Secret" not in "".join(lines) and "\x1b" not in "".join(lines)
    parsed = [json.loads(line) for line in lines]
    assert [line["route"] for line in parsed] == ["/v1/people", "/v1/people", "/v1/people/{person_id}", "unmatched"]
    assert [line["status"] for line in parsed] == [201, 200, 401, 404]
    assert parsed[0]["key"] == keys["write"].split("_")[1] and parsed[0]["ms"] > 0


def test_metrics_count_requests_faces_and_refusals(open_service, pictures):
    service = open_service()
    service.client.detect(pictures["group"])
    service.client.identify(pictures["hopper"])
    service.http.get("/v1/people/none")
    service.http.post("/v1/people", content=b"x" * 100_000, headers={"content-type": "application/json"})
    service.http.post("/v1/people", content=iter([b"x" * 50_000] * 2), headers={"content-type": "application/json"})
    service.http.get("/v1/people", headers={"Origin": "https://evil.example"})
    text = service.service.metrics.text().decode()
    for line in (
        'arcface_requests_total{method="POST",route="/v1/detect",status="200"} 1.0',
        'arcface_requests_total{method="GET",route="/v1/people/{person_id}",status="404"} 1.0',
        'arcface_rejected_total{code="not_found"} 1.0',
        'arcface_rejected_total{code="forbidden"} 1.0',
        'arcface_requests_total{method="GET",route="unmatched",status="403"} 1.0',
        "arcface_faces_total 5.0",
        "arcface_gallery_people 3.0",
        "arcface_gallery_faces 3.0",
        "arcface_queue_length 0.0",
        "arcface_ready 1.0",
        "arcface_batch_size_count 1.0",
        "arcface_inference_seconds_count 2.0",
        "arcface_requests_in_progress 0.0",
    ):
        assert line in text.splitlines(), line
    [too_large] = re.findall(r'^arcface_rejected_total\{code="too_large"\} (.*)$', text, re.M)
    assert float(too_large) == 2


def test_metrics_need_a_key_behind_a_proxy(keyed):
    service, keys = keyed
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert service.http.get("/metrics", headers=forwarded).status_code == 401
    admin = {**forwarded, "Authorization": f"Bearer {keys['admin']}"}
    answer = service.http.get("/metrics", headers=admin)
    assert answer.status_code == 200 and b"arcface_ready 1.0" in answer.content
