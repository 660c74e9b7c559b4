"""What a terminal would obey is shown instead."""

from __future__ import annotations

import json
import unicodedata

from fedcore.text.printable import printable, printable_json, printable_lines


def test_no_control_character_is_left_and_the_width_stays() -> None:
    text = "".join(map(chr, range(0x2100)))

    shown = printable(text)

    assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Zl", "Zp")]
    assert not {unicodedata.bidirectional(one) for one in shown} & {"LRE", "RLE", "LRO", "RLO", "PDF"}
    assert len(shown) == len(text)


def test_what_is_no_command_stays_as_it_is() -> None:
    assert printable("Müller & søn – 女 ") == "Müller & søn – 女 "


def test_a_command_is_shown_by_its_picture() -> None:
    assert printable("a\x1b[2Jb\nverdict: PASS") == "a␛[2Jb␊verdict: PASS"


def test_lines_of_a_text_stay_lines() -> None:
    assert printable_lines("a\n\x07b\n") == "a\n␇b\n"


def test_json_means_the_same_and_holds_no_command() -> None:
    text = "".join(map(chr, range(0x2100)))

    told = printable_json(json.dumps({text: text}, ensure_ascii=False))

    assert json.loads(told) == {text: text}
    assert printable(told) == told
