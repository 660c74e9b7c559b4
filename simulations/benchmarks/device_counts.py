"""What a round asks of an accelerator, counted on a pretended one: no hardware is needed, and none is timed.

For each engine: kernels of a step, how often the host waits for the device in a round, and bytes copied between the
two. The server's gate, norms and sum are counted too. A step of ``loop`` is one client's, of ``batched`` the cohort's.

python simulations/benchmarks/device_counts.py --work W1
python simulations/benchmarks/device_counts.py --work W2P --cohort 100 --json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

import torch
from peer_work.works import WORKS, Made, Work

from fedcore import Examples, RunPlan
from fedcore.checkup.pretended_device import PretendedDevice
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations.engines.batched.engine import BatchedEngine
from fedcore_simulations.engines.loop import LoopEngine

_BATCH, _STEPS = 10, 5
_ENGINES: tuple[type[LoopEngine], ...] = (LoopEngine, BatchedEngine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of one round.

    Attributes:
        kernels_per_step: Of one client's step in ``loop``, of all clients' in ``batched``.
        waits: How often the host waited for the device.
        megabytes_per_client: Copied, both ways.
    """

    work: str
    engine: str
    cohort: int
    kernels_per_step: float
    kernels_per_client: float
    waits: int
    megabytes_per_client: float


def main() -> None:
    options = _options()
    names = [options.work] if options.work else ["W1", "W2", "W2P"]
    found = [_counted(name, engine, options.cohort) for name in names for engine in _ENGINES]
    if options.json:
        print(json.dumps([asdict(each) for each in found]))
        return
    print("| Work | Engine | Kernels a step | Kernels a client-round | Waits a round | MB copied a client-round |")
    print("| --- | --- | --- | --- | --- | --- |")
    for each in found:
        print(
            f"| {each.work}, cohort {each.cohort} | {each.engine} | {each.kernels_per_step:.0f} | "
            f"{each.kernels_per_client:.0f} | {each.waits} | {each.megabytes_per_client:.3f} |"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=WORKS, help="a work of peers.py; W1, W2 and W2P by default")
    parser.add_argument("--cohort", type=int, default=10, help="clients of the round (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser.parse_args()


def _counted(name: str, engine: type[LoopEngine], cohort: int) -> Counts:
    """A round after one that warmed up; each client takes five steps."""
    task, plan = Made(WORKS[name]), _plan(WORKS[name], cohort)
    clients, state = [_client(WORKS[name], number) for number in range(cohort)], init_state(task, plan)
    with PretendedDevice() as device, engine(task, plan, clients, num_workers=1, device=device.device) as running:
        for _ in range(2):
            device.reset()
            request = plan_round(state, plan, running.available())
            state, _ = close_round(state, plan, request, running.train(request))
    kernels = device.kernels.total()
    return Counts(
        work=name,
        engine=engine.name,
        cohort=cohort,
        kernels_per_step=kernels / _STEPS / (1 if engine is BatchedEngine else cohort),
        kernels_per_client=kernels / cohort,
        waits=device.reads.total(),
        megabytes_per_client=(device.bytes_read + device.bytes_written) / cohort / 1e6,
    )


def _plan(work: Work, cohort: int) -> RunPlan:
    privacy = {
        "unit": "record", "noise-multiplier": 1.0, "nominal-batch": float(_BATCH), "steps-per-round": _STEPS,
        "sampling-rate": 0.2,
    }  # fmt: skip
    return RunPlan.from_mapping(
        {
            "federation": {"clients": cohort, "rounds": 2},
            "training": {"batch-size": _BATCH, "learning-rate": work.learning_rate},
            "aggregation": {"rule": "uniform" if work.private else "mean"},
            "privacy": privacy if work.private else {},
        }
    )


def _client(work: Work, number: int) -> Client:
    generator, rows = torch.Generator().manual_seed(number), _BATCH * _STEPS
    targets = torch.randint(0, work.classes, (rows,), generator=generator)
    inputs = torch.randn(rows, *work.inputs, generator=generator)
    return Client(
        name=f"client-{number}", training=Examples(columns={"inputs": inputs, "targets": targets}), held_out=None
    )


if __name__ == "__main__":
    main()
