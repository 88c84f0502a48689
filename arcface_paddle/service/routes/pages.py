"""What a browser opens: the page with its modules, and the description of the interface."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from arcface_paddle.service.errors import NotFoundError

PAGE = Path(__file__).parents[1] / "page"
ASSETS = Path(__file__).parents[1] / "assets"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """Return the page."""
    return _file(PAGE, "index.html")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the description of the interface as one page without scripts."""
    return HTMLResponse(_docs_page(request.app.openapi()))


@router.get("/docs.css")
async def docs_style() -> Response:
    return _file(ASSETS, "docs.css")


@router.get("/page/{path:path}")
async def page_part(path: str) -> Response:
    """Return a module, style or picture of the page."""
    return _file(PAGE, path)


def _file(folder: Path, path: str) -> Response:
    """Return a file of a folder; only files of known types, and none outside of it."""
    found = None if "\0" in path else (folder / path).resolve()
    if found is None or folder.resolve() not in found.parents or found.suffix not in _TYPES or not found.is_file():
        raise NotFoundError("there is no such page")
    return FileResponse(found, media_type=_TYPES[found.suffix], headers={"cache-control": "no-cache"})


def _docs_page(schema: dict[str, Any]) -> str:
    sections = [
        _operation(path, method, operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    title = html.escape(schema["info"]["title"])
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/docs.css">'
        f"</head><body><main><h1>{title}</h1><p>{html.escape(schema['info']['description'])} "
        f'<a href="/openapi.json">openapi.json</a></p>{"".join(sections)}</main></body></html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    described = html.escape(operation.get("description", ""))
    bodies = operation.get("requestBody", {}).get("content", {})
    rows = [
        *(f"{parameter['name']} ({parameter['in']}): {parameter.get('description', '')}"
          for parameter in operation.get("parameters", [])),
        *(f"body: {kind}" for kind in bodies),
        *(f"{status}: {answer['description']}" for status, answer in sorted(operation["responses"].items())),
    ]  # fmt: skip
    listed = "".join(f"<li>{html.escape(row)}</li>" for row in rows)
    return f"<section><h2><b>{method.upper()}</b> {html.escape(path)}</h2><p>{described}</p><ul>{listed}</ul></section>"
