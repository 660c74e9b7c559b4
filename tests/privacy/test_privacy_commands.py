"""The arithmetic as a user types it: equal to dp-accounting's, never below it, and clear about what is wrong."""

import json
import math
import random
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant

from fedcore.cli import main
from fedcore.commands.privacy_plan import described, draw, trials
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.plan import PrivacyEvent, Relation
from fedcore.privacy.planning import Prospect
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_private_plan

GAUSSIAN = ["--sample-rate", "1", "--noise-multiplier", "10", "--steps", "100", "--delta", "1e-5"]


def run(monkeypatch, capsys, *words):
    """Exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["fedcore", "privacy", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    return left.value.code or 0, told.out, told.err


@pytest.mark.parametrize(("relation", "expected"), [("zero-out", 4.377178), ("replace-one", 9.997256)])
def test_epsilon_is_the_closed_form_and_says_how_it_was_found(monkeypatch, capsys, relation, expected):
    """Expected: δ(ε) of the Gaussian with μ = 1 and 2 at 1e-5."""
    code, out, _ = run(monkeypatch, capsys, "epsilon", *GAUSSIAN, "--relation", relation, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["epsilon"] == pytest.approx(expected, abs=1e-6)
    assert told["upper_bound"] is True
    assert told["accountant"]["name"].startswith("closed form")


def test_without_noise_epsilon_is_infinite_and_it_is_said(monkeypatch, capsys):
    words = [*GAUSSIAN[:3], "0", *GAUSSIAN[4:]]
    assert "ε = ∞: without noise" in run(monkeypatch, capsys, "epsilon", *words)[1]
    told = json.loads(run(monkeypatch, capsys, "epsilon", *words, "--json")[1])
    assert told["epsilon"] is None
    assert "without noise" in told["why"]


def test_more_sampled_steps_than_can_be_composed_are_refused_at_once(monkeypatch, capsys):
    words = ["--sample-rate", "0.001", "--noise-multiplier", "0.5", "--steps", "100000000", "--delta", "1e-5"]
    code, _, err = run(monkeypatch, capsys, "epsilon", *words)
    assert code == 2
    assert "expected 1 to 2,000,000 with sampling" in err
    event = PrivacyEvent(sampling_rate=0.001, noise_multiplier=0.5, steps=2_000_001)
    assert epsilon_of(event, 1e-5) == math.inf
    assert epsilon_of(replace(event, steps=2_000_000), 1e-5) < 100


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--sample-rate", "0", "more than 0 and at most 1"),
        ("--sample-rate", "1.5", "more than 0 and at most 1"),
        ("--sample-rate", "nan", "more than 0 and at most 1"),
        ("--noise-multiplier", "-1", "0 or more"),
        ("--noise-multiplier", "inf", "0 or more"),
        ("--steps", "0", "expected 1 to"),
        ("--steps", "10000000000000", "expected 1 to"),
        ("--delta", "0", "more than 0 and less than 1"),
        ("--delta", "1", "more than 0 and less than 1"),
        ("--delta", "nan", "more than 0 and less than 1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_with_what_was_expected(monkeypatch, capsys, option, value, message):
    words = list(GAUSSIAN)
    words[words.index(option) + 1] = value
    code, _, err = run(monkeypatch, capsys, "epsilon", *words)
    assert code == 2
    assert option in err
    assert message in err


def test_all_that_is_wrong_is_told_at_once(monkeypatch, capsys):
    code, _, err = run(
        monkeypatch, capsys, "noise", "--target-epsilon", "0", "--sample-rate", "2", "--steps", "1", "--delta", "3"
    )
    assert code == 2
    assert all(option in err for option in ("--target-epsilon", "--sample-rate", "--delta"))


def test_noise_inverts_epsilon(monkeypatch, capsys):
    words = ["--sample-rate", "0.1", "--steps", "100", "--delta", "1e-5", "--relation", "replace-one", "--json"]
    told = json.loads(run(monkeypatch, capsys, "noise", "--target-epsilon", "2", *words)[1])
    event = PrivacyEvent(sampling_rate=0.1, noise_multiplier=told["noise_multiplier"], steps=100)
    assert 1.98 < told["epsilon"] == epsilon_of(event, 1e-5, Relation.REPLACE_ONE) <= 2.0


def test_an_epsilon_that_no_noise_reaches_is_refused(monkeypatch, capsys):
    words = ["--sample-rate", "1", "--steps", "100000000", "--delta", "1e-12"]
    code, _, err = run(monkeypatch, capsys, "noise", "--target-epsilon", "1e-6", *words)
    assert code == 2
    assert "larger epsilon" in err


def finer(rate, noise, steps, delta, relation):
    accountant = PLDAccountant(relation, value_discretization_interval=1e-4)
    gaussian = dp_event.GaussianDpEvent(noise)
    sampled = gaussian if rate == 1.0 else dp_event.PoissonSampledDpEvent(rate, gaussian)
    return accountant.compose(dp_event.SelfComposedDpEvent(sampled, steps)).get_epsilon(delta)


def settings(number):
    """Settings whose ε is of interest, the same at each call; beyond ε of hundreds the finer bins are looser."""
    generator = random.Random(20250701)
    for _ in range(number):
        rate = generator.choice([1.0, 10 ** generator.uniform(-3, 0)])
        steps = int(10 ** generator.uniform(0, 3))
        noise = 10 ** generator.uniform(-0.2, 1) * max(1.0, rate * steps**0.5)
        yield rate, noise, steps, 10 ** generator.uniform(-8, -4), generator.choice(list(Relation))


def check_settings(number):
    for rate, noise, steps, delta, relation in settings(number):
        kind = (
            NeighboringRelation.REPLACE_ONE
            if relation is Relation.REPLACE_ONE
            else NeighboringRelation.ADD_OR_REMOVE_ONE
        )
        expected = finer(rate, noise, steps, delta, kind)
        found = epsilon_of(PrivacyEvent(sampling_rate=rate, noise_multiplier=noise, steps=steps), delta, relation)
        assert expected - 1e-6 <= found <= expected * 1.001 + 1e-3, (rate, noise, steps, delta, relation)


def test_epsilon_never_falls_below_that_in_finer_bins():
    check_settings(20)


@pytest.mark.slow
def test_epsilon_never_falls_below_that_in_finer_bins_on_two_hundred_settings():
    check_settings(200)


PLAN = ["--examples", "287", "--rounds", "20", "--steps-per-round", "5", "--clients", "5", "--parameters", "650"]


def test_a_plan_tells_the_noise_that_its_run_will_have_and_what_would_buy_more(monkeypatch, capsys, tmp_path):
    picture = tmp_path / "noise.svg"
    code, out, _ = run(monkeypatch, capsys, "plan", *PLAN, "--target-epsilon", "1", "--json", "--picture", picture)
    told = json.loads(out)
    assert code == 0
    assert told["plan"]["noise_multiplier"] == pytest.approx(18.8, abs=0.1)  # reference of five silos on digits
    assert told["plan"]["noise_in_a_step"] == pytest.approx(18.8 / (0.5 * 287 * 5**0.5), rel=0.01)
    assert {line["choice"].partition(" (")[0] for line in told["alternatives"]} >= {
        "4 × the rounds", "larger batches", "4 × the clients"
    }  # fmt: skip
    assert told["verdict"] == "useful"
    noises = [point["noise_over_the_run"] for point in told["noise_against_epsilon"]]
    assert noises == sorted(noises, reverse=True)
    assert ElementTree.fromstring(picture.read_text()).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314


def test_with_ten_clients_privacy_for_clients_is_called_useless_and_with_a_thousand_not(monkeypatch, capsys):
    words = ["--examples", "1", "--rounds", "100", "--target-epsilon", "8", "--unit", "client"]
    few = run(monkeypatch, capsys, "plan", *words, "--clients", "10")[1]
    many = run(monkeypatch, capsys, "plan", *words, "--clients", "1000")[1]
    assert "useless: over the run the noise is 1.9 times" in few
    assert "0.6004" in few
    assert "useful: " in many


def test_bad_numbers_and_names_of_a_plan_are_refused(monkeypatch, capsys, tmp_path):
    code, _, err = run(monkeypatch, capsys, "plan", "--examples", 0, "--rounds", -1, "--target-epsilon", 1)
    assert code == 2
    assert "--examples" in err
    assert "--rounds" in err
    assert "--steps:" not in err  # an option that this command does not have


@pytest.mark.parametrize(
    ("unit", "delta", "told"),
    [
        ("record", 0.1, "δ = 0.1 is at least 1 / 100 records"),
        ("record", 2e-3, "δ = 0.002 is near 1 / 100 records"),
        ("record", 1e-3, ""),
        ("client", 0.1, "δ = 0.1 is at least 1 / 10 clients"),
        ("client", 1e-3, ""),
    ],
)
def test_a_plan_says_where_delta_promises_little(monkeypatch, capsys, unit, delta, told):
    words = ("--examples", 100, "--clients", 10, "--rounds", 5, "--target-epsilon", 2, "--sample-rate", 1)
    out = run(monkeypatch, capsys, "plan", *words, "--unit", unit, "--delta", delta)[1]
    assert (f"warning: {told}" in out) if told else ("warning" not in out)


@pytest.mark.parametrize(("name", "told"), [("noise.png", ".svg"), ("absent/noise.svg", "is not a folder")])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_computed(
    monkeypatch, capsys, tmp_path, name, told
):
    monkeypatch.setattr(Prospect, "noise_multiplier", property(lambda _: pytest.fail("computed")))
    code, _, err = run(monkeypatch, capsys, "plan", *PLAN, "--target-epsilon", 1, "--picture", tmp_path / name)
    assert code == 2
    assert told in err


def test_progress_counts_every_noise_that_is_computed(tmp_path):
    told = []
    prospect = Prospect(
        unit="client", relation=Relation.ZERO_OUT, epsilon=3.0, delta=1e-5, examples=1, clients=10, rounds=10,
        sampling_rate=1.0, steps_per_round=1, parameters=10,
    )  # fmt: skip
    described(prospect, lambda: told.append(1))
    assert len(told) == trials(prospect, drawn=False)
    draw(prospect, tmp_path / "noise.svg", lambda: told.append(1))
    assert len(told) == trials(prospect, drawn=True)


def test_how_many_parameters_are_assumed_is_said_and_not_where_they_are_given(monkeypatch, capsys):
    words = ["--examples", "1", "--rounds", "10", "--target-epsilon", "8", "--unit", "client", "--clients", "1000"]
    assert "1,000 parameters assumed" in run(monkeypatch, capsys, "plan", *words)[1]
    assert "assumed" not in run(monkeypatch, capsys, "plan", *words, "--parameters", "1000")[1]


@pytest.mark.parametrize("clients", [10, 100, 300, 1000])
@pytest.mark.parametrize("parameters", [5, 650, 100_000])
def test_planning_and_linter_call_the_same_runs_useless(clients, parameters):
    planned = Prospect(
        unit="client", relation=Relation.ZERO_OUT, epsilon=8.0, delta=1e-5, examples=1, clients=clients, rounds=30,
        sampling_rate=1.0, steps_per_round=1, parameters=parameters,
    )  # fmt: skip
    federation = {"clients": clients, "rounds": 30}
    privacy = {"unit": "client", "noise_multiplier": planned.noise_multiplier}
    promised = CentralPrivacy.from_run_plan(
        build_plan(privacy=privacy, federation=federation, aggregation={"rule": "uniform"})
    )
    assert (planned.verdict == "useless") is (promised.drowned(parameters) is not None)


def test_a_statement_is_explained_in_words(monkeypatch, capsys, tmp_path):
    stated = {"noise": "secure", "max_records_per_person": 2, "trials": 3, "contact": "Ada"}
    plan = build_private_plan(privacy=stated | {"noise_multiplier": 4.0})
    simulate(TinyTask(), plan, out=tmp_path / "run")
    code, out, _ = run(monkeypatch, capsys, "explain", tmp_path / "run" / "privacy.json")
    assert code == 0
    for words in (
        "can hardly determine",
        "1 % false alarms",
        "the server",
        "3 runs on the same records",
        "Ada",
        "up to 2",
    ):
        assert words in out


def test_a_statement_of_test_noise_is_explained_as_none(monkeypatch, capsys, tmp_path):
    simulate(TinyTask(), build_private_plan(), out=tmp_path / "run")
    assert run(monkeypatch, capsys, "explain", tmp_path / "run" / "privacy.json")[1].startswith("There is no guarantee")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "is not JSON"),
        ("[1]", "not a privacy statement"),
        ("{}", "promised no privacy"),
        ('{"epsilon": 1}', "not a privacy statement"),
        ('{"statement_version": 99}', "version 99"),
        ('{"statement_version": 2}', "epsilon: missing"),
        ('{"statement_version": 2}', "privacy.json is an incomplete privacy statement"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_statement_is_not_explained(monkeypatch, capsys, tmp_path, content, message):
    path = tmp_path / "privacy.json"
    if content is not None:
        path.write_text(content)
    code, _, err = run(monkeypatch, capsys, "explain", path)
    assert code == 2
    assert message in err
