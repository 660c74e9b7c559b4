"""Noise on what is told of held-out rows: how much it must be, that it is there, and what it does to the audit."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from fedcore import Examples
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.metrics.rates import EXACT, Noise, Rate, group_rates
from fedcore.audit.tables.groups import GroupTable
from fedcore.errors import DataError, PlanError
from fedcore.messages import EvaluateRequest
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.evaluation import ACCURACY, LOSS, EvaluationPrivacy
from fedcore.privacy.gaussian import gaussian_epsilon
from fedcore.privacy.noise import SecureRandomness
from fedcore.privacy.plan import NoiseKind, Relation
from fedcore_clients.training import evaluation as client_side
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client
from fedcore_server.evaluation.evaluation import audit_settings, close_evaluation
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_local, build_private_plan

GROUPS = ("female", "male", "unknown")
AUDIT = {"sensitive": ["sex"], "score_bins": 4, "vocabularies": {"sex": list(GROUPS)}}


class NoNoise:
    """What a report would hold without noise, through the same code."""

    def normal(self, size, dtype=torch.float64):
        return torch.zeros(size, dtype=dtype)


def plan_of(relation="zero-out", bound=0.01):
    return build_private_plan(
        privacy={
            "relation": relation,
            "evaluation_noise_multiplier": 2.0,
            "evaluation_loss_bound": bound,
            "noise": "secure",
        },
        audit=AUDIT,
    )


def told(plan, rows, monkeypatch):
    """Everything a report tells, in units of what one row adds."""
    local = build_local(plan, task=TinyTask(model=undecided))
    monkeypatch.setattr(client_side, "client_randomness", lambda *_: NoNoise())
    request = EvaluateRequest(round=1, cohort=("c",), parameters=local.parameters.clone())
    report = evaluate_locally(local, Client(name="c", training=rows, held_out=rows), request)
    sums = [report.metrics.sums[LOSS] / plan.privacy.evaluation_loss_bound, report.metrics.sums[ACCURACY]]
    size = [report.metrics.counts[LOSS]] if plan.privacy.relation == "add-remove" else []
    cells = [table.counts.ravel() for table in report.tables.values()]
    return np.concatenate([*cells, sums, size])


def undecided():
    """A model whose losses are beyond the bound also where it is right."""
    torch.manual_seed(0)
    return torch.nn.Linear(4, 2)


@pytest.mark.parametrize("relation", ["zero-out", "add-remove"])
def test_no_row_moves_a_report_by_more_than_the_sensitivity(relation, monkeypatch):
    plan, rows = plan_of(relation), TinyTask(rows=40).load_data(None)
    privacy = EvaluationPrivacy.from_run_plan(plan, labelled=True)
    whole, distances = told(plan, rows, monkeypatch), []
    for left_out in range(len(rows)):
        kept = torch.tensor([row for row in range(len(rows)) if row != left_out])
        distances.append(float(np.linalg.norm(whole - told(plan, rows.select(kept), monkeypatch))))
    assert max(distances) <= privacy.sensitivity + 1e-3  # sums are rounded
    assert max(distances) == pytest.approx(privacy.sensitivity, abs=1e-2)


def test_a_replaced_row_moves_a_report_by_at_most_twice_the_sensitivity(monkeypatch):
    plan, rows = plan_of("replace-one"), TinyTask(rows=12).load_data(None)
    privacy = EvaluationPrivacy.from_run_plan(plan, labelled=True)
    others = TinyTask(rows=12, seed=5).load_data(None)
    whole = told(plan, rows, monkeypatch)
    for row in range(len(rows)):
        columns = {name: column.clone() for name, column in rows.columns.items()}
        for name, column in others.columns.items():
            columns[name][row] = column[row]
        changed = told(plan, Examples(columns=columns, attributes=rows.attributes), monkeypatch)
        assert float(np.linalg.norm(whole - changed)) <= 2 * privacy.sensitivity


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 1e30])
def test_a_broken_row_counts_as_the_bound(broken):
    privacy = privacy_of()
    metrics = privacy.noisy_metrics(np.array([0.5, broken]), 1, NoNoise())
    assert abs(metrics.sums[LOSS] - 0.5) == pytest.approx(privacy.loss_bound, abs=1e-2)


def privacy_of(**changes):
    values = {
        "noise_multiplier": 2.0,
        "relation": Relation.ZERO_OUT,
        "tables": 1,
        "sums": 2,
        "loss_bound": 5.0,
        "evaluations": 10,
        "delta": 1e-5,
        "noise": NoiseKind.SECURE,
    }
    return EvaluationPrivacy(**(values | changes))


def empty_table(bins=50):
    return GroupTable.zeros(attribute="sex", groups=GROUPS, labels=("no", "yes"), num_bins=bins, scored=True)


def test_every_number_of_a_report_has_the_noise_that_is_promised():
    privacy, randomness = privacy_of(relation=Relation.ADD_REMOVE), SecureRandomness()
    counts = np.concatenate([privacy.noisy_table(empty_table(), randomness).counts.ravel() for _ in range(40)])
    metrics = [privacy.noisy_metrics(np.full(100, 1.0), 50, randomness) for _ in range(2000)]
    sums = np.array([[m.sums[LOSS] / privacy.loss_bound, m.sums[ACCURACY], m.counts[LOSS]] for m in metrics])
    deviations = [counts, *(sums - [20.0, 50.0, 100.0]).T]
    for values in deviations:
        total = float((values**2).sum()) / (privacy.noise_std**2 + 1 / 12)
        assert stats.chi2.ppf(1e-6, len(values)) < total < stats.chi2.isf(1e-6, len(values))


def test_epsilon_is_that_of_as_many_gaussian_mechanisms():
    privacy = privacy_of()
    expected = gaussian_epsilon(math.sqrt(10) / 2.0, 1e-5)
    assert expected <= epsilon_of(privacy.event(10), 1e-5) <= expected * 1.001


def test_the_sum_of_noisy_tables_knows_its_noise():
    privacy, randomness = privacy_of(), SecureRandomness()
    both = privacy.noisy_table(empty_table(), randomness) + privacy.noisy_table(empty_table(), randomness)
    assert both.variance == pytest.approx(2 * privacy.cell_variance)
    assert (both.counts < 0).any()
    assert GroupTable.from_json(both.to_json()) == both
    with pytest.raises(DataError, match="0 or more"):
        replace(both, variance=0.0)


SETTINGS = [(2000, 5000, 0.3, 0.4, 10.0), (2000, 5000, 0.3, 0.4, 30.0), (500, 5000, 0.3, 0.4, 10.0),
            (200, 5000, 0.3, 0.4, 10.0), (1000, 5000, 0.05, 0.2, 20.0), (200, 200, 0.5, 0.5, 0.0),
            (1900, 4000, 0.01, 0.1, 30.0), (400, 400, 0.02, 0.02, 5.0)]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_of_noisy_counts_cover_as_they_say(setting):
    """Reference: with the noise ignored, from 51 to 94 % of nominal 95 % intervals hold the truth."""
    n, m, p, q, std = setting
    generator, noise = np.random.default_rng(0), Noise(successes=std**2, others=std**2) if std else EXACT

    def draw(size, share):
        counted = np.array([generator.binomial(size, share), 0])
        counted[1] = size - counted[0]
        counted = np.rint(counted + std * generator.standard_normal(2)).astype(int)
        return Rate.of(int(counted[0]), int(counted.sum()), confidence=0.95, noise=noise)

    draws, held = 1500, np.zeros(3)
    for _ in range(draws):
        a, b = draw(n, p), draw(m, q)
        gap = gap_between("sex", "selection_rate", {"a": a, "b": b}, confidence=0.95)
        ratio = min(p, q) / max(p, q)
        held += (
            a.low <= p <= a.high,
            gap.difference_low <= abs(p - q) <= gap.difference_high,
            gap.ratio_low <= ratio <= gap.ratio_high,
        )
    assert held.min() / draws >= 0.93 - 3 * math.sqrt(0.93 * 0.07 / draws)


def test_with_the_noise_ignored_intervals_would_be_too_short():
    noise = Noise(successes=900.0, others=900.0)
    assert Rate.of(60, 200, confidence=0.95, noise=noise).high > Rate.of(60, 200, confidence=0.95).high + 0.02


def test_a_rate_near_0_is_as_sure_as_noise_lets_it_be():
    """Of 1,900 rows and noise of 42 rows on each count a rate of 0 may be up to some 5 %, and not anything."""
    rate = Rate.of(0, 1900, confidence=0.95, noise=Noise(successes=42.0**2, others=42.0**2))
    assert 0.03 < rate.high < 0.06


def test_a_rate_of_few_rows_in_much_noise_is_undefined():
    assert Rate.of(40, 60, confidence=0.95, noise=Noise(successes=400.0, others=400.0)).value is None


def test_the_noise_on_a_rate_is_that_of_its_cells():
    table = replace(empty_table(bins=4), counts=np.full((3, 2, 4), 1000), variance=100.0)
    rate = group_rates(table)["true_positive_rate"]["female"]
    assert rate.value == 0.5
    sampling, noise = 0.25 / 4000, 2 * 2 * 100.0 * 0.25 / 4000**2
    assert rate.evidence[1] == pytest.approx(4000 * sampling / (sampling + noise), rel=1e-9)


def test_a_report_with_other_noise_than_the_plan_asks_for_is_rejected():
    plan = plan_of()
    privacy = EvaluationPrivacy.from_run_plan(plan, labelled=True)
    local = build_local(plan)
    client = Client(name="c", training=TinyTask().load_data(None), held_out=TinyTask().load_data(None))
    request = EvaluateRequest(round=1, cohort=("c",), parameters=local.parameters.clone())
    noisy = evaluate_locally(local, client, request)
    exact = evaluate_locally(build_local(plan.updated(privacy={"evaluation-noise-multiplier": None})), client, request)
    empty, settings = {"sex": empty_table(bins=4)}, audit_settings(plan)
    for report, asked, code in ((noisy, privacy, None), (exact, privacy, "TABLE"), (noisy, None, "TABLE")):
        closed = close_evaluation(request, [report], empty, settings, privacy=asked)
        assert [each.code for each in closed.rejected] == ([code] if code else [])


def test_a_run_states_the_epsilon_of_its_held_out_records():
    plan = build_private_plan(
        privacy={"evaluation_noise_multiplier": 3.0, "noise": "secure"},
        federation={"rounds": 4, "clients": 2},
        audit={"sensitive": ["sex"]},
    )
    statement = simulate(TinyTask(rows=400), plan=plan).privacy
    assert statement["evaluation"]["evaluations"] == 4
    expected = gaussian_epsilon(math.sqrt(4) / 3.0, plan.privacy.delta)
    assert statement["evaluation"]["epsilon"] == pytest.approx(expected, rel=1e-3)
    assert not any("released as they are" in words for words in statement["unprotected_outputs"])
    assert "Held-out records" in statement["plain_language"]
    exact = simulate(TinyTask(rows=400), plan=plan.updated(privacy={"evaluation-noise-multiplier": None})).privacy
    assert exact["evaluation"]["epsilon"] is None
    assert any("released as they are" in words for words in exact["unprotected_outputs"])


@pytest.mark.parametrize(
    ("sections", "more"),
    [({}, 0), ({"audit": {"hooks": ["mine:Hook"]}}, 1), ({"algorithm": {"name": "agnostic"}}, 1)],
)
def test_an_evaluation_before_training_is_in_the_promise(sections, more):
    sections = {"federation": {"rounds": 7, "evaluate_every": 3}, **sections}
    plan = build_private_plan(privacy={"evaluation_noise_multiplier": 3.0}, **sections)
    assert EvaluationPrivacy.from_run_plan(plan, labelled=True).evaluations == 3 + more


@pytest.mark.parametrize("unit", ["none", "client"])
def test_noise_on_evaluation_is_for_records_only(unit):
    with pytest.raises(PlanError, match="it protects records"):
        build_private_plan(privacy={"unit": unit, "evaluation_noise_multiplier": 1.0})


@pytest.mark.parametrize("bound", [1e-300, 1.0, 1e6, 1.7e308])
def test_no_number_of_losses_at_the_bound_overflows(bound):
    """If it did, the failure would say how many rows have no finite loss."""
    privacy = replace(privacy_of(), loss_bound=bound)
    for losses in (np.full(5000, np.inf), np.full(5000, -np.inf), np.full(5000, np.nan)):
        told = privacy.noisy_metrics(losses, 0, NoNoise()).sums[LOSS]
        assert not math.isnan(told)


def test_a_plan_bounds_the_bound_of_losses():
    with pytest.raises(PlanError, match="evaluation-loss-bound"):
        plan_of(bound=1e7)
