"""XML of other programs, read without harm and written back with all that is in it.

The standard library's parsers follow what a file declares about itself: ten lines of entities become gigabytes
("billion laughs"). Here a first pass of expat over the bytes refuses every DOCTYPE, without which there are no
entities, and bounds depth and size; only then a tree is made. The tree is ``xml.dom.minidom``, which keeps prefixes,
comments, processing instructions and the order of attributes, all of which ``ElementTree`` loses.
"""

from __future__ import annotations

import codecs
from typing import Any, Iterator
from xml.dom import Node, minidom
from xml.parsers import expat

from arcface_paddle.errors import DataError

MAX_BYTES = 16 << 20
"""Largest file that is read; a sidecar with a long history of edits and masks has a few hundred KB."""
MAX_PARTS = 400_000
"""Most elements and attributes, which take about 500 bytes of memory each."""
MAX_DEPTH = 100

XMLNS = "http://www.w3.org/2000/xmlns/"
_ENDS_OF_ATTRIBUTES = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;", '"': "&quot;"}


def parse(content: bytes, *, name: str) -> minidom.Document:
    """Return the tree of an XML file.

    Args:
        content: UTF-8 or UTF-16, or in an encoding that the file declares and expat knows.
        name: what to call it in errors.

    Raises:
        DataError: not well-formed, with a DOCTYPE, too deep or too large.
    """
    if not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.rstrip(b"\0 \t\r\n")  # packets in pictures are padded
    if len(content) > MAX_BYTES:
        raise DataError(f"{name}: {len(content):,} bytes of XML; at most {MAX_BYTES:,} are read")
    _Examination(name).examine(content)
    try:
        return minidom.parseString(content)
    except (expat.ExpatError, ValueError) as error:  # prefixes that are not declared, which the first pass lets be
        raise DataError(f"{name}: not well-formed XML ({error})") from None


class _Examination:
    """A pass over the bytes that makes nothing of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = self._parts = 0

    def examine(self, content: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        try:
            parser.Parse(content, True)
        except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding that nobody knows
            raise DataError(f"{self._name}: not well-formed XML ({error})") from None

    def _refuse_doctype(self, *_: Any) -> None:
        raise DataError(f"{self._name}: XML with a DOCTYPE, which XMP never has; it is not read")

    def _begin(self, _: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._parts += 1 + len(attributes)
        if self._depth > MAX_DEPTH or self._parts > MAX_PARTS:
            raise DataError(
                f"{self._name}: XML deeper than {MAX_DEPTH} levels or of more than {MAX_PARTS:,} parts; it is not read"
            )

    def _end(self, _: str) -> None:
        self._depth -= 1


def to_bytes(document: minidom.Document) -> bytes:
    """Return the file of a tree in UTF-8; what was read and not changed has the same content."""
    return "".join(_written(document)).encode("utf-8") + b"\n"


def _written(node: Any) -> Iterator[str]:
    if node.nodeType == Node.DOCUMENT_NODE:
        if node.version:
            yield '<?xml version="1.0" encoding="UTF-8"?>\n'
        for child in node.childNodes:
            yield from _written(child)
            yield "" if child is node.lastChild else "\n"
    elif node.nodeType == Node.ELEMENT_NODE:
        yield from _written_element(node)
    elif node.nodeType == Node.CDATA_SECTION_NODE:
        yield f"<![CDATA[{node.data}]]>"
    elif node.nodeType == Node.TEXT_NODE:
        yield _escaped(node.data).replace("\r", "&#13;")
    elif node.nodeType == Node.COMMENT_NODE:
        yield f"<!--{node.data}-->"
    elif node.nodeType == Node.PROCESSING_INSTRUCTION_NODE:
        yield f"<?{node.target} {node.data}?>"


def _written_element(element: Any) -> Iterator[str]:
    yield f"<{element.tagName}"
    for name, value in element.attributes.items():
        text = _escaped(value)
        for character, reference in _ENDS_OF_ATTRIBUTES.items():
            text = text.replace(character, reference)
        yield f' {name}="{text}"'
    if not element.childNodes:
        yield "/>"
        return
    yield ">"
    for child in element.childNodes:
        yield from _written(child)
    yield f"</{element.tagName}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def elements(parent: Any) -> list[Any]:
    """Return the elements directly in an element."""
    return [child for child in parent.childNodes if child.nodeType == Node.ELEMENT_NODE]


def text_of(element: Any) -> str:
    """Return the text directly in an element."""
    kinds = (Node.TEXT_NODE, Node.CDATA_SECTION_NODE)
    return "".join(child.data for child in element.childNodes if child.nodeType in kinds)


def remove(element: Any) -> None:
    """Take an element out of its parent, with the white space before it."""
    before = element.previousSibling
    if before is not None and before.nodeType == Node.TEXT_NODE and not before.data.strip():
        element.parentNode.removeChild(before)
    element.parentNode.removeChild(element)


def qualified(element: Any, namespace: str, local: str, *, prefix: str) -> str:
    """Return a name in a namespace as it is to be written on an element in the tree; declares it there when need be.

    ``prefix`` is what to declare where none is in scope; a number is added when it means something else there.
    """
    in_scope = _prefixes(element)
    known = next((known for known, uri in in_scope.items() if uri == namespace), None)
    if known is not None:
        return f"{known}:{local}"
    chosen, number = prefix, 1
    while chosen in in_scope:
        number += 1
        chosen = f"{prefix}{number}"
    element.setAttributeNS(XMLNS, f"xmlns:{chosen}", namespace)
    return f"{chosen}:{local}"


def append(parent: Any, namespace: str, local: str, *, prefix: str) -> Any:
    """Put a new element at the end of another one, on a line of its own, and return it."""
    document = parent.ownerDocument
    element = document.createElementNS(namespace, local)
    parent.appendChild(document.createTextNode("\n"))
    parent.appendChild(element)
    name = qualified(element, namespace, local, prefix=prefix)
    element.tagName = element.nodeName = name
    element.prefix = name.partition(":")[0]
    return element


def _prefixes(element: Any) -> dict[str, str]:
    """Return the namespace of each prefix that is in scope at an element."""
    found: dict[str, str] = {}
    while element is not None and element.nodeType == Node.ELEMENT_NODE:
        for name, value in element.attributes.items():
            if name.startswith("xmlns:"):
                found.setdefault(name[6:], value)
        element = element.parentNode
    return found
