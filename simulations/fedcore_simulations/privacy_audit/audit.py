"""The audit of a plan: probes, canaries, and the conclusion about the claim."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from fedcore.parameters import Layout
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.gaussian import gaussian_epsilon
from fedcore.privacy.lower_bounds import (
    LowerBound,
    best_guesses,
    canary_mu,
    gaussian_one_run_epsilon,
    one_run_ceiling,
    one_run_epsilon,
)
from fedcore.privacy.plan import PrivacyEvent, PrivacyPlan
from fedcore_simulations.privacy_audit.bare_probe import Bare, probe_bare
from fedcore_simulations.privacy_audit.noise_probe import Probe, probe_count, probe_noise, probe_spread
from fedcore_simulations.privacy_audit.releases import CanaryRun, Silence

FAILING_P = 2e-4
"""Chance of refuting a correct mechanism: among 1,000 audits rarely more than one does."""
_SHOWN_P = 0.05
_PROBE_SHARE = 0.5
_GUESSED_SHARE = 0.2


class Subject(Protocol):
    """What is audited."""

    num_canaries: int

    @property
    def privacy(self) -> PrivacyPlan | CentralPrivacy:
        """The claim."""

    @property
    def layout(self) -> Layout:
        """The tensors of a release, in order."""

    def canary_run(self, coins: Tensor) -> CanaryRun:
        """Run once with those canaries whose coin is true."""

    def silence(self) -> Silence:
        """Run for some rounds without a signal."""

    def bare(self) -> Bare:
        """Run for some rounds almost without noise, in a sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyAudit:
    """The proven ε, the measured bounds, and whether both can be true.

    Attributes:
        proven: ε that the accountant gives for the whole run by the plan's own relation; infinite without noise.
        refutable: ε between data sets that differ by a blanked unit, as those of the audit do: what is tested.
        estimate: ε of the canaries' scores taken as Gaussian; no bound.
        bounds: At 95 %, to be shown. Never merged with `proven` into one number.
        failing: Lower bound at 99.99 %; above `refutable` the claim is refuted.
    """

    unit: str
    proven: float
    refutable: float
    delta: float
    canaries: int
    probes: tuple[Probe, ...]
    estimate: float
    bounds: tuple[LowerBound, ...]
    failing: float

    @property
    def violated(self) -> bool:
        """Whether the claim is refuted; true with probability `FAILING_P` at most where the mechanism is right."""
        return self.failing > self.refutable or not all(probe.passed for probe in self.probes)

    def to_json(self) -> dict[str, Any]:
        return {
            "privacy": "VIOLATED" if self.violated else "not refuted",
            "unit": self.unit,
            "delta": self.delta,
            "proven_epsilon": _finite(self.proven),
            "estimated_epsilon": _finite(self.estimate),
            "measured_epsilon": [
                {
                    "at_least": _finite(bound.epsilon),
                    "ceiling": _finite(bound.ceiling),
                    "confidence": 1.0 - bound.p,
                    "method": bound.method,
                    "assumption": bound.assumption,
                }
                for bound in self.bounds
            ],
            "failing_epsilon": _finite(self.failing),
            "canaries": self.canaries,
            "probes": [{"name": each.name, "passed": each.passed, "found": each.found} for each in self.probes],
        }


def audit_privacy(subject: Subject, *, generator: torch.Generator) -> PrivacyAudit:
    """Train once with canaries, test how well their coins can be guessed, and probe the noise.

    Args:
        generator: Of the coins. The noise is never drawn from it.
    """
    privacy = subject.privacy
    coins = torch.rand(subject.num_canaries, generator=generator) < 0.5
    run = subject.canary_run(coins)
    probes, scores = _probes(subject, run, coins), run.scores
    inside, outside = scores[coins].tolist(), scores[~coins].tolist()
    mu, mu_shown = canary_mu(inside, outside, p=_SHOWN_P)
    _, mu_failing = canary_mu(inside, outside, p=FAILING_P * (1.0 - _PROBE_SHARE))
    return PrivacyAudit(
        unit="client" if isinstance(privacy, CentralPrivacy) else privacy.unit.value,
        proven=epsilon_of(privacy.total_event, privacy.delta, privacy.relation),
        refutable=epsilon_of(privacy.total_event, privacy.delta),
        delta=privacy.delta,
        canaries=subject.num_canaries,
        probes=tuple(probes),
        estimate=_epsilon(mu, privacy.delta),
        bounds=(_canary_bound(_epsilon(mu_shown, privacy.delta)), *_one_run_bounds(scores, coins, privacy.delta)),
        failing=_epsilon(mu_failing, privacy.delta),
    )


def _probes(subject: Subject, run: CanaryRun, coins: Tensor) -> list[Probe]:
    if subject.privacy.noise_multiplier == 0.0:
        return []  # nothing is promised, and the proven ε is infinite
    first, second = subject.silence(), subject.silence()
    share = FAILING_P * _PROBE_SHARE / 4.0
    spread = probe_spread(run.scores, coins, _on_the_sum(subject.privacy), p=share)
    bare = probe_bare(subject.bare(), subject.bare(), p=share)
    probes = [*probe_noise(first.rounds, second.rounds, subject.layout, p=share), spread, *bare]
    counts = torch.cat([first.counts, second.counts, run.counts])
    return [*probes, probe_count(counts, p=share)] if len(counts) else probes


def _on_the_sum(privacy: PrivacyPlan | CentralPrivacy) -> PrivacyEvent:
    """The run's event with the noise of the sum alone."""
    event = privacy.total_event
    if isinstance(privacy, CentralPrivacy):
        return replace(event, noise_multiplier=privacy.update_noise_multiplier)
    return event


def _canary_bound(epsilon: float) -> LowerBound:
    return LowerBound(
        epsilon=epsilon,
        ceiling=math.inf,
        p=_SHOWN_P,
        method="canary head, one run",
        assumption="the scores of canaries are Gaussian, as they are by construction",
    )


def _one_run_bounds(scores: Tensor, coins: Tensor, delta: float) -> tuple[LowerBound, LowerBound]:
    canaries = len(coins)
    guesses = 2 * max(1, int(_GUESSED_SHARE * canaries / 2))  # fixed before the coins are looked at
    counts = {
        "canaries": canaries,
        "guesses": guesses,
        "correct": best_guesses(scores.tolist(), coins.tolist(), guesses),
    }
    ceiling = one_run_ceiling(guesses=guesses, p=_SHOWN_P)
    best = gaussian_one_run_epsilon(canaries=canaries, guesses=guesses, correct=guesses, delta=delta, p=_SHOWN_P)
    return (
        LowerBound(
            epsilon=one_run_epsilon(**counts, delta=delta, p=_SHOWN_P),
            ceiling=ceiling,
            p=_SHOWN_P,
            method="one run (Steinke, Nasr and Jagielski 2023)",
            assumption="none",
        ),
        LowerBound(
            epsilon=gaussian_one_run_epsilon(**counts, delta=delta, p=_SHOWN_P),
            ceiling=best,
            p=_SHOWN_P,
            method="one run, f-DP (Mahloujifar, Melis and Chaudhuri 2024)",
            assumption="the mechanism's trade-off is a Gaussian's",
        ),
    )


def _epsilon(mu: float, delta: float) -> float:
    return gaussian_epsilon(mu, delta) if math.isfinite(mu) else math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
