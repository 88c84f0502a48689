"""The HTTP reference: what the service's own OpenAPI document says."""

from __future__ import annotations

import functools
from typing import Any, Iterator

import markdown

WORDS = {
    "en": {"parameter": "parameter", "in": "in", "type": "type", "meaning": "meaning", "body": "Body",
           "answer": "answer", "field": "field", "required": "required", "yes": "yes", "no": "no"},
    "zh": {"parameter": "参数", "in": "位置", "type": "类型", "meaning": "含义（英文原文）", "body": "请求体",
           "answer": "响应", "field": "字段", "required": "必填", "yes": "是", "no": "否"},
}  # fmt: skip
METHODS = ("get", "post", "put", "patch", "delete")


@functools.cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document of the routes; no model is loaded for it."""
    from fastapi import FastAPI

    from arcface_paddle.service import app as service_app

    app = FastAPI(title=service_app.TITLE, version="1")
    for router in service_app._ROUTERS:
        app.include_router(router)
    return app.openapi()


def routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of every route."""
    for path, methods in document()["paths"].items():
        for method in METHODS:
            if method in methods:
                yield method.upper(), path, methods[method]


def http_routes(language: str) -> str:
    """Return the part of a page that describes every route."""
    parts = []
    for method, path, operation in routes():
        parts.append(f"### {method} {path}".replace("{", "\\{").replace("}", "\\}"))
        parts.append(markdown.prose(operation.get("description") or operation.get("summary", "")))
        parts += _parameters(operation, language)
        parts += _body(operation, language)
        parts.append(_answers(operation, language))
    return "\n\n".join(part for part in parts if part)


def _parameters(operation: dict[str, Any], language: str) -> list[str]:
    words = WORDS[language]
    rows = [
        [
            markdown.code(one["name"]),
            one["in"],
            type_of(one["schema"]),
            words["yes" if one.get("required") else "no"],
            markdown.escaped(one.get("description") or one["schema"].get("description", "")),
        ]
        for one in operation.get("parameters", [])
    ]
    headers = [words[word] for word in ("parameter", "in", "type", "required", "meaning")]
    return [markdown.table(headers, rows)] if rows else []


def _body(operation: dict[str, Any], language: str) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    shown = [f"{markdown.code(media)}: {type_of(one.get('schema', {}))}" for media, one in content.items()]
    return [f"{WORDS[language]['body']}: {'; '.join(shown)}"] if shown else []


def _answers(operation: dict[str, Any], language: str) -> str:
    words = WORDS[language]
    rows = []
    for status, answer in operation["responses"].items():
        kinds = [type_of(one.get("schema", {})) for one in answer.get("content", {}).values()]
        rows.append([markdown.code(status), ", ".join(dict.fromkeys(kinds)), markdown.escaped(answer["description"])])
    return markdown.table([words["answer"], words["type"], words["meaning"]], rows)


def http_schemas(language: str) -> str:
    """Return the part of a page that describes every document that is sent or answered."""
    words = WORDS[language]
    parts = []
    for name, schema in document()["components"]["schemas"].items():
        rows = [
            [
                markdown.code(field),
                type_of(one),
                words["yes" if field in schema.get("required", []) else "no"],
                markdown.escaped(one.get("description", "")),
            ]
            for field, one in schema.get("properties", {}).items()
        ]
        headers = [words[word] for word in ("field", "type", "required", "meaning")]
        parts += [f"### {name}", markdown.prose(schema.get("description", "")), markdown.table(headers, rows)]
    return "\n\n".join(part for part in parts if part)


def type_of(schema: dict[str, Any]) -> str:
    """Return a schema as a few words; one with a name of its own as a link."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_of(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if "properties" in schema:
        return ", ".join(f"{markdown.code(name)} {type_of(one)}" for name, one in schema["properties"].items())
    if "enum" in schema:
        return ", ".join(markdown.code(str(one)) for one in schema["enum"])
    return markdown.escaped(str(schema.get("format") or schema.get("type", "any")))


def http_errors(language: str) -> str:
    """Return the table from codes to statuses, with what each means."""
    from arcface_paddle.service.errors import TABLE

    words = WORDS[language]
    rows = [
        [markdown.code(code), str(status), markdown.escaped((kind.__doc__ or "").splitlines()[0])]
        for kind, (status, code) in sorted(TABLE.items(), key=lambda item: item[1])
    ]
    return markdown.table(["code", words["answer"], words["meaning"]], rows)
