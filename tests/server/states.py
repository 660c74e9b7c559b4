"""What a run goes through in the loop engine."""

from __future__ import annotations

from fedcore.plan import RunPlan
from fedcore.task import Task
from fedcore_server.rounds.driver import Run
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import ServerState
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.preparation import prepare


def states_of(task: Task, plan: RunPlan, start: ServerState | None = None) -> list[ServerState]:
    """Every state that a run keeps, the first one included, and the one that it ends in; begun anew or gone on with."""
    ready = prepare(task, plan)
    states = [start or init_state(ready.task, ready.plan)]
    with LoopEngine(ready.task, ready.plan, ready.clients, num_workers=1, device=ready.device) as engine:
        run = Run(task=ready.task, plan=ready.plan, federation=engine, hooks=ready.hooks)
        outcome = run.to_end(states[0], lambda _, state: states.append(state))
    return [*states, outcome.state]
