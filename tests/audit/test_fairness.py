from __future__ import annotations

import json

import pytest

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.fairness import audit_table, audit_tables
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import DataError
from tests.audit.builders import audit_of_selections, shown_json, table_of, table_of_selections


def test_an_audit_holds_rates_and_gaps_of_every_metric() -> None:
    audit = audit_table(table_of({"female": (40, 10, 30, 20), "male": (30, 20, 20, 30)}), AuditSettings())

    assert audit.overall["accuracy"].value == pytest.approx(120 / 200)
    assert audit.groups["selection_rate"]["male"].value == pytest.approx(0.5)
    assert audit.gaps["selection_rate"].difference == pytest.approx(0.2)
    assert set(audit.gaps) == set(audit.groups) == set(audit.overall)


def test_a_small_group_stays_in_the_estimate_and_is_not_shown() -> None:
    audit = audit_of_selections({"a": (0, 4), "b": (20, 50), "c": (90, 100), "d": (80, 100)}, min_cell=10)
    shown = shown_json(audit)

    assert audit.small == ("a",)
    assert audit.suppressed == ("a", "b")
    assert "a" in audit.gaps["selection_rate"].groups_compared
    assert shown["groups"]["a"]["selection_rate"] == {
        "value": None, "low": None, "high": None, "n": None, "suppressed": True,
    }  # fmt: skip
    assert shown["groups"]["b"]["selection_rate"]["suppressed"]
    assert shown["groups"]["c"]["selection_rate"]["n"] == 100


def test_the_gap_that_is_shown_is_no_function_of_a_hidden_group() -> None:
    shown = [
        shown_json(audit_of_selections({"a": (selected, 4), "b": (20 - selected, 50), "c": (90, 100), "d": (80, 100)}))
        for selected in (0, 4)
    ]

    assert shown[0] == shown[1]
    assert shown[0]["gaps"]["selection_rate"]["lowest"] == "d"


def test_an_undefined_rate_is_null_and_not_suppressed() -> None:
    shown = shown_json(audit_of_selections({"female": (30, 100), "male": (40, 100)}))

    assert shown["groups"][UNKNOWN]["accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    assert shown["groups"]["male"]["false_positive_rate"]["n"] == 0


def test_too_few_rows_altogether_show_nothing() -> None:
    shown = shown_json(audit_of_selections({"female": (3, 5), "male": (1, 4)}))

    assert shown["overall"]["accuracy"]["suppressed"]
    assert shown["gaps"]["accuracy"]["difference"] is None


def test_what_is_shown_is_json_without_nan_or_infinity() -> None:
    audit = audit_of_selections({"female": (0, 100), "male": (0, 100), "other": (0, 0)})

    json.dumps(shown_json(audit), allow_nan=False)


def test_tables_shown_together_are_suppressed_together() -> None:
    sex = table_of_selections({"f": (10, 104), "m": (20, 260)}, attribute="sex")
    both = {"f & a": (1, 4), "f & b": (9, 100), "m & a": (5, 60), "m & b": (15, 200)}
    crossed = table_of_selections(both, attribute="sex*race")

    assert audit_table(crossed, AuditSettings()).suppressed == ("f & a", "m & a")
    assert audit_tables([sex, crossed], AuditSettings())["sex*race"].suppressed == ("f & a", "f & b")


def test_two_tables_of_one_attribute_are_refused() -> None:
    table = table_of_selections({"female": (1, 2)})

    with pytest.raises(DataError, match="two tables of attribute 'sex': add them up"):
        audit_tables([table, table], AuditSettings())
