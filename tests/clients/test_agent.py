"""The client's service: what it answers to whom, and that nothing that is asked of it ends it."""

import errno
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedcore.errors import DeploymentError, RefusedError, RequestGoneError
from fedcore.privacy.plan import PrivacyPlan
from fedcore.storage import files
from fedcore.storage.events import read_events, verify_events
from fedcore.trust.identity import COORDINATOR, Identity
from fedcore.wire.replies import pack_report, pack_update
from fedcore_clients.agent import service as agent_module
from fedcore_clients.agent.service import Agent, AgentSettings
from fedcore_clients.commands.client import start
from tests.builders import build_form, build_parameters, build_update
from tests.clients.policy.test_reply_gate import build_report
from tests.clients.site import SIZE, Site


class Network:
    """A server that has a few messages to deliver, after which the client is stopped."""

    def __init__(self, *messages):
        self.waiting = [Delivered(content) for content in messages]
        self.replies, self.failed, self.confirmed = [], [], []
        self.agent = None

    def receive(self):
        if not self.waiting:
            self.agent.stop()
            return None
        return self.waiting.pop(0)

    def confirm(self, incoming):
        self.confirmed.append(incoming)

    def reply(self, incoming, content):
        self.replies.append(content)

    def fail(self, incoming):
        self.failed.append(incoming)


class Delivered:
    def __init__(self, content):
        self.content = content

    def chunks(self, *, max_bytes):
        raise AssertionError("nothing is to be fetched")


class Trainer:
    """Stands for the child: answers as it is told, and notes what it was asked."""

    def __init__(self, site, refusals=()):
        self.site, self.refusals, self.asked = site, dict(refusals), []

    def ask(self, kind, content, array, *, memory, limit_seconds):
        self.asked.append(kind)
        if kind in self.refusals:
            raise RefusedError(*self.refusals[kind])
        if kind == "evaluate":
            return pack_report(replace(build_report(), round=int(content["fedcore"]["round"])))
        privacy = PrivacyPlan.from_run_plan(self.site.plan).event(1)
        update = build_update("north", *[0.5] * SIZE, num_examples=100, round=int(content["fedcore"]["round"]))
        return pack_update(replace(update, privacy_event=privacy), build_form(SIZE))

    def stop(self):
        pass


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def serve(site, monkeypatch):
    def serve(*messages, refusals=()):
        network, trainer, told = Network(*messages), Trainer(site, refusals), []

        @contextmanager
        def connect(*_, **__):
            yield network

        monkeypatch.setattr(agent_module, "AppProcess", lambda _: trainer)
        monkeypatch.setattr(agent_module, "connect", connect)
        network.agent = Agent(site.home, AgentSettings(data=site.data()), show=told.append)
        network.agent.run()
        return SimpleNamespace(network=network, trainer=trainer, told=told)

    return serve


def update_in(site, reply):
    content = site.read(reply)[1]
    return bytes(content["arrays"]["parameters"].data), dict(content["fedcore"])


def codes(site, served):
    return [dict(site.read(reply)[1]["fedcore"]).get("refused") for reply in served.network.replies]


def test_a_request_by_the_rules_is_worked_on_and_answered(site, serve):
    served = serve(site.request(), site.request(round=2))
    assert codes(site, served) == [None, None]
    assert served.trainer.asked == ["layout.train", "train", "train"]  # the layout once a plan
    assert len(site.charges()) == 2
    assert verify_events(site.home.events) == []


def test_the_owner_is_told_of_each_answer_that_was_sent_and_of_a_runs_last_round(site, serve):
    site.plan = site.plan.updated(federation={"rounds": 2})
    served = serve(
        site.request(),
        site.request(kind="evaluate"),
        site.request(round=2),
        site.request(round=2, kind="evaluate"),
        site.request(round=3, cohort=("north",)),
    )
    told = [re.sub(r", [\d.]+ s", "", line) for line in served.told if line.startswith("answered")]
    assert told == [
        "answered: run run, round 1 of 2 (train)",
        "answered: run run, round 1 of 2 (evaluate)",
        "answered: run run, round 2 of 2 (train)",
        "answered: run run, round 2 of 2 (evaluate); that was its last round",
    ]
    assert "refused: COHORT" in served.told[-1]


def test_n1_what_nobody_known_has_signed_gets_an_error_without_words_and_does_not_end_the_service(site, serve):
    forged = site.request(correspondence=site.correspondence(identity=Identity.create(COORDINATOR)))
    served = serve(forged, site.request())
    assert len(served.network.failed) == 1
    assert codes(site, served) == [None]
    assert [event["event"] for event in read_events(site.home.events)][1] == "dropped"


def test_a_refusal_is_told_before_anything_is_fetched_charged_or_opened(site, serve):
    served = serve(site.request(cohort=("north",)))
    assert codes(site, served) == ["COHORT"]
    assert (served.trainer.asked, served.network.confirmed, site.charges()) == ([], [], [])


