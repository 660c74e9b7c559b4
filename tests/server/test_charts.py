"""The pictures of a report, held against what they are drawn from."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from fedcore.report.page.run_record import Rate, Rejection, Round
from fedcore.report.page.wording import EPSILON, Quantity, interval_text, listed, seconds_text
from fedcore.report.pictures.client_chart import ClientChart, ClientValue
from fedcore.report.pictures.heat_map import HeatMap
from fedcore.report.pictures.interval_chart import IntervalChart
from fedcore.report.pictures.line_chart import Curve, LineChart
from fedcore.report.pictures.participation_chart import participation_chart
from fedcore.report.pictures.scales import nice_step, round_axis, spread, thinned, value_axis
from fedcore.report.pictures.svg import WIDTH, element, number, shortened, text_width

ACCURACY, LOSS = Quantity.of("accuracy"), Quantity.of("loss")
AWKWARD = "<b>&\"' 東京大学病院 a name that is much too long for any margin"
finite = st.floats(-1e9, 1e9, allow_nan=False)


def curve_of(values: Mapping[float, float | None], *, name: str = "a", **parts: Any) -> Curve:
    return Curve(name=name, points=list(values.items()), **parts)


def line_chart(*curves: Curve, quantity: Quantity = ACCURACY, **parts: Any) -> ET.Element:
    return drawn(LineChart(curves=curves, quantity=quantity, says="it says", **parts).draw())


def interval_chart(rates: Mapping[str, Rate], *, reference: float | None = 0.5) -> ET.Element:
    return drawn(IntervalChart(rates=rates, quantity=ACCURACY, reference=reference, min_cell=10, says="it says").draw())


def client_chart(values: Sequence[float], *, n: int = 10, quantity: Quantity = ACCURACY) -> ET.Element:
    clients = [ClientValue(name=f"c{k}", value=value, n=n, marked=k == 0) for k, value in enumerate(values)]
    return drawn(ClientChart(clients=clients, quantity=quantity, says="it says").draw())


def heat_map(counts: Sequence[Sequence[int]], *, name: str = "c") -> ET.Element:
    rows, columns = [f"{name}{k}" for k in range(len(counts))], [str(k) for k in range(len(counts[0]))]
    return drawn(HeatMap(rows=rows, columns=columns, counts=counts, says="it says").draw())


def drawn(picture: Markup) -> ET.Element:
    """Return the picture as XML, having checked what holds for all of them."""
    svg = ET.fromstring(str(picture))  # noqa: S314
    width, height = map(float, (svg.get("viewBox") or "").split()[2:])
    assert (width, svg.get("role"), svg.get("aria-label")) == (WIDTH, "img", "it says")
    assert not re.search(r"\b(nan|inf|None)\b", str(picture))
    for one in svg.iter():
        for key in ("x", "cx"):
            assert -0.1 <= float(one.get(key) or 0) <= width + 0.1
        for key in ("y", "cy"):
            assert -0.1 <= float(one.get(key) or 0) <= height + 0.1
    return svg


def words(svg: ET.Element, *, style: str | None = None) -> list[str]:
    texts = [one for one in svg.iter("text") if style is None or style in (one.get("class") or "").split()]
    return ["".join(part for part in one.itertext()) for one in texts]


def hovers(svg: ET.Element) -> list[str]:
    return [one.text or "" for one in svg.iter("title")]


class TestLineChart:
    def test_names_beside_the_ends_are_where_the_curves_end_and_apart(self) -> None:
        short, other = curve_of({1: 0.4, 2: 0.7}, name="A"), curve_of({1: 0.5, 2: 0.705}, name="B")
        long = curve_of({1: 0.1, 10: 0.9}, name="C")
        svg = line_chart(short, other, long, beside=True)
        at = {one.text: (float(one.get("x") or 0), float(one.get("y") or 0)) for one in svg.iter("text")}
        assert at["A"][0] == at["B"][0] < at["C"][0]
        assert abs(at["A"][1] - at["B"][1]) >= 11.9

    def test_tells_each_value_to_a_pointer(self) -> None:
        svg = line_chart(curve_of({1: 0.5, 2: 0.75}, name=""))
        assert hovers(svg) == ["round 1: 50.0\u202f%", "round 2: 75.0\u202f%"]

    def test_tells_all_curves_at_once(self) -> None:
        svg = line_chart(curve_of({1: 0.5, 2: 0.6}, name="f"), curve_of({2: 0.9}, name="m"))
        assert hovers(svg)[1] == "round 2: f 60.0\u202f%, m 90.0\u202f%"

    def test_breaks_the_line_where_a_value_is_missing(self) -> None:
        svg = line_chart(curve_of({1: 0.5, 2: None, 3: 0.6, 4: 0.7}))
        path = next(one.get("d") or "" for one in svg.iter("path") if "line" in (one.get("class") or ""))
        assert re.sub(r"[^ML]", "", path) == "MML"

    def test_names_a_single_curve_by_its_last_value(self) -> None:
        assert words(line_chart(curve_of({1: 0.5, 2: 0.625})), style="name") == ["62.5\u202f%"]

    def test_keeps_the_names_of_equal_curves_apart(self) -> None:
        svg = line_chart(*(curve_of({1: 0.5, 2: 0.9}, name=f"g{k}") for k in range(6)))
        places = sorted(float(one.get("y") or 0) for one in svg.iter("text") if "name" in (one.get("class") or ""))
        assert all(b - a >= 13.9 for a, b in pairwise(places))

    def test_names_only_the_marked_one_of_many(self) -> None:
        curves = [curve_of({1: 0.5, 2: 0.9 - k / 100}, name=f"g{k}", weight="faint") for k in range(11)]
        svg = line_chart(*curves, curve_of({1: 0.1, 2: 0.2}, name="worst", weight="accent"))
        assert words(svg, style="name") == ["worst"]

    def test_encloses_the_reference(self) -> None:
        svg = line_chart(curve_of({1: 1.0, 2: 2.0}), quantity=EPSILON, zero=True, reference=(8.0, "planned 8"))
        assert "planned 8" in words(svg)
        assert "8" in words(svg, style="tick")

    @pytest.mark.parametrize("values", [{}, {7: 0.5}, {1: 0.0, 2: 0.0}, {1: 1.0, 500: 1.0}, {1: None}])
    def test_draws_whatever_there_is(self, values: dict[float, float | None]) -> None:
        line_chart(curve_of(values))

    @given(st.dictionaries(st.integers(1, 1000), st.none() | finite, max_size=30))
    def test_stays_inside_its_frame(self, values: dict[float, float | None]) -> None:
        line_chart(curve_of(values, name=AWKWARD), curve_of(values, name="b"), quantity=LOSS)


class TestIntervalChart:
    def test_shows_value_rows_and_interval(self) -> None:
        svg = interval_chart({"f": Rate(value=0.881, low=0.82, high=0.923, n=1100)})
        assert "88.1\u202f%n 1,100" in words(svg)
        assert "f: 88.1\u202f%, interval 82.0\u00a0to\u00a092.3\u202f%, 1,100 rows" in hovers(svg)

    def test_draws_the_ends_where_the_values_are(self) -> None:
        svg = interval_chart({"f": Rate(value=0.5, low=0.0, high=1.0, n=4)}, reference=None)
        reach = next(one.get("d") for one in svg.iter("path") if one.get("class") == "reach")
        assert reach is not None
        assert reach.startswith("M10 ")
        assert reach.endswith("H334")

    def test_says_why_a_rate_is_missing_and_draws_no_dot(self) -> None:
        svg = interval_chart({"none": Rate(n=0), "few": Rate(suppressed=True)})
        assert words(svg, style="missing")[0].endswith("not defined")
        assert any("not shown (protects cells of fewer than 10 rows)" in told for told in hovers(svg))
        assert not list(svg.iter("circle"))

    def test_is_drawn_without_any_rate(self) -> None:
        interval_chart({"f": Rate(n=0)}, reference=None)

    def test_names_the_level_of_all_rows(self) -> None:
        assert "all rows 93.0\u202f%" in words(interval_chart({"f": Rate(value=0.9, n=3)}, reference=0.93))

    def test_shortens_long_names_and_keeps_them_for_the_pointer(self) -> None:
        svg = interval_chart({AWKWARD: Rate(value=0.9, low=0.1, high=1.0, n=3)})
        assert AWKWARD in hovers(svg)


class TestClientChart:
    @pytest.mark.parametrize("count", [1, 2, 16, 17, 100, 1000])
    def test_has_one_dot_for_each_client(self, count: int) -> None:
        svg = client_chart([k / count for k in range(count)])
        assert len(list(svg.iter("circle"))) == count
        assert f"c{count - 1}: " in hovers(svg)[-1]

    def test_names_every_one_of_a_few(self) -> None:
        assert [
            name.removeprefix(name[: len(name) // 2]) for name in words(client_chart([0.1, 0.2]), style="name")
        ] == [
            "c0",
            "c1",
        ]

    def test_counts_the_worst_of_many(self) -> None:
        assert "worst 1" in words(client_chart([k / 20 for k in range(20)]))

    def test_area_grows_with_the_rows(self) -> None:
        clients = [ClientValue(name=str(n), value=0.5, n=n, marked=False) for n in (0, 25, 100)]
        svg = drawn(ClientChart(clients=clients, quantity=ACCURACY, says="it says").draw())
        radii = [float(one.get("r") or 0) for one in svg.iter("circle")]
        assert radii == sorted(radii)
        assert radii[0] > 0


class TestHeatMap:
    @pytest.mark.parametrize(("clients", "labels"), [(1, 1), (2, 2), (10, 10), (24, 10), (60, 24), (30, 2)])
    def test_has_one_cell_for_each_count(self, clients: int, labels: int) -> None:
        svg = heat_map([[row + column for column in range(labels)] for row in range(clients)])
        assert len(list(svg.iter("rect"))) == clients * labels

    def test_writes_counts_and_sums_of_a_few_clients(self) -> None:
        svg = heat_map([[3, 0], [1200, 34]])
        assert words(svg, style="count") == ["3", "0", "1,200", "34"]
        assert words(svg, style="figure") == ["3", "1,234"]

    def test_is_darker_for_a_larger_share_of_the_row(self) -> None:
        svg = heat_map([[1, 3], [500, 500]])
        shades = [float(one.get("fill-opacity") or 0) for one in svg.iter("rect")]
        assert shades[1] == 1.0
        assert shades[0] < shades[2] == shades[3] < shades[1]

    def test_of_clients_without_rows_is_drawn(self) -> None:
        heat_map([[0, 0], [0, 0]], name=AWKWARD)


class TestParticipationChart:
    def test_draws_one_stroke_for_an_unbroken_sequence_and_a_cross_for_a_rejection(self) -> None:
        rejection = Rejection(round=3, client="a", code="LATE", reason="came too late")
        rounds = [
            Round(number=k, asked=("a",), counted=() if k == 3 else ("a",), rejected=(rejection,) if k == 3 else ())
            for k in range(1, 7)
        ]
        svg = drawn(participation_chart(["a", AWKWARD], rounds, says="it says"))
        strokes = [one.get("d") or "" for one in svg.iter("path") if one.get("class") == "counted"]
        assert [stroke.count("M") for stroke in strokes] == [2, 0]
        assert "round 3, a: LATE, came too late" in hovers(svg)

    def test_draws_a_single_round(self) -> None:
        drawn(participation_chart(["a"], [Round(number=1, counted=("a",))], says="it says"))


class TestScales:
    @pytest.mark.parametrize(("rough", "step"), [(0.13, 0.1), (0.25, 0.2), (3.0, 5.0), (8.0, 10.0), (1.0, 1.0)])
    def test_a_step_is_one_two_or_five_times_a_power_of_ten(self, rough: float, step: float) -> None:
        assert nice_step(rough) == pytest.approx(step)

    @given(st.lists(finite, min_size=1, max_size=5))
    def test_an_axis_encloses_its_values_with_few_ticks(self, values: list[float]) -> None:
        axis = value_axis(values, share=False)
        slack = 1e-6 * axis.step
        assert axis.low - slack <= min(values)
        assert axis.high + slack >= max(values)
        assert 2 <= len(axis.ticks) <= 9

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
    def test_an_axis_of_shares_stays_between_nothing_and_all(self, values: list[float]) -> None:
        axis = value_axis(values, share=True)
        assert axis.low >= 0.0
        assert axis.high <= 1.0

    @given(st.integers(1, 500), st.integers(0, 5000))
    def test_an_axis_of_rounds_has_whole_ticks_from_the_first_to_the_last(self, first: int, more: int) -> None:
        ticks = round_axis(first, first + more).ticks
        assert ticks[0] == first
        assert ticks[-1] == first + more
        assert all(tick == int(tick) for tick in ticks)
        assert len(ticks) <= 9

    @given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
    def test_spread_places_are_apart_inside_and_in_order(self, places: list[float]) -> None:
        moved = spread(places, apart=14, low=0, high=100)
        apart = min(14, 100 / max(1, len(places) - 1))
        assert all(-1e-6 <= place <= 100 + 1e-6 for place in moved)
        assert all(b - a >= apart - 1e-6 for a, b in pairwise(sorted(moved)))
        assert [k for _, k in sorted(zip(moved, range(len(moved)), strict=True))] == sorted(
            range(len(places)), key=places.__getitem__
        )

    def test_places_that_are_apart_already_stay(self) -> None:
        assert spread([10.0, 60.0, 30.0], apart=14, low=0, high=100) == [10.0, 60.0, 30.0]

    @given(st.integers(0, 3000))
    def test_thinning_keeps_the_ends_and_no_place_twice(self, count: int) -> None:
        places = thinned(count, at_most=60)
        assert len(set(places)) == len(places) == min(count, 60)
        assert not count or (places[0], places[-1]) == (0, count - 1)


class TestElements:
    def test_text_and_attributes_are_escaped(self) -> None:
        svg = element("text", "<b>&", title='"<')
        assert str(svg) == '<text title="&#34;&lt;">&lt;b&gt;&amp;</text>'

    def test_coordinates_are_short(self) -> None:
        assert [number(value) for value in (1.0, 1.25, -0.01, 200.06)] == ["1", "1.2", "0", "200.1"]

    def test_a_shortened_text_fits_and_tells_that_it_is(self) -> None:
        short = shortened(AWKWARD, 90)
        assert short.endswith("…")
        assert text_width(short) <= 90


class TestWords:
    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("accuracy", 0.93049, "93.0\u202f%"),
            ("selection_rate", 0.0, "0.0\u202f%"),
            ("loss", 0.24123, "0.241"),
            ("perplexity", 1234.56, "1,235"),
            ("loss", 1e-7, "1.00e-7"),
            ("loss", None, "not defined"),
        ],
    )
    def test_of_a_value_fit_its_quantity(self, name: str, value: float | None, text: str) -> None:
        assert Quantity.of(name).text(value) == text

    @pytest.mark.parametrize(("epsilon", "text"), [(7.99, "7.99"), (7.991, "8.00"), (0.1, "0.100"), (15.61, "15.7")])
    def test_of_an_upper_bound_are_never_less_than_it(self, epsilon: float, text: str) -> None:
        assert EPSILON.text(epsilon) == text

    @given(st.floats(1e-3, 1e3))
    def test_of_any_epsilon_are_an_upper_bound_of_it(self, epsilon: float) -> None:
        assert float(EPSILON.text(epsilon).replace(",", "")) >= epsilon
        assert math.isclose(float(EPSILON.text(epsilon, exact=True).replace(",", "")), epsilon, rel_tol=1e-3)

    def test_of_an_interval_name_the_unit_once(self) -> None:
        assert interval_text(0.82, 0.923, ACCURACY) == "82.0\u00a0to\u00a092.3\u202f%"
        assert interval_text(None, 0.9, ACCURACY) == ""

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.84, "0.8 s"),
            (31.2, "31 s"),
            (59.7, "1 min 00 s"),
            (245, "4 min 05 s"),
            (7620, "2 h 07 min"),
            (None, "not measured"),
        ],
    )
    def test_of_a_duration_are_those_people_use(self, seconds: float | None, text: str) -> None:
        assert seconds_text(seconds) == text

    def test_of_a_list_count_what_they_leave_out(self) -> None:
        assert listed(["a"]) == "a"
        assert listed(["a", "b", "c"]) == "a, b and c"
        assert listed(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"
