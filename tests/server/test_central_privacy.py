"""Client-level privacy at the server, against the paper's formulas and brute force."""

import math
import re
from collections import Counter

import pytest
import torch

from fedcore.aggregation.mean import Uniform
from fedcore.errors import PlanError, PrivacyError
from fedcore.method.method import Method
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.plan import PrivacyEvent
from fedcore.privacy.promise import promise_of
from fedcore.privacy.resolution import resolve_privacy
from fedcore_server.aggregation.private_mean import PrivateMean
from fedcore_server.rounds.rounds import close_round, plan_round
from fedcore_server.rounds.state import Rejection, ServerState
from tests.builders import block_of, build_parameters, build_plan, build_request, build_update

CLIENTS = tuple(f"client-{index}" for index in range(4))
POISSON = {"clients": 4, "cohort-size": 2, "cohort-sampling": "poisson"}


class Silence:
    """No noise, so that what is clipped can be seen."""

    def uniform(self, size):
        return torch.full((size,), 0.5, dtype=torch.float64)

    def normal(self, size):
        return torch.zeros(size, dtype=torch.float64)


def plan_of(federation=None, aggregation=None, **privacy):
    values = {"unit": "client", "noise-multiplier": 1.0, "noise": "test", **privacy}
    federation = {"clients": 4, **(federation or {})}
    return build_plan(federation=federation, aggregation=aggregation or {"rule": "uniform"}, privacy=values)


def summed(updates, *, clip_norm, privacy=None):
    """The clipped sum of some updates, before noise."""
    privacy = privacy or CentralPrivacy.from_run_plan(plan_of())
    size = len(updates[0].values["update"])
    mean = PrivateMean(privacy, Uniform(), size, {"clip_norm": clip_norm}, Silence())
    for update in updates:
        mean.add(block_of(update))
    return mean


def test_leaving_any_client_out_moves_the_sum_by_at_most_the_clip_norm():
    generator = torch.Generator().manual_seed(1)
    updates = [
        build_update(f"c{index}", *(scale * torch.randn(5, generator=generator)).tolist())
        for index, scale in enumerate((1e-6, 0.1, 1.0, 30.0, 1e6))
    ]
    whole = summed(updates, clip_norm=0.7)
    moved = []
    for left_out in updates:
        rest = summed([update for update in updates if update is not left_out], clip_norm=0.7)
        moved.append(float((whole.total - rest.total).norm()))
    assert max(moved) == pytest.approx(0.7, rel=1e-9)
    assert all(distance <= 0.7 * (1 + 1e-9) for distance in moved)


def test_updates_within_the_clip_norm_are_summed_as_they_are_and_none_weighs_more():
    whole = summed([build_update("a", 0.3, 0.0, num_examples=1000), build_update("b", 0.0, 0.4)], clip_norm=0.5)
    assert whole.total.tolist() == pytest.approx([0.3, 0.4], rel=1e-6)


def test_the_divisor_is_the_plans_number_of_clients_however_many_came():
    mean, _ = summed([build_update("a", 0.4, 0.0)], clip_norm=1.0).finish()
    assert mean["update"].tolist() == pytest.approx([0.1, 0.0], rel=1e-6)


@pytest.mark.parametrize("quantile", [None, 0.5])
def test_the_noise_has_the_promised_scale(quantile):
    size, privacy = (
        200_000,
        CentralPrivacy.from_run_plan(
            plan_of(
                federation={"clients": 100}, **{"noise-multiplier": 1.7, "clip-norm": 0.3, "clip-quantile": quantile}
            )
        ),
    )
    mean = PrivateMean(privacy, Uniform(), size, {"clip_norm": 0.3}, _seeded())
    released = mean.finish()[0]["update"] * 100
    z = 1.7 if quantile is None else 1 / math.sqrt(1.7**-2 - (2 * 5.0) ** -2)
    std = float(released.std())
    assert std == pytest.approx(z * 0.3, rel=5 / math.sqrt(2 * size))  # five standard errors
    assert abs(float(released.mean())) < 5 * z * 0.3 / math.sqrt(size)


