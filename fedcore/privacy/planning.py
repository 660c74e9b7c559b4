"""The cost of a target ε before training: the noise, and how to reduce it.

Learning depends on the noise on the *mean*: that on a clipped sum, over the records and clients that it is
divided by. Lengths are in clip norms, the largest that the mean of the clipped gradients can have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from fedcore.errors import PlanError
from fedcore.privacy.accounting import MOST_SAMPLED_STEPS, calibrate_noise_multiplier
from fedcore.privacy.plan import Relation
from fedcore.text.wording import counted

_LARGEST_COUNT = 10**12
_MORE = 4
_NEAR = 0.1  # of 1 / the number of those protected, as in the linter's rule delta-near-size
_DOUBTFUL, USELESS = 0.15, 1.0  # measured on digits under unit client: 0.46 costs points of accuracy, 4.6 all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A run to be planned.

    Attributes:
        unit: ``record``: noise in every client, on sums over its records. ``client``: noise at the server, on the
            sum of the clients' updates, one release in a round.
        parameters: Size of the model; the noise is added to each number.
    """

    unit: Literal["record", "client"]
    relation: Relation
    epsilon: float
    delta: float
    examples: int
    clients: int
    rounds: int
    sampling_rate: float
    steps_per_round: int
    parameters: int

    def __post_init__(self) -> None:
        """Raise one `PlanError` with all problems."""
        if problems := list(_problems(self)):
            raise PlanError(problems)

    @property
    def steps(self) -> int:
        """Releases of the whole run."""
        return self.rounds * (self.steps_per_round if self.unit == "record" else 1)

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise on a clipped sum, over the clip norm."""
        return calibrate_noise_multiplier(
            epsilon=self.epsilon,
            delta=self.delta,
            sampling_rate=self.sampling_rate if self.unit == "record" else 1.0,
            steps=self.steps,
            relation=self.relation,
        )

    @property
    def noise_in_a_step(self) -> float:
        """Standard deviation of the noise on the mean of one step, in each coordinate, in clip norms."""
        if self.unit == "client":
            return self.noise_multiplier / self.clients
        return self.noise_multiplier / (self.sampling_rate * self.examples * math.sqrt(self.clients))

    @property
    def noise_over_the_run(self) -> float:
        """Length of the noise on the mean of all steps, over all parameters, in clip norms."""
        return noise_over_a_run(self.noise_in_a_step, parameters=self.parameters, steps=self.steps)

    @property
    def verdict(self) -> Literal["useful", "doubtful", "useless"]:
        """Whether learning is possible in spite of the noise."""
        if self.noise_in_a_step > 1.0 or self.noise_over_the_run > USELESS:
            return "useless"
        return "doubtful" if self.noise_over_the_run > _DOUBTFUL else "useful"

    @property
    def publishing(self) -> str:
        """What is wrong with δ, in a sentence: publishing a record with probability δ is allowed by δ.

        Empty if δ is at most a tenth of 1 / the number of protected records or clients, as the privacy linter requires.
        """
        number, what = (self.examples, "record") if self.unit == "record" else (self.clients, "client")
        if self.delta * number <= _NEAR:
            return ""
        near = "at least" if self.delta * number >= 1.0 else "near"
        small = 10.0 ** math.floor(math.log10(_NEAR / number))
        return (
            f"δ = {self.delta:g} is {near} 1 / {counted(number, what)}: a mechanism that publishes each with "
            f"probability δ keeps it too; give --delta {small:g} or less"
        )

    @property
    def why(self) -> str:
        if self.noise_in_a_step > 1.0:
            return (
                f"in each single parameter the noise of a step ({self.noise_in_a_step:.2g} clip norms) is larger than "
                "all that the mean of the clipped gradients can be"
            )
        run = f"over the run the noise is {self.noise_over_the_run:.2g} times as long as the longest mean gradient"
        if self.verdict == "useless":
            return f"{run}, for {counted(self.parameters, 'parameter')}: the model would be noise"
        if self.verdict == "doubtful":
            return f"{run}, for {counted(self.parameters, 'parameter')}: expect to lose several points of accuracy"
        return f"{run}, for {counted(self.parameters, 'parameter')}"


def noise_over_a_run(noise_in_a_step: float, *, parameters: int, steps: int) -> float:
    """Length of the noise of all steps over the longest way that all means could go together.

    Noise adds up as the root of the steps, clipped means at best as their number; above 1 noise moves the model more
    than anything it could learn.
    """
    return noise_in_a_step * math.sqrt(parameters / steps)


def alternatives(prospect: Prospect) -> Iterator[tuple[str, Prospect]]:
    """The next-best choices at the same ε, each with its name."""
    more_rounds = replace(prospect, rounds=_MORE * prospect.rounds)
    if more_rounds.sampling_rate == 1.0 or more_rounds.steps <= MOST_SAMPLED_STEPS:
        yield f"{_MORE} × the rounds ({more_rounds.rounds})", more_rounds
    if prospect.unit == "record" and prospect.sampling_rate < 1.0:
        rate = min(1.0, _MORE * prospect.sampling_rate)
        yield f"larger batches (rate {rate:g})", replace(prospect, sampling_rate=rate)
    more_clients = replace(prospect, clients=_MORE * prospect.clients)
    yield f"{_MORE} × the clients ({more_clients.clients})", more_clients
    if prospect.unit == "record":
        more_examples = replace(prospect, examples=_MORE * prospect.examples)
        yield f"{_MORE} × the examples ({more_examples.examples} each)", more_examples
    yield f"2 × ε ({2 * prospect.epsilon:g})", replace(prospect, epsilon=2 * prospect.epsilon)


def _problems(prospect: Prospect) -> Iterator[str]:
    for name in ("examples", "clients", "rounds", "steps_per_round", "parameters"):
        value = getattr(prospect, name)
        if not 1 <= value <= _LARGEST_COUNT:
            yield f"--{name.replace('_', '-')}: expected 1 to {_LARGEST_COUNT:g}, found {value}"
    if prospect.rounds * prospect.steps_per_round > (most := _most_steps(prospect.sampling_rate)):
        yield f"--rounds × --steps-per-round: expected at most {most:,}{_sampled(prospect.sampling_rate)}"
    yield from mechanism_problems(
        sampling_rate=prospect.sampling_rate,
        steps=1,
        delta=prospect.delta,
        epsilon=prospect.epsilon,
    )


def mechanism_problems(
    *,
    sampling_rate: float,
    steps: int,
    delta: float,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
) -> Iterator[str]:
    """Problems with a mechanism's numbers, each with its option."""
    if not 0.0 < sampling_rate <= 1.0:
        yield f"--sample-rate: expected more than 0 and at most 1, found {sampling_rate:g}"
    most = _most_steps(sampling_rate)
    if not 1 <= steps <= most:
        yield f"--steps: expected 1 to {most:,}{_sampled(sampling_rate)}, found {steps}"
    if not 0.0 < delta < 1.0:
        yield f"--delta: expected more than 0 and less than 1, found {delta:g}"
    if epsilon is not None and not 0.0 < epsilon < math.inf:
        yield f"--target-epsilon: expected a number above 0, found {epsilon:g}"
    if noise_multiplier is not None and not 0.0 <= noise_multiplier < math.inf:
        yield f"--noise-multiplier: expected a number of 0 or more, found {noise_multiplier:g}"


def _most_steps(sampling_rate: float) -> int:
    return MOST_SAMPLED_STEPS if sampling_rate < 1.0 else _LARGEST_COUNT


def _sampled(sampling_rate: float) -> str:
    return " with sampling, as the accountant requires" if sampling_rate < 1.0 else ""
