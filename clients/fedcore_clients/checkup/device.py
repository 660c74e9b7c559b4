"""Whether a task would run on a GPU, tried on a fake one: another machine may train."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import fedcore
import fedcore_clients
from fedcore.checkup.finding import Finding, ok, skipped, warning
from fedcore.checkup.pretended_device import PretendedDevice
from fedcore.data.examples import Examples
from fedcore.errors import FedcoreError
from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Level
from fedcore.seeding import global_streams_kept
from fedcore.task import Task
from fedcore_clients.training.dp.probe import isolation_of
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally

_NAME = "task device"
_ROWS = 64
_KINDS = (("a GPU", True), ("Apple's MPS, which has no float64,", False))
_OURS = tuple(f"{Path(package.__file__).parent}{os.sep}" for package in (fedcore, fedcore_clients) if package.__file__)


def device_trial(task: Task, plan: RunPlan, client: Client) -> Iterator[Finding]:
    """Train and evaluate a round of one step on some rows, on a fake device.

    Finds what a device would refuse, and where the task's own code makes it wait. Findings hold nothing of the rows. A
    plan that names the CPU is not tried.
    """
    if plan.training.device == "cpu":
        return
    try:
        waits = [place for kind, float64 in _KINDS for place in _waits(task, plan, client, kind, float64=float64)]
    except _TrialError as error:
        yield warning(_NAME, str(error), "fix it, or set training.device to 'cpu'")
        return
    except RuntimeError as error:
        yield skipped(_NAME, f"the task could not be tried on a fake device: {error}")
        return
    if waits:
        what = f"the task runs on a GPU, but its code makes it wait in every step: {', '.join(sorted(set(waits)))}"
        yield warning(_NAME, what, "keep numbers on the device in the model and the loss: no item(), tolist() or cpu()")
    else:
        yield ok(_NAME, "the task would run on a GPU and on Apple's MPS, and its code does not make them wait")


class _TrialError(Exception):
    pass


def _waits(task: Task, plan: RunPlan, client: Client, kind: str, *, float64: bool) -> Iterator[str]:
    """Places in the task's own code at which training waits for the device."""
    pretended = PretendedDevice(float64=float64)
    once = plan.updated(training={"local-epochs": 1, "precision": "float32"}, privacy={"steps-per-round": 1})
    if plan.privacy.unit == "record" and _level(task, once, client) is not Level.PROVEN:
        # Opacus' hooks end the process where one of them fails on the fake device.
        once = once.updated(privacy={"unit": "none"})
    with pretended, global_streams_kept(torch.device("cpu")), TemporaryDirectory(prefix="fedcore-memory-") as memory:
        local = LocalModel(task, once, pretended.device, memory=Path(memory))
        held_out = None if client.held_out is None else _some(client.held_out)
        rows = Client(name=client.name, training=_some(client.training), held_out=held_out)
        rows = rows.to(dtype=local.dtype, device=local.device)
        received = Parameters(local.parameters.buffer.cpu(), local.parameters.layout)
        shared = {name: torch.zeros_like(received.buffer) for name in local.exchange.algorithm.shares}
        request = TrainRequest(round=1, attempt=0, cohort=(), parameters=received, shared=shared)
        pretended.reset()
        try:
            train_locally(local, rows, request)
            training = pretended.reads.copy()
            evaluate_locally(local, rows, EvaluateRequest(round=1, attempt=0, cohort=(), parameters=received))
        except Exception as error:
            if pretended.refused:
                raise _TrialError(f"the task would fail on {kind}: {pretended.refused[0]}") from error
            if isinstance(error, FedcoreError):
                raise _TrialError(f"the task would fail in training: {error}") from error
            raise RuntimeError(f"it ended with {type(error).__name__}") from error  # whose text may quote a row
    if pretended.refused:  # under privacy a row that fails adds nothing, and no exception leaves
        raise _TrialError(f"the task would train nothing on {kind}: {pretended.refused[0]}")
    yield from (place for place in training if not str(Path(place).absolute()).startswith(_OURS))


def _level(task: Task, plan: RunPlan, client: Client) -> Level:
    model = task.build_model()
    return isolation_of(
        task, model, client.training, plan.updated(privacy={"isolation": "auto"}), torch.device("cpu")
    ).level


def _some(rows: Examples) -> Examples:
    return rows.select(torch.arange(min(_ROWS, len(rows))))
