"""Rules about the settings of a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fedcore.method.names import own_code
from fedcore.plan.evaluation_schedule import most_evaluations
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.linter.finding import Rule, Subject
from fedcore.privacy.plan import NoiseKind, PrivacyPlan, Relation
from fedcore.text.wording import counted

_SMALLEST_NOISE = 1e-3
_NEAR = 0.1
_OF = {"record": "records at a client", "client": "clients"}


def _no_noise(subject: Subject) -> Iterator[str]:
    privacy = subject.privacy
    if privacy is not None and privacy.noise_multiplier < _SMALLEST_NOISE:
        yield f"privacy.noise-multiplier = {privacy.noise_multiplier:g}"


def _test_noise(subject: Subject) -> Iterator[str]:
    if subject.privacy is not None and subject.privacy.noise is NoiseKind.TEST:
        yield 'privacy.noise = "test"'


def _records(subject: Subject) -> float | None:
    """Public number of records of a client, declared or from the plan's divisor."""
    privacy, divisor = subject.privacy, subject.plan.privacy.nominal_batch
    if subject.plan.privacy.unit == "client":
        return float(subject.plan.federation.clients)
    if not isinstance(privacy, PrivacyPlan):
        return None
    if subject.largest_client is not None and privacy.relation is not Relation.ADD_REMOVE:
        return float(subject.largest_client)
    return divisor / privacy.sampling_rate if divisor is not None else None


def _delta(subject: Subject, low: float, high: float) -> Iterator[str]:
    records, privacy = _records(subject), subject.privacy
    if privacy is not None and records is not None and low <= privacy.delta * records < high:
        yield f"privacy.delta = {privacy.delta:g} with about {records:.0f} {_OF[subject.plan.privacy.unit]}"


def _delta_too_large(subject: Subject) -> Iterator[str]:
    return _delta(subject, 1.0, float("inf"))


def _delta_near_size(subject: Subject) -> Iterator[str]:
    return _delta(subject, _NEAR, 1.0)


def _derived_normaliser(subject: Subject) -> Iterator[str]:
    if subject.plan.privacy.unit == "record" and subject.plan.privacy.nominal_batch is None:
        yield "privacy.nominal-batch is left open"


def _size_released(subject: Subject) -> Iterator[str]:
    section = subject.plan.privacy
    if section.unit != "record" or section.relation != "add-remove":
        return
    if subject.plan.aggregation.rule == "mean":
        yield 'aggregation.rule = "mean" with privacy.relation = "add-remove"'
    if section.nominal_batch is None:
        yield 'privacy.nominal-batch is derived from the number of records with privacy.relation = "add-remove"'


def _client_sampling(subject: Subject) -> Iterator[str]:
    federation = subject.plan.federation
    if (
        subject.plan.privacy.participation == "visible"
        and federation.cohort_size is not None
        and federation.cohort_size < federation.clients
    ):
        yield f"federation.cohort-size = {federation.cohort_size} of {federation.clients} clients"


def _uncharged_search(subject: Subject) -> Iterator[str]:
    trials = subject.plan.privacy.trials
    if trials is None:
        yield "privacy.trials is not given"
    elif trials > 1:
        yield f"privacy.trials = {trials}"


def _unnoised_evaluation(subject: Subject) -> Iterator[str]:
    times, exact = most_evaluations(subject.plan), subject.plan.privacy.evaluation_noise_multiplier is None
    if times > 1 and exact:
        yield f"{times} evaluations on the same held-out rows"


def _noise_in_every_bin(subject: Subject) -> Iterator[str]:
    """Rates at a threshold of 0.5 sum half of the bins or all, each with noise of its own; one or two bins would do.

    Runs that need the bins are not warned: hooks of your own, and ``fedminmax``, which takes the loss from them.
    """
    audit, task = subject.plan.audit, subject.task
    if subject.plan.privacy.evaluation_noise_multiplier is None or not audit.sensitive or audit.hooks:
        return
    if task is None or len(task.labels) != 2 or subject.plan.algorithm.name.partition(":")[0] == "fedminmax":
        return
    if audit.score_bins > 2 and audit.threshold == 0.5:
        times = math.sqrt(audit.score_bins / 2)
        yield f"audit.score-bins = {audit.score_bins}, with {times:.1f} times the noise in every rate that 2 would have"


def _place_in_batch(subject: Subject) -> Iterator[str]:
    privacy = subject.plan.privacy
    if privacy.unit == "record" and privacy.relation == "add-remove":
        yield 'privacy.relation is "add-remove"'


