"""Flower's client, in a module of its own, which Ray's actors import."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.nn import functional

from peer_work.models import MODELS
from peer_work.peer_process import Assignment

DIRECTORY = "FEDCORE_BENCHMARK_WORK"
app = ClientApp()


@lru_cache(maxsize=1)
def assigned() -> Assignment:
    """The work, read once in each actor."""
    torch.set_num_threads(1)
    return Assignment(Path(os.environ[DIRECTORY]))


@app.train()
def train(message: Message, context: Context) -> Message:
    """One client's epochs, as in the bare loop."""
    assignment, config = assigned(), message.content.config_records["config"]
    round, place = (int(str(config[key])) for key in ("round", "place"))
    inputs, targets = assignment.rows(round, place)
    model = MODELS[assignment.facts["model"]]()
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=assignment.facts["learning_rate"])
    batch = assignment.facts["batch"]
    for rows, labels in zip(torch.split(inputs, batch), torch.split(targets, batch), strict=True):
        optimizer.zero_grad()
        functional.cross_entropy(model(rows), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    content = RecordDict({"arrays": ArrayRecord(model.state_dict())})
    content["metrics"] = MetricRecord({"num-examples": len(targets)})
    return Message(content=content, reply_to=message)
