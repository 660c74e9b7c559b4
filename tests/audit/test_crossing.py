from __future__ import annotations

import numpy as np
import pytest

from fedcore.audit.tables.crossing import cross, crossed_codes, parts
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError

VOCABULARIES = {"sex": ("female", UNKNOWN, "male"), "race": ("Black", "white", UNKNOWN)}


def test_a_crossing_has_every_pair_of_known_values_and_unknown() -> None:
    assert cross(VOCABULARIES) == (
        "female & Black", "female & white", "male & Black", "male & white", UNKNOWN,
    )  # fmt: skip


def test_unknown_in_either_part_is_unknown_in_the_crossing() -> None:
    every_pair = np.meshgrid(np.arange(3), np.arange(3), indexing="ij")
    codes = {"sex": every_pair[0].ravel(), "race": every_pair[1].ravel()}

    crossed = crossed_codes(VOCABULARIES, codes)

    for sex, race, code in zip(codes["sex"], codes["race"], crossed, strict=True):
        pair = (VOCABULARIES["sex"][sex], VOCABULARIES["race"][race])
        assert cross(VOCABULARIES)[code] == (UNKNOWN if UNKNOWN in pair else " & ".join(pair))


def test_three_attributes_can_be_crossed() -> None:
    vocabularies = {**VOCABULARIES, "site": ("A", "B", UNKNOWN)}

    assert len(cross(vocabularies)) == 9
    assert cross(vocabularies)[crossed_codes(vocabularies, {"sex": [2], "race": [1], "site": [0]})[0]] == (
        "male & white & A"
    )


def test_a_crossed_group_knows_its_parts() -> None:
    assert parts("sex*race", "female & Black") == {"sex": "female", "race": "Black"}
    assert parts("sex*race", UNKNOWN) == {"sex": UNKNOWN, "race": UNKNOWN}
    assert parts("race", "Asian & Pacific") == {"race": "Asian & Pacific"}


@pytest.mark.parametrize("code", [-1, 3])
def test_a_code_outside_the_vocabulary_is_refused(code: int) -> None:
    with pytest.raises(DataError, match=f"attribute 'race': group code {code} is outside"):
        crossed_codes(VOCABULARIES, {"sex": [0], "race": [code]})


@pytest.mark.parametrize(
    ("vocabularies", "message"),
    [
        ({"sex": ("female", UNKNOWN)}, "two attributes or more"),
        ({"sex": ("female",), "race": (UNKNOWN,)}, "must hold 'unknown'"),
        ({"sex": ("a & b", UNKNOWN), "race": (UNKNOWN,)}, "cannot be crossed"),
        ({"a*b": ("a", UNKNOWN), "race": (UNKNOWN,)}, "cannot be crossed"),
    ],
)
def test_what_cannot_be_crossed_is_refused(vocabularies: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        cross(vocabularies)


def test_a_name_that_only_looks_like_a_crossing_is_refused() -> None:
    with pytest.raises(DataError, match="is a crossing by its name"):
        parts("a*b", "single")