def _seeded():
    from fedcore.privacy.noise import SeededRandomness

    return SeededRandomness(torch.Generator().manual_seed(3))


@pytest.mark.parametrize("start", [0.1, 10.0])
def test_an_adaptive_clip_norm_finds_the_median_from_both_sides(start):
    """Andrew et al. 2021, section 2; Flower's rule, with the indicator inverted, runs away from here."""
    generator = torch.Generator().manual_seed(0)
    privacy = CentralPrivacy.from_run_plan(plan_of(federation={"clients": 200}, **{"clip-quantile": 0.5}))
    clip_norm = start
    for _ in range(60):
        norms = torch.exp(0.5 * torch.randn(200, generator=generator, dtype=torch.float64))  # median 1
        centred = float((norms <= clip_norm).double().sum()) - 100.0
        clip_norm = privacy.next_clip_norm(clip_norm, centred + privacy.count_noise_std * float(torch.randn(1)))
    assert clip_norm == pytest.approx(1.0, abs=0.15)


def test_a_client_moves_the_centred_count_by_at_most_a_half():
    """Zero-out compares a client with one that is blanked: an update of zeros, or none."""
    others = [build_update("a", 0.3), build_update("b", 5.0)]
    without = summed(others, clip_norm=1.0)
    blanked = summed([*others, build_update("c", 0.0)], clip_norm=1.0)
    assert blanked.centred_within == without.centred_within
    for value in (0.5, 50.0):
        present = summed([*others, build_update("c", value)], clip_norm=1.0)
        assert abs(present.centred_within - without.centred_within) == 0.5


def test_count_and_sum_together_cost_what_is_promised():
    """Gaussian mechanisms compose as ``z⁻² = z_Δ⁻² + (2 σ_b)⁻²``: a client moves the centred count by ½."""
    privacy = CentralPrivacy.from_run_plan(plan_of(federation={"clients": 60}, **{"clip-quantile": 0.5}))
    together = privacy.update_noise_multiplier**-2 + (0.5 / privacy.count_noise_std) ** 2
    assert together**-0.5 == pytest.approx(privacy.noise_multiplier, rel=1e-12)
    whole = epsilon_of((_once(privacy.update_noise_multiplier), _once(2 * privacy.count_noise_std)), 1e-5)
    assert whole == pytest.approx(epsilon_of(_once(privacy.noise_multiplier), 1e-5), abs=2e-3)


def _once(noise_multiplier):
    return PrivacyEvent(sampling_rate=1.0, noise_multiplier=noise_multiplier, steps=1)


def test_adaptive_clipping_is_refused_where_the_count_would_need_all_the_noise():
    with pytest.raises(PrivacyError, match="clip-quantile needs a noise multiplier below a tenth of the 4 clients"):
        CentralPrivacy.from_run_plan(plan_of(**{"clip-quantile": 0.5}))


def test_a_visible_cohort_amplifies_nothing_and_a_secret_one_does():
    cohort = {"clients": 100, "cohort-size": 10, "cohort-sampling": "poisson", "rounds": 20}
    visible, secret = (promise_of(plan_of(federation=cohort, participation=how)) for how in ("visible", "secret"))
    assert visible.total_event == PrivacyEvent(sampling_rate=1.0, noise_multiplier=1.0, steps=20)
    assert secret.total_event == PrivacyEvent(sampling_rate=0.1, noise_multiplier=1.0, steps=20)
    assert epsilon_of(secret.total_event, 1e-5) < epsilon_of(visible.total_event, 1e-5)


def test_a_secret_cohort_is_drawn_by_the_plans_rate_and_not_by_the_seed():
    federation = {"clients": 1000, "cohort-size": 100, "cohort-sampling": "poisson"}
    plan = plan_of(federation=federation, participation="secret", noise="secure")
    state = ServerState(round=0, parameters=build_parameters(0.0))
    names = [f"c{index}" for index in range(1000)]
    first, second = (plan_round(state, plan, names).cohort for _ in range(2))
    assert first != second
    fewer = [len(plan_round(state, plan, names[:500]).cohort) for _ in range(40)]
    assert sum(fewer) / 40 == pytest.approx(50, abs=5 * math.sqrt(45 / 40))


