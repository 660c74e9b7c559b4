"""What a simulation would take on this machine, from a trial of a few clients that keeps and releases nothing."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fedcore.messages import EvaluateRequest
from fedcore.method.exchange import Exchange, vector_of
from fedcore.method.method import Method
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import rounds_evaluated
from fedcore.privacy.accounting import epsilon_of, rounded_up
from fedcore.privacy.promise import promise_of
from fedcore.privacy.statement.strength import finite
from fedcore.report.page.wording import seconds_text
from fedcore.task import Task
from fedcore.text.wording import bytes_text, energy_text
from fedcore_server.evaluation.evaluated_clients import choose_evaluated
from fedcore_server.rounds.rounds import init_state, plan_round
from fedcore_simulations.dealt_clients import names_of, training_sizes_of
from fedcore_simulations.energy import EnergyMeter
from fedcore_simulations.engines.contract import Engine
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.preparation import Preparation, prepare

_TRIAL_SECONDS, _FEWEST = 1.0, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Of a whole run.

    Attributes:
        round_seconds: Of one round's training; the server's own work is not in it.
        evaluation_seconds: Of one evaluation, on average.
        seconds: Of all rounds and evaluations, with what the preparation took.
        memory_bytes: The most that this process and its largest worker took in the trial.
        memory_planned: What training is expected to take, and of how much; empty of an engine that plans none.
        bytes_sent: To clients, as a deployment would, evaluations included.
        bytes_received: From clients, in updates.
        epsilon: Of all planned rounds; ``None`` without privacy, or where none is proven.
        energy_kwh: ``None`` where it is not known.
    """

    engine: str
    rounds: int
    evaluations: int
    round_seconds: float
    evaluation_seconds: float
    seconds: float
    memory_bytes: int
    memory_planned: str
    bytes_sent: int
    bytes_received: int
    epsilon: float | None
    delta: float
    energy_kwh: float | None

    def lines(self) -> list[tuple[str, str]]:
        """What is shown, by its name."""
        parts = f"{self.rounds:,} rounds of {_duration(self.round_seconds)}"
        evaluated = f"{self.evaluations:,} evaluations of {_duration(self.evaluation_seconds)}"
        privacy = "none" if self.epsilon is None else f"ε = {rounded_up(self.epsilon):.2f} at δ = {self.delta:g}"
        traffic = f"{bytes_text(self.bytes_sent)} to clients, {bytes_text(self.bytes_received)} back"
        energy = "not known on this device" if self.energy_kwh is None else f"about {energy_text(self.energy_kwh)}"
        return [
            ("time", f"about {_duration(self.seconds)}: {parts}, {evaluated}"),
            ("engine", self.engine),
            ("memory", "; ".join(filter(None, [f"{bytes_text(self.memory_bytes)} in the trial", self.memory_planned]))),
            ("traffic", f"{traffic}, in a deployment"),
            ("privacy", privacy),
            ("energy", energy),
        ]


def estimate(task: Task, plan: RunPlan) -> Estimate:
    """Prepare the run, and train and evaluate some clients, so many as about a second allows.

    Raises:
        FedcoreError: As `simulate`: the plan cannot be run.
    """
    begun = time.monotonic()
    ready = prepare(task, plan)
    prepared = time.monotonic() - begun
    engine = build_engine(ready.engine.reference, ready.task, ready.plan, ready.clients, ready.device)
    planned = engine.memory_plan().text() if isinstance(engine, LoopEngine) else ""
    meter, federation = EnergyMeter(ready.device), ready.plan.federation
    with meter:
        trial = time.monotonic()
        with engine:
            training, evaluation = _tried(engine, ready)
        trial = time.monotonic() - trial
    cohort = Method.of(ready.plan).algorithm.buffer or federation.cohort_size or federation.clients
    evaluations = rounds_evaluated(ready.plan)
    last = len(choose_evaluated(engine.available(), ready.plan, round=federation.rounds, attempt=0, last=True))
    others = min(federation.evaluate_clients or federation.clients, federation.clients)
    asked = (evaluations - 1) * others + last
    seconds = prepared + federation.rounds * cohort * training + asked * evaluation
    buffer = init_state(ready.task, ready.plan).parameters.buffer
    exchange, vector = Exchange.of(ready.plan), vector_of(buffer)
    return Estimate(
        engine=engine.name,
        rounds=federation.rounds,
        evaluations=evaluations,
        round_seconds=cohort * training,
        evaluation_seconds=asked * evaluation / evaluations,
        seconds=seconds,
        memory_bytes=_most_memory(),
        memory_planned=planned,
        bytes_sent=federation.rounds * cohort * exchange.request_form(vector).num_bytes + asked * buffer.nbytes,
        bytes_received=federation.rounds * cohort * exchange.codec(vector).form.num_bytes,
        epsilon=_epsilon(ready.plan),
        delta=ready.plan.privacy.delta,
        energy_kwh=meter.energy.kwh * seconds / trial if meter.energy else None,
    )


def _tried(engine: Engine, ready: Preparation) -> tuple[float, float]:
    """Seconds that a client's training and evaluation take."""
    state = init_state(ready.task, ready.plan)
    request = plan_round(state, ready.plan, engine.available())
    asked = request.cohort or tuple(engine.available())
    number, seconds = _timed(asked, lambda some: engine.train(replace(request, cohort=some)))
    training = seconds / number
    if ready.plan.privacy.unit != "record":  # the more rows, the more steps; and some clients have far more than others
        names, sizes = names_of(ready.clients), training_sizes_of(ready.clients)
        rows, tried = dict(zip(names, sizes, strict=True)), asked[:number]
        training *= (sum(sizes) / len(sizes)) / max(1.0, sum(rows[name] for name in tried) / number)
    everybody = EvaluateRequest(round=0, cohort=tuple(sorted(engine.available())), parameters=state.parameters)
    number, seconds = _timed(everybody.cohort, lambda some: engine.evaluate(replace(everybody, cohort=some)))
    return training, seconds / number


def _timed(names: Sequence[str], work: Callable[[tuple[str, ...]], Iterable[object]]) -> tuple[int, float]:
    """How many clients took long enough to be timed, and how long; the first few only warm up."""
    number = min(_FEWEST, len(names))
    _consume(work(tuple(names[:number])))
    while True:
        begun = time.monotonic()
        _consume(work(tuple(names[:number])))
        taken = time.monotonic() - begun
        if taken >= _TRIAL_SECONDS or number == len(names):
            return number, taken
        number = min(len(names), 2 * number)


def _consume(replies: Iterable[object]) -> None:
    for _ in replies:
        pass


def _epsilon(plan: RunPlan) -> float | None:
    promise = promise_of(plan)
    if promise is None:
        return None
    return finite(epsilon_of(promise.event(plan.federation.rounds), promise.delta, promise.relation))


def _most_memory() -> int:
    """Bytes of this process and of its largest worker, which shares most of its own with it."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1.0 else seconds_text(seconds)
