"""How a run in simulated time goes from one state to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from fedcore.method.method import Method
from fedcore.plan import RunPlan
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.federation import Federation
from fedcore_server.rounds.state import RoundReport, ServerState
from fedcore_simulations.dealt_clients import names_of, training_sizes_of
from fedcore_simulations.virtual_time.devices import Devices
from fedcore_simulations.virtual_time.rounds import TimedRounds
from fedcore_simulations.virtual_time.steps import TimedSteps
from fedcore_simulations.virtual_time.workload import Workload


def timed(
    plan: RunPlan, federation: Federation, clients: Sequence[Client], buffer: Tensor
) -> Callable[[ServerState], tuple[ServerState, RoundReport]] | None:
    """The next round, or of an asynchronous algorithm the next step; ``None`` where the plan has no devices."""
    if not plan.devices.kinds:
        return None
    devices = Devices(plan, names_of(clients), Workload.of(plan, training_sizes_of(clients), buffer))
    if Method.of(plan).algorithm.buffer is None:
        return TimedRounds(plan, federation, devices)
    return TimedSteps(plan, federation, devices)