def test_the_target_epsilon_is_reached_over_all_rounds():
    plan = plan_of(federation={"rounds": 20, "clients": 100}, **{"epsilon": 8.0, "noise-multiplier": None})
    resolved = plan.updated(privacy=resolve_privacy(plan, nominal_batch=1.0))
    promise = promise_of(resolved)
    assert 7.98 < epsilon_of(promise.total_event, 1e-5) <= 8.0
    assert promise.noise_multiplier == pytest.approx(2.69, abs=0.01)  # 20 rounds, δ = 1e-5


def test_a_round_tells_nothing_that_the_noise_does_not_cover():
    plan = plan_of()
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=CLIENTS, round=1)
    updates = [build_update(name, 0.1, 0.1, num_examples=5) for name in CLIENTS]
    new, report = close_round(state, plan, request, iter(updates))
    assert (report.training, report.num_examples, report.clip_norm) == ({}, {}, 1.0)
    assert new.part("aggregation") == {"clip_norm": 1.0}
    assert not torch.equal(new.parameters.buffer, torch.full((2,), 0.1))


def test_a_secret_cohort_leaves_no_name_and_no_number_in_the_journal():
    federation = {"clients": 4, "cohort-size": 2, "cohort-sampling": "poisson"}
    plan = plan_of(federation=federation, participation="secret")
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=CLIENTS[:2], round=1)
    rejection = Rejection(client=CLIENTS[1], code="LATE", reason="no reply")
    _, report = close_round(state, plan, request, iter([build_update(CLIENTS[0], 0.1, 0.1), rejection]))
    assert (report.asked, report.counted, report.rejected) == ((), (), ())
    assert report.committed


def test_a_round_of_a_secret_cohort_is_committed_when_nobody_answers():
    federation = {"clients": 4, "cohort-size": 2, "cohort-sampling": "poisson"}
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=CLIENTS[:2], round=1)
    reports = [
        close_round(state, plan_of(federation=federation, participation=how), request, iter([]))[1]
        for how in ("visible", "secret")
    ]
    assert [report.committed for report in reports] == [False, True]


def test_a_long_update_is_clipped_and_not_rejected_for_its_norm():
    plan = plan_of(federation={"max-update-norm": 1.0})
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=CLIENTS, round=1)
    _, report = close_round(state, plan, request, iter([build_update(name, 9.0, 9.0) for name in CLIENTS]))
    assert (report.counted, report.rejected) == (CLIENTS, ())


def test_an_empty_poisson_cohort_still_gets_its_noise():
    plan = plan_of(federation=POISSON)
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=(), round=1)
    new, report = close_round(state, plan, request, iter(()))
    assert report.committed
    assert new.parameters.norm() > 0.0


def test_secure_noise_is_fresh_each_time():
    plan = plan_of(federation=POISSON, noise="secure")
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=(), round=1)
    seen = Counter(tuple(close_round(state, plan, request, iter(()))[0].parameters.buffer.tolist()) for _ in range(5))
    assert len(seen) == 5


def test_few_clients_are_known_beforehand_to_drown_in_noise():
    few, many = (
        CentralPrivacy.from_run_plan(plan_of({"clients": clients, "rounds": 100}, **{"noise-multiplier": 6.0}))
        for clients in (10, 1000)
    )
    assert re.match(
        r"the noise is 1\.5 times what all 10 clients together could move the model by in 100 rounds", few.drowned(650)
    )
    assert many.drowned(650) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aggregation": {"rule": "mean"}}, "not a sum in which each client counts once"),
        ({"participation": "secret"}, "secret amplifies a Poisson cohort"),
        (
            {"participation": "secret", "federation": {"cohort-size": 2, "cohort-sampling": "poisson", "quorum": 2}},
            "a round that fails for want of clients",
        ),
        ({"relation": "add-remove", "federation": {"cohort-size": 2}}, "would draw another cohort"),
    ],
)
def test_contradictions_are_refused(changes, words):
    with pytest.raises(PlanError, match=words):
        Method.of(plan_of(**changes))
