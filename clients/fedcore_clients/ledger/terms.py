"""What a budget promises, and what a use of the data costs: in whole nano-units, never too few."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from fedcore.errors import PrivacyError
from fedcore.privacy.accounting import composed_epsilon
from fedcore.privacy.filters import best_order, conversion, gaussian_mu, most_steps, renyi_divergence
from fedcore.privacy.plan import PrivacyEvent, Relation
from fedcore_clients.ledger.mechanism import Mechanism

NANO = 10**9
UNBOUNDED = 10**15
"""Nano-units from which on a cost counts as unaffordable."""
_GRANTS = 10
_MOST_EPSILON = 1e5


class Mode(StrEnum):
    """How uses of a data set are added up; fixed when its budget is made."""

    UNIT = "unit"
    """Steps of one reference mechanism."""

    GDP = "gdp"
    """1/σ² of Gaussian mechanisms without sampling; 4/σ² under replace-one."""

    RDP = "rdp"
    """Rényi divergence of one order."""

    GRANTS = "grants"
    """ε of whole runs, each at its share of δ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of a use of the data.

    Attributes:
        units: Nano-units, rounded up.
        slots: Shares of δ; 0 in every mode but ``grants``.
    """

    units: int
    slots: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a budget promises. Make it with `agree`, which derives what is left open.

    Guarantee:
        Uses of a data set whose costs are at most `cap` together keep (`epsilon`, `delta`), by any choice, and
        also where each was chosen after the results of earlier ones were seen. Unit: one record. Relation: as said,
        whatever the relation of a plan: clipping and noise are the same in all of them, so that every mechanism has
        a cost by each. Assumes that what is charged is what was run.

    Attributes:
        cap: The most that may be spent; `Cost.units` rounded down.
        order: Of the Rényi divergence, in mode ``rdp``.
        sampling_rate: Of the reference mechanism, in mode ``unit``.
        noise_multiplier: Of the reference mechanism, in mode ``unit``.
    """

    epsilon: float
    delta: float
    mode: Mode
    relation: Relation
    cap: Cost
    order: float | None = None
    sampling_rate: float | None = None
    noise_multiplier: float | None = None

    @property
    def unit(self) -> str:
        return _UNITS[self.mode]

    def round_cost(self, event: PrivacyEvent) -> Cost:
        """Cost of one round, which adds up; not for mode ``grants``.

        Raises:
            PrivacyError: The mode has no bound for the mechanism.
        """
        if not (0.0 < event.sampling_rate <= 1.0 and event.noise_multiplier > 0.0 and event.steps > 0):
            raise PrivacyError("no bound: expected noise, at least one step, and a sampling rate in (0, 1]")
        if self.mode is Mode.UNIT:
            self._check_reference(event)
            return _priced(event.steps)
        if self.mode is Mode.GDP:
            if event.sampling_rate < 1.0:
                raise PrivacyError("the budget's mode gdp adds up mechanisms without sampling, and this one samples")
            return _priced(event.steps * self.relation.moved**2 / event.noise_multiplier**2)
        if self.order is None:
            raise PrivacyError("the budget's mode has no cost of single rounds")
        return _priced(renyi_divergence(event, self.order, self.relation))

    def run_cost(self, event: PrivacyEvent, rounds: int) -> Cost:
        """Cost of `rounds` rounds of one run, all with the parameters of `event`.

        Raises:
            PrivacyError: The mode has no bound for the mechanism.
        """
        if self.mode is not Mode.GRANTS:
            return Cost(units=rounds * self.round_cost(event).units)
        whole = PrivacyEvent(
            sampling_rate=event.sampling_rate, noise_multiplier=event.noise_multiplier, steps=rounds * event.steps
        )
        epsilon = composed_epsilon([whole], self.delta / self.cap.slots, self.relation)
        return Cost(units=_priced(epsilon).units, slots=1)

    def cost(self, mechanism: Mechanism) -> Cost:
        """Cost of a single use of the data.

        Raises:
            PrivacyError: The mode has no bound for the mechanism.
        """
        if isinstance(mechanism, PrivacyEvent):
            return self.run_cost(mechanism, 1)
        if self.mode is not Mode.GRANTS:
            raise PrivacyError(
                f"a budget of mode {self.mode} adds up mechanisms, not (ε, δ): give the noise multiplier and the "
                "steps; if they are not known, charge it as unbounded"
            )
        return Cost(
            units=_priced(mechanism.epsilon).units, slots=math.ceil(mechanism.delta * self.cap.slots / self.delta)
        )

    def changed(self, epsilon: float, delta: float) -> Terms:
        """The same mode with another ε and δ; the cost of a use stays the same, and the cap may be zero.

        Raises:
            PrivacyError: A number is out of range, or mode ``grants`` is to have another δ.
        """
        if self.mode is Mode.GRANTS and delta != self.delta:
            raise PrivacyError("each grant was made at its share of δ, which can therefore not be changed")
        _check_promise(epsilon, delta)
        return _capped(replace(self, epsilon=epsilon, delta=delta))

    def to_fields(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["cap"]
        return fields | {"mode": str(self.mode), "relation": str(self.relation)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any], cap: Cost) -> Terms:
        """Raises ValueError: It is not what `to_fields` wrote."""
        try:
            known = fields | {"mode": Mode(fields["mode"]), "relation": Relation(fields["relation"])}
            return cls(**known, cap=cap)
        except (KeyError, TypeError) as error:
            raise ValueError("not the terms of a budget") from error

    def _check_reference(self, event: PrivacyEvent) -> None:
        rate, noise = self.sampling_rate or 0.0, self.noise_multiplier or math.inf
        if event.sampling_rate > rate or event.noise_multiplier < noise:
            raise PrivacyError(
                f"the budget counts steps that sample at most {rate:g} with a noise multiplier of at least {noise:g}, "
                f"and this one samples {event.sampling_rate:g} with {event.noise_multiplier:g}"
            )