def test_n6_a_model_of_another_layout_is_told_before_anything_is_charged_or_opened(site, serve):
    served = serve(site.request(), site.request(round=2), refusals={"layout.train": ("LAYOUT", "expected 7 numbers")})
    assert codes(site, served) == ["LAYOUT", "LAYOUT"]
    assert served.trainer.asked == ["layout.train", "layout.train"]
    assert site.charges() == []


def test_n6_numbers_that_are_none_are_told_before_anything_is_charged_or_opened(site, serve):
    served = serve(site.request(values=build_parameters(*[float("nan")] * SIZE).buffer))
    assert codes(site, served) == ["MODEL"]
    assert served.trainer.asked == ["layout.train"]
    assert site.charges() == []


@pytest.mark.parametrize("code", ["TIME_LIMIT", "CRASHED", "FAILED"])
def test_of_what_goes_wrong_in_the_child_a_code_leaves_and_the_charge_stays(site, serve, code):
    served = serve(site.request(), site.request(round=2), refusals={"train": (code, "patient 4711 in rows.py, line 7")})
    assert codes(site, served) == [code, code]
    assert len(site.charges()) == 2
    assert all(b"patient" not in bytes(reply["envelope"]["records"]) for reply in served.network.replies)


def test_f13_a_full_disk_costs_the_request_and_neither_the_client_nor_its_account(site, serve, monkeypatch):
    real, broken = os.fsync, []

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    class FullAtTheSecond(Network):
        def receive(self):
            monkeypatch.setattr(files.os, "fsync", full if len(self.waiting) == 2 else real)
            broken.append(len(self.waiting))
            return super().receive()

    monkeypatch.setattr(f"{__name__}.Network", FullAtTheSecond)
    served = serve(site.request(), site.request(round=2), site.request(round=3))
    assert codes(site, served) == [None, None]
    assert len(served.network.failed) == 1
    assert "the disk is full" in "".join(served.told)
    assert [charge.round for charge in site.charges()] == [1, 3]
    assert verify_events(site.home.events) == []
    assert [path.name for path in site.home.path.iterdir() if path.name.startswith(".")] == []


def test_f22_an_answer_that_could_not_be_sent_is_sent_when_it_is_asked_for_again_and_not_made_anew(
    site, serve, monkeypatch
):
    lost = []

    class Deaf(Network):
        def reply(self, incoming, content):
            lost.append(content)
            self.agent.stop()
            raise DeploymentError("the server does not answer")

    sealed = site.request()
    with monkeypatch.context() as context:
        context.setattr(f"{__name__}.Network", Deaf)
        serve(sealed)
    spent = site.charges()
    assert len(spent) == 1
    again = serve(sealed, sealed)
    assert codes(site, again) == [None, None]
    assert again.trainer.asked == []
    for reply in again.network.replies:
        assert update_in(site, reply) == update_in(site, lost[0])
    assert site.charges() == spent
    assert [event["event"] for event in read_events(site.home.events)].count("answered-again") == 2


def test_a_request_whose_run_has_ended_costs_that_request_and_not_the_connection(site, serve, monkeypatch):
    """A client that connected anew was gone for a second, and so from the first round after a restart of the server."""

    class Restarted(Network):
        refused = ()

        def receive(self):
            if not self.refused:
                self.refused = ["when it was asked for"]
                raise RequestGoneError("its run has ended")
            return super().receive()

        def reply(self, incoming, content):
            if len(self.refused) == 1:
                self.refused.append("when it was answered")
                raise RequestGoneError("its run has ended")
            super().reply(incoming, content)

    monkeypatch.setattr(f"{__name__}.Network", Restarted)
    served = serve(site.request(), site.request(round=2))
    assert served.network.refused == ["when it was asked for", "when it was answered"]
    assert len(served.network.replies) == 1
    assert [line for line in served.told if "connected to" in line] == served.told[:1]
    assert sum(line == "dropped a message: its run has ended" for line in served.told) == 2


def test_a_server_that_is_away_is_tried_again_until_the_client_is_stopped(site, monkeypatch):
    told = []
    monkeypatch.setattr(agent_module, "AppProcess", lambda _: Trainer(site))
    monkeypatch.setattr(agent_module, "_FIRST_RETRY_SECONDS", 0.01)

    @contextmanager
    def away(*_, **__):
        if len(told) == 3:
            client.stop()
        raise DeploymentError("the server does not answer (ConnectError)")
        yield

    monkeypatch.setattr(agent_module, "connect", away)
    client = Agent(site.home, AgentSettings(data=site.data()), show=told.append)
    client.run()
    assert len(told) == 4
    assert all("trying again in" in line for line in told)


def test_a_data_set_that_the_policy_does_not_list_is_told_at_the_start(site, monkeypatch, capsys):
    monkeypatch.setattr(agent_module.Agent, "run", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    paths = site.data()
    (paths["wards"].parent / "other").touch()
    data = [f"wards={paths['wards']}", f"ward={paths['wards'].parent / 'other'}"]
    start(site.home.path, data, None)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1
    assert (
        "note: the policy lists no data set 'ward', so requests for it are refused; it lists digits, wards" in told[0]
    )
