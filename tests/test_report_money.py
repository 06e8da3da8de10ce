"""What the page says of money: what was given as it was given, what is not counted, and every part its own colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from profiles import write_profile
from report_inputs import write_cost, write_distillation

from edgekit.cost.document import EdgeOrCloud, check_cost
from edgekit.report.content import Figure, Section, Table
from edgekit.report.money import money_of, money_sections
from edgekit.report.money_figures import stack_figure


def read(path: Path) -> Any:
    return check_cost(json.loads(path.read_text()), path.name)


def table(section: Section, caption: str) -> Table:
    [found] = [block for block in section.blocks if isinstance(block, Table) and block.caption.startswith(caption)]
    return found


@pytest.fixture
def cost(tmp_path: Path) -> EdgeOrCloud:
    profile = write_profile(tmp_path / "p.json")
    changes = {"--usd-per-hour": "1.204", "--sla-ms": "2.00001", "--edge-life-years": "1"}
    return read(write_cost(tmp_path / "c.json", profile, **changes))  # type: ignore[no-any-return]


def test_no_colour_stands_for_two_parts(cost: EdgeOrCloud) -> None:
    for side in (cost["edge"], cost["cloud"]):
        for part in side["parts"]:
            part["usd_per_million"] = 1.0
    figure = stack_figure(cost, money_of(cost["currency"]), "k")
    shades = [key.variable for key in figure.legend]
    assert len(shades) == len(set(shades)) == len(cost["edge"]["parts"]) + len(cost["cloud"]["parts"])


def test_what_is_not_counted_is_no_row(cost: EdgeOrCloud) -> None:
    [section] = money_sections([cost])
    edge, cloud = table(section, "Edge: "), table(section, "Cloud: ")
    assert [row[0].text for row in edge.rows] == ["devices", "connectivity", "builds", "Total"]
    assert [row[0].text for row in cloud.rows] == ["instances", "Total"]
    assert any(note.startswith("Not counted, 0 by default: ") and "load balancer" in note for note in cloud.notes)
    assert any("devices that fail in a year" in note for note in edge.notes)


def test_return_and_payback_stand_in_the_report_with_what_they_are_of(cost: EdgeOrCloud) -> None:
    [section] = money_sections([cost])
    [saved, roi, payback] = table(section, "What it brings").rows
    assert saved[0].text == "Saved by the edge"
    tied_up = 3 * 12 * 80 + 8000
    assert cost["tied_up_usd"] == pytest.approx(tied_up)
    assert "$10,900" in roi[0].below
    assert roi[1].text == f"{cost['usd_3_year_saving'] / tied_up * 100:,.0f} %"
    assert payback[1].text == f"{cost['payback_months']:.1f} months"


def test_given_figures_keep_their_digits_and_a_check_shows_its_side(cost: EdgeOrCloud) -> None:
    [section] = money_sections([cost])
    texts = [cell.text for row in table(section, "Every input").rows for cell in row]
    assert "1.204 USD/h" in texts
    [edge, _] = table(section, "Requirements").rows
    limit, value = (float(edge[column].text.removesuffix(" ms")) for column in (1, 2))
    assert limit == 2.00001
    assert (value > limit) == (edge[3].text == "✗ fail")


def test_a_review_that_nobody_told_of_is_not_known(tmp_path: Path) -> None:
    document = read(write_distillation(tmp_path)) | {"reduction_low": 0.74, "reduction_high": 0.76}
    [section] = money_sections([document])
    assert [row[2].text for row in table(section, "What others claim").rows] == ["not known", "not known", "no"]
    [figure] = [block for block in section.blocks if isinstance(block, Figure)]
    assert "a reduction of 74.0 % to 76.0 % at the ends of both ranges" in figure.finding
