"""When a device answers: by hand, and in the share of cases that its profile states."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fedcore_simulations.dealt_clients import training_sizes_of
from fedcore_simulations.preparation import prepare
from fedcore_simulations.virtual_time.devices import dealt_counts
from fedcore_simulations.virtual_time.workload import Workload
from tests.builders import TinyTask
from tests.virtual_time.builders import devices_of, kinds, timed_plan


@pytest.mark.parametrize(
    ("shares", "clients", "expected"),
    [([3, 5, 2], 10, [3, 5, 2]), ([1, 1, 1], 10, [4, 3, 3]), ([1, 3], 7, [2, 5]), ([1, 1000], 5, [0, 5])],
)
def test_kinds_are_dealt_in_exact_proportions_up_to_rounding(shares, clients, expected):
    assert dealt_counts(shares, clients) == expected


def test_an_answer_takes_two_latencies_two_transfers_and_the_training():
    """A megabyte each way at 4 and 2 Mbit/s, 6e9 operations at 3e9 a second: 0.5 + 2 + 2 + 4 + 0.5."""
    devices = devices_of(
        flops=6e9, gigaflops=3.0, downlink_megabits_per_second=4.0, uplink_megabits_per_second=2.0, latency_seconds=0.5
    )
    answer = devices.answer("client-0000", round=1, attempt=0, begin=10.0)
    assert (answer.begin, answer.settled, answer.code) == (10.0, pytest.approx(19.0), "")


def test_an_answer_after_the_timeout_is_lost_when_the_server_stops_waiting():
    devices = devices_of(latency_seconds=60.0)
    answer = devices.answer("client-0000", round=1, attempt=0, begin=3.0)
    assert (answer.settled, answer.code) == (103.0, "LATE")
    assert "it would have taken 120 s, and round-timeout-seconds is 100" in answer.reason


def test_devices_drop_out_in_the_share_of_rounds_that_is_stated():
    """Of 4,000 draws within 6 standard deviations: a false alarm in 5e8."""
    devices = devices_of(clients=40, dropout=0.3)
    lost = sum(
        bool(devices.answer(f"client-{client:04}", round=number, attempt=0, begin=0.0).code)
        for client in range(40)
        for number in range(1, 101)
    )
    assert abs(lost - 1200) < 6 * math.sqrt(4000 * 0.3 * 0.7)


def test_jitter_is_log_normal_with_a_median_of_one():
    """Mean and standard deviation of 2,000 logarithms within 6 standard errors."""
    devices = devices_of(clients=20, jitter=0.4)
    logs = [
        math.log(devices.answer(f"client-{client:04}", round=number, attempt=0, begin=0.0).settled)
        for client in range(20)
        for number in range(1, 101)
    ]
    assert abs(np.mean(logs)) < 6 * 0.4 / math.sqrt(2000)
    assert abs(np.std(logs) - 0.4) < 6 * 0.4 / math.sqrt(4000)


def test_every_client_is_available_in_its_share_of_each_period():
    devices = devices_of(clients=3, available=0.25, period_seconds=100.0)
    seen = [devices.available(float(clock)) for clock in range(1000)]
    for name in ("client-0000", "client-0001", "client-0002"):
        online = [name in names for names in seen]
        assert sum(online) == 250
        assert online[:900] == online[100:]


def test_the_next_client_that_comes_online_does_so_then_and_not_before():
    devices = devices_of(clients=1, available=0.25, period_seconds=100.0)
    clock = next(float(second) for second in range(100) if not devices.available(float(second)))
    online = devices.next_online(clock)
    assert not devices.available(online - 1e-3)
    assert devices.available(online + 1e-3) == ["client-0000"]
    assert devices_of().next_online(0.0) == math.inf


def test_a_device_that_goes_offline_before_it_has_answered_is_lost():
    devices = devices_of(clients=1, available=0.25, period_seconds=100.0, latency_seconds=20.0)
    clock = devices.next_online(devices.next_online(0.0) + 50.0) + 1e-6
    answer = devices.answer("client-0000", round=1, attempt=0, begin=clock)
    assert (answer.code, answer.reason) == ("DROPOUT", "it went offline before it had answered")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # Forward 2 operations a weight, backward 2 for the weights and 2 for inputs that need a gradient.
        (lambda: nn.Linear(4, 2), 4 * 8),
        (lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), 4 * 32 + 6 * 16),
    ],
)
def test_operations_of_a_row_are_counted_on_the_model(model, expected):
    ready = prepare(TinyTask(model=model), timed_plan(devices=kinds()))
    assert ready.plan.devices.flops_per_example == expected


def test_a_model_without_matrix_products_counts_its_weights():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(2))

        def forward(self, inputs):
            return inputs[:, :2] + self.shift

    ready = prepare(TinyTask(model=Shift), timed_plan(devices=kinds()))
    assert ready.plan.devices.flops_per_example == 6 * 2


RECORD = {"unit": "record", "noise_multiplier": 1.0, "steps_per_round": 3, "sampling_rate": 0.5, "noise": "test"}


@pytest.mark.parametrize(
    ("privacy", "expected"),
    [
        ({}, lambda rows: 2 * rows),
        (RECORD, lambda rows: 3 * 0.5 * rows),
        ({**RECORD, "relation": "add-remove", "nominal_batch": 7.0}, lambda rows: 3 * 7.0),
    ],
    ids=["epochs", "record", "a secret number of rows"],
)
def test_a_rounds_work_is_that_of_the_plan_and_shows_no_secret_number_of_rows(privacy, expected):
    rule = {"rule": "uniform"}
    devices = {**kinds(), "flops-per-example": 5.0}
    plan = timed_plan(devices=devices, privacy=privacy, training={"local_epochs": 2}, aggregation=rule)
    ready = prepare(TinyTask(), plan)
    sizes = training_sizes_of(ready.clients)
    work = Workload.of(ready.plan, sizes, torch.zeros(10, dtype=torch.float64))
    assert work.flops == [5.0 * expected(rows) for rows in sizes]
    assert (work.bytes_down, work.bytes_up) == (80, 80)