def _own_code(subject: Subject) -> Iterator[str]:
    yield from own_code(subject.plan)


def _drowned(subject: Subject) -> Iterator[str]:
    if isinstance(subject.privacy, CentralPrivacy) and subject.model is not None:
        learned = sum(each.numel() for each in subject.model.parameters() if each.requires_grad)
        if problem := subject.privacy.drowned(learned):
            yield f"{problem}, for {counted(learned, 'parameter')}"


DROWNED = Rule(
    id="drowned-in-noise",
    severity="warn",
    why="the model would learn next to nothing, for under unit client the noise does not shrink with a client's rows",
    fix="ask many more clients, take a smaller model or a larger epsilon; for few clients take unit record, whose "
    "noise is added where the rows are",
    find=_drowned,
)
"""The one warning that a run is a waste of time: shown in full wherever a plan is checked."""

SETTING_RULES = (
    DROWNED,
    Rule(
        id="no-noise",
        severity="refuse",
        why="without noise ε is infinite, and a plan with a privacy unit claims otherwise",
        fix='give privacy.epsilon or a larger noise-multiplier, or set privacy.unit = "none"',
        find=_no_noise,
    ),
    Rule(
        id="test-noise",
        severity="warn",
        why="noise and batches are drawn from the run's seed, so anyone who knows it can remove the noise: nothing is "
        "promised, as the statement shows",
        fix='set privacy.noise = "secure" for anything but a test',
        find=_test_noise,
    ),
    Rule(
        id="delta-too-large",
        severity="refuse",
        why="δ is at least 1 / the number of records, which a mechanism that publishes whole records keeps",
        fix="set privacy.delta to at most a tenth of 1 / the number of records",
        find=_delta_too_large,
    ),
    Rule(
        id="delta-near-size",
        severity="warn",
        why="δ is more than a tenth of 1 / the number of records, where its failures begin to count",
        fix="set privacy.delta to at most a tenth of 1 / the number of records",
        find=_delta_near_size,
    ),
    Rule(
        id="derived-normaliser",
        severity="warn",
        why="a simulation derives the divisor from the number of rows, which is sound only because that number is "
        "public here; a server refuses such a plan",
        fix="give privacy.nominal-batch as a constant, such as the sampling rate times the rows of a typical client",
        find=_derived_normaliser,
    ),
    Rule(
        id="size-released",
        severity="refuse",
        why="the number of records is the secret that add-remove protects, and this reveals it",
        fix='use federation.weighting = "uniform" and a constant privacy.nominal-batch, or relation zero-out',
        find=_size_released,
    ),
    Rule(
        id="client-sampling",
        severity="warn",
        why="asking a sample of the clients amplifies nothing, because the server sees whom it asks; every client is "
        "charged for every round",
        fix="ask all clients in fewer rounds, or sample records with privacy.sampling-rate, which does amplify",
        find=_client_sampling,
    ),
    Rule(
        id="uncharged-search",
        severity="warn",
        why="the ε of a run does not cover other runs on the same records from which this one was chosen",
        fix="set privacy.trials to the number of runs, 1 if there was no search; the statement then gives the ε of "
        "all together",
        find=_uncharged_search,
    ),
    Rule(
        id="unnoised-evaluation",
        severity="warn",
        why="evaluation on held-out rows is exact and charged to no account, so each one reveals more about those rows",
        fix="set privacy.evaluation-noise-multiplier, or federation.evaluate-every to the number of rounds, so that "
        "they are looked at once",
        find=_unnoised_evaluation,
    ),
    Rule(
        id="noise-in-every-bin",
        severity="warn",
        why="each of N score bins has noise of its own and a rate at threshold 0.5 sums them up, where with 2 bins it "
        "has √(N/2) times less; only rates are computed from noisy counts, so that the others are unused",
        fix="set audit.score-bins = 2, which gives the same rates, at the same ε",
        find=_noise_in_every_bin,
    ),
    Rule(
        id="rounded-by-place",
        severity="warn",
        why="one record more moves the others to other places in their batch, and products of matrices round by place: "
        "a server can choose weights for which rounding alone decides what all of them contribute. Under add-remove "
        "the guarantee therefore holds in exact arithmetic, and not against a hostile server",
        fix="use zero-out or replace-one, under which no record changes its place",
        find=_place_in_batch,
    ),
    Rule(
        id="own-method",
        severity="warn",
        why="an algorithm or encoding of your own runs on released gradients and updates, and the guarantee holds "
        "only if it looks at nothing else",
        fix="check that it never reads rows",
        find=_own_code,
    ),
)
