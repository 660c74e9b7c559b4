"""Documents from outside, read strictly: bounded in size, every key known, every value of its kind.

Messages name keys and kinds, never values: a document may hold a secret, or what an attacker wants to be seen.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from fedcore.errors import TrustError

_LONGEST_TEXT = 16_384
_LARGEST_SETTINGS = 65_536
_LARGEST_NUMBER = 2**53 - 1  # what every JSON reader keeps exactly


class Document:
    """One object of a document, read field by field.

    Raises:
        TrustError: From every method, when the content is not what is asked for.
    """

    def __init__(self, content: object, *, what: str, keys: Collection[str]) -> None:
        self._what = what
        if not isinstance(content, dict):
            self._refuse("an object", content)
        self.content: dict[str, Any] = content
        if set(content) != set(keys):
            raise TrustError(f"{what}: expected exactly the keys {', '.join(sorted(keys))}; some are absent or unknown")

    @classmethod
    def parse(cls, text: str | bytes, *, what: str, schema: str, keys: Collection[str], max_bytes: int) -> Document:
        """Read JSON whose ``schema`` is `schema`, and which has just `keys` besides."""
        content = _parse(text, what=what, max_bytes=max_bytes)
        if not isinstance(content, dict) or content.get("schema") != schema:
            raise TrustError(f"{what}: expected a file of schema {schema}; made by another version, or another file?")
        return cls(content, what=what, keys={"schema", *keys})

    @classmethod
    def of_settings(cls, path: Path, *, keys: Collection[str]) -> Document:
        """Read a home's settings: a small file of TOML with just `keys`."""
        content = read_bounded(path, what="the file", max_bytes=_LARGEST_SETTINGS)
        try:
            table = tomllib.loads(content.decode())
        except ValueError as error:  # no TOML, or no UTF-8
            raise TrustError(f"{path} is no TOML: {error}") from error
        return cls(table, what=str(path), keys=keys)

    def text(self, key: str) -> str:
        """A text that is not empty."""
        value = self.content[key]
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
            self._refuse(f"a text at {key}", value)
        return value

    def raw(self, key: str) -> bytes:
        """Bytes, in Base64 with nothing around it (RFC 4648, section 4)."""
        text = self.text(key)
        try:
            value = base64.b64decode(text, validate=True)
        except ValueError:
            self._refuse(f"Base64 at {key}", text)
        if encode(value) != text:
            self._refuse(f"canonical Base64 at {key}", text)
        return value

    def number(self, key: str) -> int:
        """A whole number from 1 on."""
        value = self.content[key]
        if type(value) is not int or not 1 <= value <= _LARGEST_NUMBER:
            self._refuse(f"a whole number from 1 on at {key}", value)
        return value

    def items(self, key: str, *, what: str, keys: Collection[str]) -> list[Document]:
        """A list of objects that all have just `keys`."""
        value = self.content[key]
        if not isinstance(value, list):
            self._refuse(f"a list at {key}", value)
        return [Document(item, what=f"{self._what}: {what}", keys=keys) for item in value]

    def _refuse(self, expected: str, found: object) -> NoReturn:
        raise TrustError(f"{self._what}: expected {expected}, found another {type(found).__name__}")


def encode(value: bytes) -> str:
    """Bytes as they stand in a document."""
    return base64.b64encode(value).decode()


def canonical(content: Mapping[str, Any], *, domain: str) -> bytes:
    """The one spelling of a document that is signed; `domain` keeps signatures of one kind from use as another.

    Raises:
        TrustError: The content is nested too deep to be one of ours.
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except RecursionError as error:
        raise TrustError(f"{domain}: the document is nested too deep") from error
    return f"{domain}\n{text}".encode()


def read_bounded(path: Path, *, what: str, max_bytes: int) -> bytes:
    """Read a file that someone sent, and no more of it than it may hold.

    Raises:
        TrustError: It is absent, cannot be read, or is too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise TrustError(f"{what} {path} cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise TrustError(f"{what} {path}: expected at most {max_bytes} bytes, found more; is it the right file?")
    return content


def _parse(text: str | bytes, *, what: str, max_bytes: int) -> object:
    if len(text) > max_bytes:
        raise TrustError(f"{what}: expected at most {max_bytes} bytes, found {len(text)}")
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        return json.loads(decoded, object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise TrustError(
            f"{what}: expected JSON of whole numbers, texts, lists and objects, found other text"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands there twice")
    return content


def _refuse(_: str) -> NoReturn:
    raise ValueError("fractions, infinities and NaN are not expected")
