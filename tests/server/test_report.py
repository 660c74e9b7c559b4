"""The report of a run directory, held against the files it is made from."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.clients import client_spread
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.gap_json import reach_words
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import RunDirectoryError, StorageError
from fedcore.report.page import write_report
from tests.audit.builders import table_of

EVIL = "<script>alert(1)</script>"
DIGITS = tuple("0123456789")


# ---- builders: run directories as a producer writes them -------------------------------------------------


def write_run(
    directory: Path,
    *,
    summary: Mapping[str, Any] | None = None,
    rounds: Sequence[Mapping[str, Any]] = (),
    files: Mapping[str, Any] | None = None,
    plan: str = '[task]\nname = "digits"\n',
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "plan.toml").write_text(plan, encoding="utf-8")
    (directory / "rounds.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in rounds), encoding="utf-8")
    for name, content in {"summary.json": summary_of(**(summary or {})), **(files or {})}.items():
        (directory / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return directory


def summary_of(**parts: Any) -> dict[str, Any]:
    return {
        "task": "digits",
        "engine": "loop",
        "clients": 10,
        "rounds": 50,
        "examples": 1797,
        "metrics": {"accuracy": 0.9305, "loss": 0.2412},
        "epsilon": None,
        "delta": None,
        "unit": None,
        "audit_verdict": None,
        "worst_gap": None,
        "wall_seconds": 31.2,
        "client_rounds_per_second": 16.0,
        "warnings": [],
        "model_sha256": "4c" * 32,
        "plan_sha256": "d1" * 32,
        "fedcore_version": "0.1.0",
        **parts,
    }


def round_of(number: int, **parts: Any) -> dict[str, Any]:
    names = [f"client-{k}" for k in range(parts.pop("clients_asked", 3))]
    return {
        "round": number,
        "attempt": 0,
        "committed": True,
        "asked": names,
        "counted": names,
        "rejected": [],
        "training": {},
        "update_norm": 0.9 / math.sqrt(number),
        "evaluation": {"loss": 1 / number, "accuracy": 1 - 0.5 / number},
        "groups": {},
        "clients": {},
        "epsilon": None,
        "wall_seconds": 0.6,
        **parts,
    }


def bias_of(tables: Sequence[GroupTable], *, limits: Sequence[Limit] = ()) -> BiasReport:
    settings = AuditSettings(limits=tuple(limits))
    return BiasReport(plan_sha256="d1" * 32, round=50, settings=settings, audits=audit_tables(tables, settings))


def summary_of_bias(bias: BiasReport) -> dict[str, Any]:
    gap = bias.worst_gap()
    worst = gap and {
        "which": bias.worst_gap_is(),
        "attribute": gap.attribute,
        "metric": gap.metric,
        "words": gap.words,
        "difference": gap.difference,
        "low": gap.difference_low,
        "high": gap.difference_high,
        "reach": reach_words(gap),
    }
    return {"worst_gap": worst, "audit_verdict": None if bias.verdict is None else bias.verdict.value}


def digit_table(groups: Mapping[str, tuple[int, int]], *, attribute: str = "stroke") -> GroupTable:
    """Build a table of ten labels from ``{group: (right, rows)}``; whatever is wrong is a 1 taken for a 7."""
    names = [*groups, "unknown"]
    counts = np.zeros((len(names), 10, 10), dtype=np.int64)
    for place, (right, rows) in enumerate(groups.values()):
        for label in range(10):
            counts[place, label, label] = right // 10 + (label < right % 10)
        counts[place, 1, 7] = rows - right
    return GroupTable(attribute=attribute, groups=tuple(names), labels=DIGITS, num_bins=10, scored=False, counts=counts)


def groups_line(bias: BiasReport) -> dict[str, Any]:
    shown = bias.to_json()["groups"]
    return {a: {group: metrics["accuracy"] for group, metrics in groups.items()} for a, groups in shown.items()}


def private_digits(directory: Path) -> Path:
    """Ten clients, fifty rounds, DP, three groups, one rejected reply, limits that are judged."""
    random = np.random.default_rng(3)
    names = [f"client-{k}" for k in range(10)]
    held_out = [36, 41, 12, 58, 29, 33, 47, 22, 61, 20]
    lines = []
    for number in range(1, 51):
        level = 0.935 - 0.72 * math.exp(-number / 8) + random.normal(0, 0.006)
        groups = {
            "light": (min(110, round(110 * (level + 0.025))), 110),
            "medium": (round(140 * level), 140),
            "heavy": (round(109 * (level - 0.055)), 109),
        }
        clients = {
            name: {"accuracy": float(np.clip(level - 0.25 * random.random() ** 3, 0, 1)), "n": n}
            for name, n in zip(names, held_out, strict=True)
        }
        late = (
            [{"client": "client-3", "code": "NONFINITE", "reason": "a value is not finite"}]
            if number in (7, 31)
            else []
        )
        bias = bias_of([digit_table(groups)])
        level = bias.audits["stroke"].overall["accuracy"].value or 0.0
        lines.append(
            round_of(
                number,
                asked=names,
                counted=[name for name in names if not (late and name == "client-3")],
                rejected=late,
                update_norm=0.9 / math.sqrt(number) + 0.05 * random.random(),
                evaluation={"loss": 0.24 + 2.0 * math.exp(-number / 7), "accuracy": level},
                groups=groups_line(bias),
                clients=clients,
                epsilon=7.99 * math.sqrt(number / 50) * (0.82 + 0.18 * number / 50),
            )
        )
    limits = [
        Limit.of("accuracy", kind="difference", at_most="0.2"),
        Limit.of("accuracy", kind="ratio", at_least="0.9"),
    ]
    bias = bias_of([digit_table(groups)], limits=limits)
    counts = random.dirichlet([0.5] * 10, size=10) * random.integers(90, 300, size=(10, 1))
    return write_run(
        directory,
        summary={
            "epsilon": 7.99,
            "delta": 1e-5,
            "unit": "record",
            "command": "fedcore simulate digits --clients 10 --rounds 50 --epsilon 8",
            "versions": {"fedcore": "0.1.0", "torch": "2.13.0", "opacus": "1.6.0"},
            **summary_of_bias(bias),
            "metrics": {"accuracy": bias.audits["stroke"].overall["accuracy"].value, "loss": 0.2419},
        },
        rounds=lines,
        plan='[task]\nname = "digits"\n\n[federation]\nclients = 10\n\n[privacy]\nunit = "record"\nepsilon = 8.0\n',
        files={
            "privacy.json": privacy_of(),
            "bias.json": bias.to_json(),
            "split.json": {
                "attribute": "label",
                "categories": list(DIGITS),
                "clients": names,
                "counts": counts.astype(int).tolist(),
                "held_out": held_out,
            },
        },
    )


def privacy_of(**parts: Any) -> dict[str, Any]:
    return {
        "statement_version": 1,
        "valid": True,
        "unit": {"name": "record", "definition": "one record (row) of one client's training data"},
        "neighbouring_relation": {"name": "zero-out", "definition": "one record is blanked; sizes are public"},
        "epsilon": 7.99,
        "delta": 1e-5,
        "profile": {"1e-04": 6.9, "1e-05": 7.99, "1e-08": None},
        "mechanism": "Poisson-subsampled Gaussian on the sum of clipped per-record gradients (DP-SGD)",
        "clip_norm": 1.0,
        "noise_multiplier": 1.0712890625,
        "sampling": {"scheme": "Poisson", "rate": 0.5, "drawn_by": "the client, in secret"},
        "protected_outputs": ["every update that a client sends", "the released model"],
        "unprotected_outputs": ["evaluation metrics over the held-out rows", "which clients take part"],
        "trust_model": {"client": "keeps its randomness secret", "server": "not trusted with data"},
        "rng": {"name": "AES-256-CTR", "cryptographic": True, "seeded": False},
        "accountant": {"name": "PLD", "discretisation": 1e-4, "packages": [{"name": "dp-accounting"}]},
        "known_deviations": [],
        "plain_language": "Anyone who sees every update and the released model can hardly determine whether one given "
        "record was used in training: formally (7.99, 1e-05)-differential privacy for one record of one client.",
        **parts,
    }


def binary_table(directory: Path) -> Path:
    """A table without DP, two attributes, one group undefined and others suppressed."""
    random = np.random.default_rng(5)
    tables = [
        table_of({"Male": (3900, 450, 900, 1260), "Female": (2700, 110, 240, 180)}),
        table_of(
            {
                "White": (5600, 480, 980, 1250),
                "Black": (800, 30, 90, 60),
                "Asian-Pac-Islander": (190, 18, 31, 44),
                "Amer-Indian-Eskimo": (70, 2, 7, 0),
                "Other": (4, 1, 0, 1),
                "Not recorded": (0, 0, 0, 0),
            },
            attribute="race",
        ),
    ]
    limits = [
        Limit.of("selection_rate", attribute="sex", kind="ratio", at_least="0.8"),
        Limit.of("true_positive_rate", kind="difference", at_most="0.1"),
    ]
    bias = bias_of(tables, limits=limits)
    lines = []
    for number in range(1, 21):
        accuracy = 0.846 - 0.09 * math.exp(-number / 4) + random.normal(0, 0.001)
        groups = groups_line(bias)
        for rates in groups.values():
            for rate in rates.values():
                if rate["value"] is not None:
                    rate["value"] = min(1.0, rate["value"] - 0.09 * math.exp(-number / 4) + random.normal(0, 0.002))
        clients = {f"client-{k}": {"accuracy": accuracy + random.normal(0, 0.02), "n": 300 + 40 * k} for k in range(20)}
        lines.append(
            round_of(
                number,
                clients_asked=20,
                training={"loss": 0.31 + 0.2 * math.exp(-number / 4)},
                evaluation={"accuracy": accuracy, "loss": 0.33 + 0.2 * math.exp(-number / 4)},
                groups=groups,
                clients={**clients, "client-19": {"n": 0}},
            )
        )
    counts = [[600 + int(random.integers(500)), 150 + int(random.integers(250))] for _ in range(20)]
    return write_run(
        directory,
        summary={
            "task": "tabular",
            "clients": 20,
            "rounds": 20,
            "examples": 48842,
            "metrics": {"accuracy": 0.846, "loss": 0.331},
            "warnings": ["no privacy: updates and model carry no guarantee"],
            **summary_of_bias(bias),
        },
        rounds=lines,
        files={
            "privacy.json": {},
            "bias.json": bias.to_json(),
            "split.json": {
                "attribute": "income-per-year",
                "categories": ["<=50K", ">50K"],
                "clients": [f"client-{k}" for k in range(20)],
                "counts": counts,
                "held_out": [round(sum(row) / 5) for row in counts],
            },
        },
    )


def hundred_clients(directory: Path) -> Path:
    random = np.random.default_rng(8)
    names = [f"client-{k}" for k in range(100)]
    sizes = random.lognormal(2.5, 0.8, size=100).astype(int) + 1
    lines = []
    for number in range(1, 201):
        level = 0.9 - 0.7 * math.exp(-number / 40)
        clients = {
            name: {"accuracy": float(np.clip(random.normal(level, 0.09), 0, 1)), "n": int(n)}
            for name, n in zip(names, sizes, strict=True)
        }
        rejected = (
            []
            if number % 9
            else [
                {"client": f"client-{int(k)}", "code": "LAYOUT", "reason": "the update has another length"}
                for k in random.choice(30, size=2, replace=False)
            ]
        )
        lines.append(
            round_of(
                number,
                clients_asked=100,
                rejected=rejected,
                evaluation={"accuracy": level, "loss": 3 * math.exp(-number / 60)} if number % 5 == 0 else None,
                clients=clients if number % 5 == 0 else {},
            )
        )
    counts = (random.dirichlet([0.3] * 10, size=100) * (5 * sizes[:, None])).astype(int)
    return write_run(
        directory,
        summary={"clients": 100, "rounds": 200, "examples": int(counts.sum()), "metrics": lines[-1]["evaluation"]},
        rounds=lines,
        files={
            "split.json": {
                "attribute": "label",
                "categories": list(DIGITS),
                "clients": names,
                "counts": counts.tolist(),
                "held_out": sizes.tolist(),
            }
        },
    )


def minimal(directory: Path) -> Path:
    """Only what every run has: a summary without anything optional, a plan, and rounds never evaluated."""
    lines = [round_of(k, evaluation=None, update_norm=None) for k in (1, 2)]
    return write_run(
        directory,
        summary={
            "metrics": {"loss": 1.25},
            "client_rounds_per_second": None,
            "examples": None,
            "rounds": 2,
            "clients": 3,
        },
        rounds=lines,
    )


SAMPLES = [private_digits, binary_table, hundred_clients, minimal]


# ---- reading a page --------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and its text outside of style sheets."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def pictures(self) -> list[ET.Element]:
        return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.source, re.DOTALL)]  # noqa: S314

    def table(self, figure: str) -> list[list[str]]:
        """Return the cells of the table under the figure of this title."""
        section = self.source.split(f"<h4>{figure}</h4>", 1)[1].split("</figure>", 1)[0]
        rows = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
        return [[Page(cell).text.strip() for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def page_of(directory: Path) -> Page:
    return Page(write_report(directory).read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=SAMPLES, ids=lambda build: build.__name__)
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(request.param(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(private_digits(tmp_path_factory.mktemp("digits")))


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(binary_table(tmp_path_factory.mktemp("binary")))


class TestAnyPage:
    def test_is_one_file_that_refers_to_nothing_outside_itself(self, sample: Page) -> None:
        source = sample.source.replace("http-equiv", "")
        assert not re.search(r"https?:|src=|url\(|@import|<script|<link|<iframe|<object|\bon\w+=", source)
        links = [attributes["href"] or "" for tag, attributes in sample.elements if "href" in attributes]
        targets = {attributes.get("id") for _, attributes in sample.elements}
        assert links
        assert all(link.startswith("#") and link[1:] in targets for link in links)

    def test_forbids_by_policy_whatever_it_does_not_need(self, sample: Page) -> None:
        policy = {attributes.get("http-equiv"): attributes.get("content") for _, attributes in sample.elements}
        assert policy["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"

    def test_holds_pictures_that_are_valid_xml_and_say_what_they_show(self, sample: Page) -> None:
        for picture in sample.pictures:
            assert picture.get("role") == "img"
            assert picture.get("aria-label")
            assert not re.search(r"\b(nan|inf|None)\b", ET.tostring(picture, encoding="unicode"))

    def test_has_a_table_under_each_picture(self, sample: Page) -> None:
        figures = re.findall(r"<figure>.*?</figure>", sample.source, re.DOTALL)
        assert len(figures) == len(sample.pictures)
        assert all("<details><summary>Data</summary>" in figure and "<td>" in figure for figure in figures)

    def test_never_shows_a_programmers_nothing(self, sample: Page) -> None:
        assert not re.search(r"\b(None|nan|NaN|null|inf|undefined)\b", sample.text.replace("rate is undefined for", ""))

    def test_weighs_little(self, sample: Page) -> None:
        assert len(sample.source.encode()) < 150_000

    def test_serves_dark_screens_phones_and_paper(self, sample: Page) -> None:
        for query in ("prefers-color-scheme:dark", "max-width:700px", "@media print"):
            assert query in sample.source
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [
            attributes for tag, attributes in sample.elements if tag == "meta"
        ]


class TestNumbers:
    def test_of_the_cards_are_those_of_the_summary(self, digits: Page) -> None:
        for words in ("ε = 7.99", "Per record, δ = 1e-5, zero-out relation", "50 × 10", "1,797 rows", "31 s", "88.1 %"):
            assert words in digits.text

    @pytest.mark.parametrize(
        ("limits", "told"),
        [
            ((), "Clearest gap in accuracy"),
            (("0.5",), "Gap nearest its limit, accuracy"),
            (("0.1",), "Gap beyond its limit, accuracy"),
        ],
    )
    def test_of_a_gap_say_which_gap_it_is(self, tmp_path: Path, limits: tuple[str, ...], told: str) -> None:
        declared = [Limit.of("accuracy", kind="difference", at_most=each) for each in limits]
        bias = bias_of([digit_table({"light": (90, 100), "heavy": (70, 100)})], limits=declared)
        run = write_run(tmp_path, summary=summary_of_bias(bias), files={"bias.json": bias.to_json()})
        words = f"{told}: light 90.0 % (90 of 100) over heavy 70.0 % (70 of 100), 20.0 points ("
        assert words in page_of(run).text

    def test_of_a_curve_stand_in_its_table_round_by_round(self, tmp_path: Path) -> None:
        lines = [
            round_of(1, evaluation={"accuracy": 0.25, "loss": 2.5}),
            round_of(2, evaluation=None),
            round_of(3, evaluation={"accuracy": 0.98765, "loss": 0.125}),
        ]
        page = page_of(write_run(tmp_path, rounds=lines))
        assert page.table("Accuracy") == [["round", "accuracy"], ["1", "25.00 %"], ["3", "98.77 %"]]
        assert page.table("Loss")[1:] == [["1", "2.5000"], ["3", "0.12500"]]

    def test_over_clients_have_the_intervals_of_the_audit(self, tmp_path: Path) -> None:
        counts = {f"client-{k}": Rate.of(30 + 3 * k, 50, confidence=0.95) for k in range(4)}
        spread = client_spread(counts, min_cell=10).to_json()
        shown = {name: {"accuracy": rate.value, "n": rate.n} for name, rate in counts.items()}
        line = round_of(50, evaluation={"accuracy": 0.69, "loss": 0.5}, clients=shown)
        page = page_of(write_run(tmp_path, rounds=[line], files={"bias.json": {"clients": spread}}))
        rows = [[cell.replace("\xa0", " ") for cell in row] for row in page.table("How evenly clients are served")]
        names = ("mean accuracy of a client", "accuracy of the worst tenth", "Gini coefficient of accuracy")
        for row, name, key in zip(rows[1:], names, ("mean", "worst_decile", "gini"), strict=True):
            value, low, high = (f"{100 * spread[key][end]:.2f}" for end in ("value", "low", "high"))
            assert row == [name, f"{value} %", f"{low} to {high} %"]

    def test_of_groups_are_those_of_the_audit(self, binary: Page) -> None:
        rows = {row[0]: row[1:] for row in binary.table("Selection rate by sex")}
        assert rows["Female"][0] == f"{100 * (110 + 180) / 3230:.2f} %"
        assert rows["Male"][2] == "6,510"

    def test_of_the_split_are_all_in_the_table(self, tmp_path: Path) -> None:
        split = {"attribute": "label", "categories": ["no", "yes"], "clients": ["a", "b"], "counts": [[3, 4], [5, 6]]}
        page = page_of(write_run(tmp_path, files={"split.json": {**split, "held_out": [1, 2]}}))
        assert page.table("Rows by label and client") == [
            ["client", "no", "yes", "all rows", "held out"],
            ["a", "3", "4", "7", "1"],
            ["b", "5", "6", "11", "2"],
        ]

    def test_an_epsilon_is_never_rounded_down(self, tmp_path: Path) -> None:
        summary = {"epsilon": 7.9911, "delta": 1e-5, "unit": "record"}
        assert "ε = 8.00" in page_of(write_run(tmp_path, summary=summary)).text


class TestGroups:
    def test_without_rows_are_not_defined_and_small_ones_not_shown(self, binary: Page) -> None:
        rows = {row[0]: row[1:] for row in binary.table("Accuracy by race")}
        assert rows["Not recorded"] == ["not defined (no rows to count)", "not defined", "0"]
        assert rows["Other"] == ["not shown (protects cells of fewer than 10 rows)", "not shown", "not shown"]

    def test_of_unknown_membership_are_left_out_when_there_are_none(self, binary: Page) -> None:
        assert "unknown" not in [row[0] for row in binary.table("Accuracy by race")]

    def test_are_sorted_by_their_rate_with_missing_ones_last(self, binary: Page) -> None:
        order = [row[0] for row in binary.table("Accuracy by race")[1:]]
        assert order[:2] == ["White", "Black"]
        assert set(order[2:]) == {"Asian-Pac-Islander", "Not recorded", "Amer-Indian-Eskimo", "Other"}

    def test_of_a_binary_task_get_a_picture_for_each_rate(self, binary: Page) -> None:
        for metric in ("Accuracy", "Selection rate", "True positive rate", "False positive rate"):
            assert f"<h4>{metric} by sex</h4>" in binary.source

    def test_are_read_from_the_last_evaluation_when_no_audit_was_written(self, tmp_path: Path) -> None:
        groups = {"sex": {"f": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}, "m": {"value": 0.75, "n": 90}}}
        page = page_of(write_run(tmp_path, rounds=[round_of(1, groups=groups)]))
        assert page.table("Accuracy by sex")[1] == ["f", "50.00 %", "40.00 to 60.00 %", "100"]
        assert page.table("Accuracy by sex")[2] == ["m", "75.00 %", "not defined", "90"]

    def test_findings_show_verdict_limit_and_reason_once(self, binary: Page) -> None:
        assert "Selection rate ratio over sex at least 0.8" in binary.text
        assert "✕ FAIL" in binary.text
        assert "? INCONCLUSIVE" in binary.text

    def test_decisions_of_hooks_are_shown_unless_they_repeat_a_finding(self, tmp_path: Path) -> None:
        bias = {
            "findings": [{"verdict": "PASS", "reason": "all is well", "limit": "a limit", "margin": "wide"}],
            "decisions": [
                {"hook": "gate", "verdict": "PASS", "findings": ["all is well"]},
                {"hook": "mine", "verdict": None, "findings": ["looked at it"]},
            ],
        }
        text = page_of(write_run(tmp_path, files={"bias.json": bias})).text
        assert text.count("ll is well") == 1
        assert "margin: wide" in text
        assert "not judged mine looked at it" in text
        assert "gate" not in text


class TestClients:
    def test_without_held_out_rows_have_no_value(self, binary: Page) -> None:
        assert binary.table("Accuracy at each client")[-1] == ["client-19", "not defined", "0"]

    def test_come_worst_first(self, digits: Page) -> None:
        values = [float(row[1].split()[0]) for row in digits.table("Accuracy at each client")[1:]]
        assert values == sorted(values)

    def test_with_a_cost_for_headline_come_with_the_highest_first(self, tmp_path: Path) -> None:
        clients = {"good": {"loss": 1.0, "n": 5}, "bad": {"loss": 9.0, "n": 5}}
        line = round_of(1, evaluation={"loss": 5.0}, clients=clients)
        page = page_of(write_run(tmp_path, summary={"metrics": {"loss": 5.0}}, rounds=[line]))
        assert [row[0] for row in page.table("Loss at each client")[1:]] == ["bad", "good"]

    def test_of_thousands_the_table_has_the_first_and_says_where_the_rest_is(self, tmp_path: Path) -> None:
        clients = {f"client-{number}": {"loss": float(number), "n": 1} for number in range(3000)}
        line = round_of(1, evaluation={"loss": 5.0}, clients=clients)
        page = page_of(write_run(tmp_path, summary={"metrics": {"loss": 5.0}}, rounds=[line]))
        assert [row[0] for row in page.table("Loss at each client")[1:]] == [
            f"client-{number}" for number in range(2999, 1999, -1)
        ]
        assert "The table has the first 1,000 clients; summary.json has all" in page.text

    def test_of_a_large_split_are_thinned_in_the_picture_and_kept_in_the_table(self, tmp_path: Path) -> None:
        page = page_of(hundred_clients(tmp_path))
        assert "30 of 100 clients are drawn" in page.text
        assert len(page.table("Rows by label and client")) == 101

    def test_whose_replies_were_rejected_are_named_at_the_top(self, digits: Page) -> None:
        assert "2 replies of client-3 did not count" in digits.text
        assert digits.table("Who took part")[1] == ["7", "client-3", "NONFINITE", "a value is not finite"]

    def test_that_all_counted_need_no_picture_of_it(self, binary: Page) -> None:
        assert "Who took part" not in binary.text


class TestPrivacy:
    def test_statement_is_shown_whatever_its_keys(self, tmp_path: Path) -> None:
        privacy = privacy_of(new_key={"deep": [{"er": 1.5}, "text"], "flag": True}, nothing=None)
        summary = {"epsilon": 1.0, "delta": 1e-5, "unit": "record"}
        text = page_of(write_run(tmp_path, summary=summary, files={"privacy.json": privacy})).text
        assert "Anyone who sees every update" in text
        assert "new key deep er 1.5 text flag yes" in text
        assert "nothing not defined" in text

    def test_that_is_void_is_not_headlined_as_an_epsilon(self, tmp_path: Path) -> None:
        summary = {"epsilon": 7.99, "delta": 1e-5, "warnings": ["noise = 'test': there is NO privacy"]}
        privacy = privacy_of(valid=False)
        lines = [round_of(1, epsilon=7.99)]
        text = page_of(write_run(tmp_path, summary=summary, rounds=lines, files={"privacy.json": privacy})).text
        assert "Privacy void The guarantee does not hold" in text
        assert "there is NO privacy." in text
        assert "ε = 7.99" not in text
        assert "ε spent" not in text

    def test_section_is_absent_without_a_promise(self, binary: Page) -> None:
        assert "no guarantee" in binary.text
        assert 'id="privacy"' not in binary.source


class TestBadInput:
    def test_names_that_look_like_markup_stay_text(self, tmp_path: Path) -> None:
        rates = {EVIL: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 50}, "b": {"value": 0.7, "n": 50}}
        lines = [
            round_of(
                number,
                asked=[EVIL],
                counted=[EVIL],
                rejected=[{"client": EVIL, "code": "<b>", "reason": '" onload="x'}],
                groups={EVIL: rates},
                clients={EVIL: {"accuracy": 0.5, "n": 4}},
            )
            for number in (1, 2)
        ]
        split = {"attribute": EVIL, "categories": [EVIL, "y"], "clients": [EVIL], "counts": [[1, 2]], "held_out": [1]}
        page = page_of(
            write_run(
                tmp_path,
                summary={"task": EVIL, "warnings": [EVIL], "command": EVIL},
                rounds=lines,
                files={"split.json": split, "privacy.json": {EVIL: EVIL, "plain_language": EVIL}},
                plan=f"# {EVIL}",
            )
        )
        assert "<script" not in page.source
        assert "<b>" not in page.source
        assert page.text.count(EVIL) > 10
        assert not any("onload" in attributes for _, attributes in page.elements)
        assert len(page.pictures) == 8

    def test_characters_that_no_page_can_hold_are_replaced(self, tmp_path: Path) -> None:
        directory = write_run(tmp_path, rounds=[round_of(1, clients={"a\x00\ud800b": {"accuracy": 0.5, "n": 1}})])
        assert "a\ufffd\ufffdb" in page_of(directory).text

    def test_numbers_that_are_none_count_as_missing(self, tmp_path: Path) -> None:
        line = json.dumps(round_of(1, evaluation={"accuracy": 0.5, "loss": float("nan")}, update_norm=float("inf")))
        directory = write_run(tmp_path)
        (directory / "rounds.jsonl").write_text(line + "\n", encoding="utf-8")
        assert "<h4>Loss</h4>" not in page_of(directory).source

    def test_a_directory_without_a_finished_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match=r"holds no finished run: expected a summary\.json"):
            write_report(tmp_path)

    def test_a_file_that_is_no_json_is_named(self, tmp_path: Path) -> None:
        directory = write_run(tmp_path)
        (directory / "bias.json").write_text("{", encoding="utf-8")
        with pytest.raises(RunDirectoryError, match=r"bias\.json is not JSON"):
            write_report(directory)

    def test_a_full_disk_leaves_the_old_report_and_nothing_half_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = minimal(tmp_path)
        (directory / "report.html").write_text("the old one", encoding="utf-8")
        before = sorted(path.name for path in directory.iterdir())

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="the disk is full"):
            write_report(directory)
        assert (directory / "report.html").read_text(encoding="utf-8") == "the old one"
        assert sorted(path.name for path in directory.iterdir()) == before


def test_a_run_with_nothing_optional_still_has_its_page(tmp_path: Path) -> None:
    text = page_of(minimal(tmp_path)).text
    for words in ("Held-out loss 1.25", "no differential privacy", "2 × 3"):
        assert words in text


def test_what_was_not_asked_for_has_no_card(tmp_path: Path) -> None:
    page = page_of(minimal(tmp_path))

    assert 'class="cards n3"' in page.source
    for words in ("not audited", "no guarantee", "not judged", "ε"):
        assert words not in page.text


def test_rows_that_have_no_label_are_counted_by_client_alone(tmp_path: Path) -> None:
    split = {"attribute": "rows", "categories": ["rows"], "clients": ["a", "b"], "counts": [[3], [4]]}
    text = page_of(write_run(tmp_path, files={"split.json": split})).text

    assert "Rows by client" in text
    assert "Rows by rows" not in text


def test_the_size_is_that_of_the_cohort_and_not_of_all_clients(tmp_path: Path) -> None:
    rounds = [round_of(number, clients_asked=3) for number in (1, 2)]
    text = page_of(write_run(tmp_path, summary={"rounds": 2, "clients": 10}, rounds=rounds)).text

    assert "Rounds × clients in each 2 × 3 Of 10 clients." in text
    assert "2 × 10" not in text


def test_training_between_evaluated_rounds_is_a_curve_and_no_dot(tmp_path: Path) -> None:
    rounds = [
        round_of(number, training={"loss": 1 / number}, evaluation={"loss": 0.3} if number == 4 else None)
        for number in range(1, 5)
    ]
    page = page_of(write_run(tmp_path, summary={"rounds": 4, "metrics": {"loss": 0.3}}, rounds=rounds))

    for words in ("1 – 1", "2 – 0.5", "3 – 0.333", "4 0.3"):
        assert words in re.sub(r"(\d\.\d*?)0+(?= |$)", r"\1", page.text), words


def test_cards_of_unequal_height_flow_in_columns_and_leave_no_holes(tmp_path: Path) -> None:
    source = page_of(minimal(tmp_path)).source

    assert ".figures{columns:3" in source
    assert "subgrid" not in source
    assert "break-inside:avoid" in source


def test_only_a_summary_is_needed(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"task": "mine"}', encoding="utf-8")
    assert "not measured" in page_of(tmp_path).text


def test_parts_that_older_versions_wrote_into_the_audit_are_ignored(tmp_path: Path) -> None:
    directory = binary_table(tmp_path / "run")
    page, path = write_report(directory).read_text(encoding="utf-8"), directory / "bias.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["group_thresholds"] = {"sex": {"metric": "selection_rate", "groups": {}}}
    content["groups"]["sex"]["Male"]["exposure"] = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 10}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert write_report(directory).read_text(encoding="utf-8") == page


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    directory = private_digits(tmp_path)
    assert write_report(directory).read_bytes() == write_report(directory).read_bytes()
