"""Text from others, such as names in a table, without terminal commands."""

from __future__ import annotations

import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\N{SYMBOL FOR DELETE}"}
_OBEYED = (
    *range(0x80, 0xA0),  # C1: commands, too
    0x2028, 0x2029,  # ends of lines
    *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # turn the direction of what follows
)  # fmt: skip
_UNESCAPED = re.compile(f"[\x7f{''.join(map(chr, _OBEYED))}]")
_SHOWN = str.maketrans({**_PICTURES, **dict.fromkeys(_OBEYED, _REPLACEMENT)})


def printable(line: str) -> str:
    r"""Return a line without control characters: ``ESC`` becomes ``␛`` and ``\n`` becomes ``␊``.

    Each is replaced by one character, so that columns keep their width. Control characters are those of
    ISO/IEC 6429 (C0, DEL, C1), with Unicode's line ends and changes of direction.
    """
    return line.translate(_SHOWN)


def printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """Return equal JSON with such characters escaped; those below U+0020 are escaped already."""
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
