"""Words that depend on a number."""

import pytest

from fedcore.text.wording import counted


@pytest.mark.parametrize(
    ("count", "words", "expected"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (1797, ("row",), "1,797 rows"),
        (1, ("reply", "replies"), "1 reply"),
        (2, ("reply", "replies"), "2 replies"),
    ],
)
def test_one_is_singular_and_everything_else_plural(count, words, expected):
    assert counted(count, *words) == expected
