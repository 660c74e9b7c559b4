"""The vocabularies that a plan declares, beside those of the data that a simulation has."""

from __future__ import annotations

import pytest

from fedcore.audit.tables.declared import declared_vocabularies
from fedcore.data.examples import Attribute, Examples
from fedcore.errors import PlanError
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan

FOUND = ("female", "male", "unknown")


def vocabularies(
    declared: dict[str, list[str]], *, sensitive: tuple[str, ...] = ("sex",)
) -> dict[str, tuple[str, ...]]:
    data = TinyTask(rows=10).load_data(None)
    ward = Attribute.from_values(["a"] * 10, vocabulary=["a", "b"])
    data = Examples(columns=data.columns, attributes={**data.attributes, "ward": ward})
    return declared_vocabularies(build_plan(audit={"sensitive": list(sensitive), "vocabularies": declared}).audit, data)


@pytest.mark.parametrize("declared", [{}, {"sex": list(FOUND)}, {"ward": ["no ward", "unknown"]}])
def test_what_the_data_has_is_taken_where_nothing_else_is_declared_of_an_audited_attribute(declared) -> None:
    assert vocabularies(declared) == {"sex": FOUND}


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (["male", "unknown"], "group 'female' of the data is not declared; write"),
        ([*FOUND, "other"], "the data has no group 'other'; write"),
        (["Female", "male", "unknown"], "group 'female' of the data is not declared, the data has no group 'Female'"),
        (["female", "male"], "group 'unknown' of the data is not declared"),
        (["male", "female", "unknown"], "the data has these groups in another order or number"),
    ],
)
def test_another_vocabulary_than_that_of_the_data_is_refused_and_what_differs_is_named(declared, told) -> None:
    with pytest.raises(PlanError) as refused:
        vocabularies({"sex": declared})
    assert f"audit.vocabularies: of 'sex', {told}" in str(refused.value)
    assert 'sex = ["female", "male", "unknown"]' in str(refused.value)


def test_all_attributes_that_differ_are_told_at_once_of_a_crossing_too() -> None:
    with pytest.raises(PlanError) as refused:
        vocabularies({"sex": ["f", "unknown"], "ward": ["a", "unknown"]}, sensitive=("sex*ward",))
    assert "of 'sex'" in str(refused.value)
    assert "of 'ward', group 'b' of the data is not declared" in str(refused.value)


def test_a_simulation_refuses_before_it_trains() -> None:
    plan = build_plan(audit={"sensitive": ["sex"], "vocabularies": {"sex": ["Female", "Male", "unknown"]}})
    with pytest.raises(PlanError, match=r"audit\.vocabularies: of 'sex', group 'female' of the data is not declared"):
        simulate(TinyTask(), plan)