def agree(
    *,
    epsilon: float,
    delta: float,
    mode: Mode,
    relation: Relation = Relation.ZERO_OUT,
    order: float | None = None,
    sampling_rate: float | None = None,
    noise_multiplier: float | None = None,
    grants: int | None = None,
) -> Terms:
    """The terms of a budget, with what follows from them.

    Args:
        order: Of the Rényi divergence; the best one for (ε, δ) by default.
        sampling_rate: Of the reference mechanism; mode ``unit`` needs it, and its noise multiplier.
        grants: Equal shares that δ is split into; 10 by default.

    Raises:
        PrivacyError: A number is out of range or absent, or nothing could be spent.
    """
    _check_promise(epsilon, delta)
    terms = Terms(
        epsilon=epsilon,
        delta=delta,
        mode=mode,
        relation=relation,
        cap=Cost(units=0, slots=(grants or _GRANTS) if mode is Mode.GRANTS else 0),
        order=(order or best_order(epsilon, delta)) if mode is Mode.RDP else None,
        sampling_rate=sampling_rate if mode is Mode.UNIT else None,
        noise_multiplier=noise_multiplier if mode is Mode.UNIT else None,
    )
    capped = _capped(terms)
    if not capped.cap.units:
        raise PrivacyError(
            f"ε = {epsilon:g} at δ = {delta:g} allows nothing in mode {mode}; ask for more, or more noise"
        )
    return capped


def _check_promise(epsilon: float, delta: float) -> None:
    if not (0.0 < epsilon < _MOST_EPSILON and 0.0 < delta < 1.0):
        raise PrivacyError(f"expected 0 < ε < {_MOST_EPSILON:g} and 0 < δ < 1, found ε = {epsilon:g} and δ = {delta:g}")


def _capped(terms: Terms) -> Terms:
    return replace(terms, cap=Cost(units=max(0, math.floor(_cap(terms) * NANO)), slots=terms.cap.slots))


def _cap(terms: Terms) -> float:
    if terms.mode is Mode.GDP:
        return gaussian_mu(terms.epsilon, terms.delta) ** 2
    if terms.mode is Mode.RDP and terms.order is not None:
        return terms.epsilon - conversion(terms.order, terms.delta)
    if terms.mode is Mode.GRANTS:
        return terms.epsilon
    rate, noise = terms.sampling_rate, terms.noise_multiplier
    if rate is None or noise is None or not (0.0 < rate <= 1.0 and 0.0 < noise < math.inf):
        raise PrivacyError(
            "mode unit counts steps of a reference mechanism: give the largest sampling rate, in (0, 1], and the "
            "least noise multiplier, above 0, that a plan may ask for"
        )
    most = most_steps(
        epsilon=terms.epsilon,
        delta=terms.delta,
        sampling_rate=rate,
        noise_multiplier=noise,
        relation=terms.relation,
    )
    return float(most)


def _priced(units: float) -> Cost:
    """Rounded up, with a margin for floating-point error."""
    if not math.isfinite(units) or units < 0.0 or units * NANO >= UNBOUNDED:
        raise PrivacyError("the mechanism's loss has no bound that a budget could hold")
    return Cost(units=math.ceil(units * NANO * (1.0 + 1e-12)) if units != int(units) else int(units) * NANO)


_UNITS = {
    Mode.UNIT: "steps of the reference mechanism",
    Mode.GDP: "μ² of Gaussian differential privacy",
    Mode.RDP: "Rényi divergence",
    Mode.GRANTS: "ε, each run at its share of δ",
}
