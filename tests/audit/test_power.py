"""What an INCONCLUSIVE verdict says that so many rows could have shown."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from fedcore.audit.metrics.estimates import Estimate, normal
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.evidence import detectable_by_interval, detectable_ratio
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.gate import judge
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from tests.audit.builders import audit_of_selections, limit_of, table_of

Z, Z80 = 1.959963985, 0.841621234


def audit_of_values(
    first: float, second: float, *, error: float, metric: str = "mean_absolute_error"
) -> AttributeAudit:
    """Return an audit of one quantity with normal intervals of known standard error."""
    spread = (-math.inf, math.inf)
    estimates = {
        group: Estimate(value=value, n=100, spread=normal(value, error, within=spread))
        for group, value in (("a", first), ("b", second))
    }
    gap = gap_between("sex", metric, estimates, confidence=0.95)
    return AttributeAudit(
        attribute="sex",
        settings=AuditSettings(),
        sizes={"a": 100, "b": 100},
        overall={},
        groups={},
        gaps={metric: gap},
        shown_gaps={metric: gap},
        small=(),
        suppressed=(),
    )


def figure_in(reason: str) -> float:
    found = re.search(r"([\d.]+)(?: points)? or (?:more|less)", reason)
    assert found is not None, reason
    return float(found[1])


def test_of_what_is_no_rate_a_gap_of_2_8_standard_errors_can_be_detected() -> None:
    audit = audit_of_values(3.0, 3.5, error=0.3)

    reason = judge(limit_of(metric="mean_absolute_error", at_most="1"), audit).reason

    expected = (Z + Z80) * math.sqrt(2) * 0.3
    assert reason.endswith(f"this many examples can detect a gap of {expected:.3g} or more")


def test_such_a_gap_is_detected_in_four_of_five_samples() -> None:
    # 1,000 samples; at a true power of 0.8 a share outside 0.76 to 0.84 has a probability of 2e-3.
    apart = detectable_by_interval(Z * math.sqrt(2) * 0.3, z=Z)
    drawn = np.random.default_rng(3).normal([3.0, 3.0 + apart], 0.3, (1000, 2))

    gaps = [audit_of_values(a, b, error=0.3).gaps["mean_absolute_error"] for a, b in drawn.tolist()]

    assert 0.76 < np.mean([(gap.difference_low or 0) > 0 for gap in gaps]) < 0.84


def test_a_value_so_far_from_its_limit_passes_in_four_of_five_samples() -> None:
    # The other group is far from the limit. Exact intervals are rather too long, and the power with them a little less:
    # of 400 samples at 0.8 a share outside 0.73 to 0.86 has a probability of 1e-3.
    limit = limit_of(kind="worst-group", at_least="0.7", at_most=None)
    reason = judge(limit, audit_of_selections({"female": (290, 400), "male": (390, 400)})).reason
    assert "can separate a value from the limit if it is" in reason
    true = 0.7 + figure_in(reason) / 100

    drawn = np.random.default_rng(4).binomial(400, true, 400).tolist()
    found = [judge(limit, audit_of_selections({"female": (k, 400), "male": (390, 400)})).verdict for k in drawn]

    assert 0.73 < np.mean([one == "PASS" for one in found]) < 0.86


def test_of_a_limit_on_a_ratio_the_detectable_ratio_is_told() -> None:
    audit = audit_of_selections({"female": (45, 100), "male": (50, 100)})

    reason = judge(limit_of(kind="ratio"), audit).reason

    p = 97 / 204
    apart = (Z + Z80) * math.sqrt(p * (1 - p) * 2 / 100)
    assert f"can separate a ratio of {(p - apart / 2) / (p + apart / 2):.2f} or less from equal rates" in reason


def test_a_detectable_ratio_is_detected_in_four_of_five_samples() -> None:
    # 500 samples; at a true power of 0.8 a share outside 0.74 to 0.86 has a probability of 1e-3.
    audit = audit_of_selections({"female": (200, 500), "male": (200, 500)})
    ratio = detectable_ratio(audit.groups["selection_rate"], audit.gaps["selection_rate"], confidence=0.95)
    assert ratio is not None

    high = 0.8 / (1 + ratio)
    drawn = np.random.default_rng(6).binomial(500, [high * ratio, high], (500, 2)).tolist()
    gaps = [audit_of_selections({"f": (a, 500), "m": (b, 500)}).gaps["selection_rate"] for a, b in drawn]

    assert 0.74 < np.mean([(gap.ratio_high or 1) < 1 for gap in gaps]) < 0.86


def test_so_few_rows_that_no_ratio_is_told_from_equal_rates_say_so() -> None:
    reason = judge(limit_of(kind="ratio"), audit_of_selections({"f": (1, 3), "m": (2, 3)}, min_cell=1)).reason

    assert "so few examples cannot separate any ratio from equal rates" in reason


def test_of_an_area_no_gap_of_1_or_more_is_called_detectable() -> None:
    reason = judge(limit_of(metric="auc"), audit_of_values(0.6, 0.7, error=0.4, metric="auc")).reason

    assert reason.endswith("so few examples can detect no gap at all")


@pytest.mark.parametrize("limit", [limit_of(), limit_of(kind="worst-group", at_least="0.3", at_most=None)])
def test_nothing_detectable_is_told_of_hidden_groups(limit: Limit) -> None:
    table = table_of({"female": (1, 1, 1, 1), "male": (60, 50, 40, 50), "other": (30, 20, 20, 30)})

    reason = judge(limit, audit_table(table, AuditSettings(min_cell=10))).reason

    assert "without numbers" in reason
    assert "or more" not in reason
