"""Documents from outside, read strictly: bounded in size, every key known, every value of its kind.

Messages name keys and kinds, never values: a document may hold a secret, or text from an attacker.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from fedcore.errors import TrustError

_LONGEST_TEXT = 16_384
_LARGEST_NUMBER = 2**53 - 1  # what every JSON reader keeps exactly


def encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def decode(value: object) -> bytes:
    """Decode Base64 with nothing around it (RFC 4648, section 4); bytes are returned unchanged."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
        raise ValueError("a text")
    try:
        found = base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("Base64") from None
    if encode(found) != value:
        raise ValueError("canonical Base64")
    return found


Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)]
Raw = Annotated[bytes, BeforeValidator(decode), PlainSerializer(encode)]
Number = Annotated[int, Field(ge=1, le=_LARGEST_NUMBER)]


class Document(BaseModel):
    """One JSON object; its `form` is written as ``schema`` before its fields.

    Raises:
        TrustError: A field is missing, unknown or malformed.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    what: ClassVar[str] = "the settings"
    form: ClassVar[str] = ""
    max_bytes: ClassVar[int] = 65_536

    def __init__(self, /, **content: Any) -> None:
        try:
            super().__init__(**content)
        except ValidationError as error:
            raise TrustError(f"{self.what}: {_in_words(error.errors()[0], type(self))}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; raises `TrustError` for anything else."""
        return cls(**cls.content_of(text))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        return cls.from_json(read_bounded(path, what=cls.what, max_bytes=cls.max_bytes))

    @classmethod
    def of_settings(cls, path: Path) -> Self:
        """Read the settings of a home: a small TOML file."""
        content = read_bounded(path, what="the file", max_bytes=cls.max_bytes)
        try:
            return cls(**tomllib.loads(content.decode()))
        except ValueError as error:  # no TOML, or no UTF-8
            raise TrustError(f"{path} is not TOML: {error}") from error
        except TrustError as error:
            raise TrustError(f"{path}: {error}") from error

    @classmethod
    def content_of(cls, text: str | bytes) -> dict[str, Any]:
        content = _parse(text, what=cls.what, max_bytes=cls.max_bytes)
        if not isinstance(content, dict) or content.pop("schema", None) != cls.form:
            raise TrustError(
                f"{cls.what}: expected a file of schema {cls.form}; made by another version, or another file?"
            )
        return content

    def to_content(self) -> dict[str, Any]:
        """Plain values, from which the signed bytes are made."""
        return {"schema": self.form, **self.model_dump()}

    def to_json(self) -> str:
        return json.dumps(self.to_content(), indent=1) + "\n"


def _in_words(problem: Any, model: type[Document]) -> str:
    kind = problem["type"]
    expected = {"tuple_type": "a list", "model_type": "an object"}.get(kind, "a text")
    if kind in ("missing", "extra_forbidden"):
        return f"expected exactly the keys {', '.join(sorted(model.model_fields))}; some are absent or unknown"
    if kind == "value_error":
        expected = str(problem["ctx"]["error"])
    elif kind.startswith(("int", "greater", "less")):
        expected = "a whole number from 1 on"
    found = type(problem["input"]).__name__
    return f"expected {expected} at {'.'.join(map(str, problem['loc']))}, found another {found}"


def canonical(content: Mapping[str, Any], *, domain: str) -> bytes:
    """The one spelling of a document that is signed; `domain` makes a signature valid for one kind only.

    Raises:
        TrustError: The content is nested too deep.
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except RecursionError as error:
        raise TrustError(f"{domain}: the document is nested too deep") from error
    return f"{domain}\n{text}".encode()


def read_bounded(path: Path, *, what: str, max_bytes: int) -> bytes:
    """Read a file from someone else, up to its size limit; raises `TrustError` if missing, unreadable or too long."""
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
        raise ValueError("a key occurs twice")
    return content


def _refuse(_: str) -> NoReturn:
    raise ValueError("fractions, infinities and NaN are not expected")
