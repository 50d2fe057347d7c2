"""The pages: every number is its mart's, every name is text, nothing reaches outside."""

import html
import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipeline.common.rates import HEADLINE_RATES
from pipeline.reports.pages import CHARTS_FOLDER
from pipeline.reports.pages.reference import DICTIONARY, METHODS
from pipeline.reports.pages.site import file_name, write_pages
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.reports.pages.numbers import unfounded
from tests.worlds.applied import record
from tests.worlds.published import ADDRESS, account, harm_done, row

WICKED = '<script>alert("x")</script> שלום 🎉 {{ 7 * 7 }}'


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    write_pages(account([("welcome", WICKED)]), [], tmp_path / "reports", ADDRESS)
    return tmp_path / "reports"


def in_each_window(page: str) -> list[str]:
    return [page, page.replace(".html", "-7d.html"), page.replace(".html", "-90d.html")]


def raws(text: str) -> list[tuple[float, str]]:
    """Every number of a page as its mart holds it, and as it is shown."""
    found = re.findall(r'data-raw="([^"]*)"[^>]*>(?:<bdi>)?([^<]*)<', text)
    return [(float(raw), html.unescape(shown)) for raw, shown in found]


def test_each_number_is_its_marts(pages: Path) -> None:
    text = (pages / file_name("welcome")).read_text(encoding="utf-8")
    shown = raws(text)
    assert (1_234.0, "1,234") in shown
    assert (0.2, "20.0%") in shown
    assert "15.0% to 26.0%; 240 of 1,200" in text
    assert {700.0, 200.0, 100.0, 1_000.0} <= {raw for raw, _ in shown}
    for raw, said in shown:
        number = re.search(r"[+-]?\d[\d,.]*", said)
        assert number, said
        is_share = "%" in said or "points" in said
        value = float(number.group().replace(",", "")) / (100 if is_share else 1) * (24 if "days" in said else 1)
        assert value == pytest.approx(raw, abs=max(0.0006, abs(raw) * 0.05))


def test_the_news_stand_before_the_numbers(pages: Path) -> None:
    for page in ("index.html", file_name("welcome")):
        text = (pages / page).read_text(encoding="utf-8")
        assert text.index('id="findings"') < text.index('class="tiles"') < text.index('id="waiting"')


def test_the_less_urgent_of_many_proposals_are_a_click_away_and_none_is_left_out(tmp_path: Path) -> None:
    records = [record(number, promised=number / 100, status=Status.PENDING) for number in range(1, 12)]
    write_pages(account([("welcome", "Welcome")]), records, tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    at_once, folded, rest = text.partition('id="waiting"')[2].partition("</section>")[0].partition("<summary>3 more")
    assert folded
    promised = [re.findall(r"<bdi>\+([\d.]+)%", part) for part in (at_once, rest)]
    assert [float(one) for one in promised[0] + promised[1]] == list(range(11, 0, -1))
    assert len(promised[0]) == 8


def test_the_pages_begin_with_the_people_who_are_not_read_yet(tmp_path: Path) -> None:
    told = "feeds not read yet: 7 of 12 people"
    waits = [
        row(
            "reconciliation", campaign_id="feeds", metric="feeds", workflow_id=None, reason=f"{told}; 7 calls are left"
        ),
        row("reconciliation", campaign_id="mail1", metric="recipients", workflow_id="welcome", reason=told),
    ]
    tables = account([("welcome", "Welcome"), ("other", "Other")])
    tables["reconciliation"] = pl.concat([tables["reconciliation"], *waits])
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    heading = re.compile(r"<section[^>]*>.*?<h2[^>]*>(.*?)</h2>", re.DOTALL)
    first = {page: heading.search((tmp_path / "reports" / page).read_text(encoding="utf-8")) for page in
             ("index.html", file_name("welcome"), file_name("other"))}  # fmt: skip
    shown = {page: found[1] if found else "" for page, found in first.items()}
    assert "Feeds not read yet: 7 of 12 people; 7 calls are left" in shown["index.html"]
    assert "Feeds not read yet: 7 of 12 people" in shown[file_name("welcome")]
    assert "eeds" not in shown[file_name("other")]


def test_no_number_is_without_its_mart(pages: Path) -> None:
    tables = account([("welcome", WICKED)])
    for name, flow in (("index.html", None), (file_name("welcome"), "welcome")):
        text = (pages / name).read_text(encoding="utf-8")
        assert unfounded(text, tables, flow) == []
        # It would be seen: the same page beside marts that say something else.
        assert unfounded(text, {**tables, "engagement_hours": tables["engagement_hours"].clear()}, flow)


def test_a_tile_says_its_change_and_whether_it_keeps_its_bound(pages: Path) -> None:
    for page in (pages / file_name("welcome"), pages / "index.html"):
        text = html.unescape(page.read_text(encoding="utf-8"))
        assert '<span class="note bad" data-raw="-0.031">-3.1 points ▼ (-5.0 to -1.2)</span>' in text
        assert '<span class="note ">no clear change (-0.20 to +0.40 points)</span>' in text
        assert "Changes compare the 28 closed days to 29 June with the 28 before" in text
    text = (pages / file_name("welcome")).read_text(encoding="utf-8")
    assert '<span class="note doubtful">within the bound of 0.50%, but not surely</span>' in text
    assert '<span class="note good">within the bound of 0.10%</span>' in text


def test_a_tile_says_whose_its_bound_is_and_why(pages: Path) -> None:
    for page in (pages / file_name("welcome"), pages / "index.html"):
        text = html.unescape(page.read_text(encoding="utf-8"))
        for bound in (rate.bound for rate in HEADLINE_RATES if rate.bound):
            assert f'<details class="why"><summary>{bound.whose}</summary>{bound.why}</details>' in text


@pytest.mark.parametrize("goal", [None, "purchase"])
def test_that_nobody_converted_is_told_where_anything_tells_of_conversions(tmp_path: Path, goal: str | None) -> None:
    tables = account([("welcome", "Welcome")])
    nothing = {"revenue_amount": pl.lit(0).cast(pl.Decimal(18, 2)), "conversions": pl.lit(0)}
    tables |= {name: tables[name].with_columns(**nothing) for name in ("workflow_metrics", "step_metrics")}
    tables["workflows"] = tables["workflows"].with_columns(goal_event_type=pl.lit(goal, pl.String))
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    for page in (file_name("welcome"), "index.html"):
        text = (tmp_path / "reports" / page).read_text(encoding="utf-8")
        tiles = text.partition('<dl class="tiles">')[2].partition("</dl>")[0]
        assert (
            ("<dt>converted</dt>" in tiles) == ("0 of 1,200" in tiles.partition("converted")[2]) == (goal is not None)
        )
        assert "revenue, " not in tiles
        assert ("converted" in text.partition('<section id="steps"')[2].partition("</section>")[0]) == (
            goal is not None and page != "index.html"
        )


def test_that_nobody_bought_is_told_where_a_store_is_connected(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    free = {"revenue_amount": pl.lit(0).cast(pl.Decimal(18, 2))}
    tables["workflow_metrics"] = tables["workflow_metrics"].with_columns(**free)
    tables["workflows"] = tables["workflows"].with_columns(goal_event_type=pl.lit(None, pl.String))
    tables["reconciliation"] = row("reconciliation", metric="orders", reason="equal", workflow_id=None)
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    tiles = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8").partition('<dl class="tiles">')[2]
    assert "<dt>revenue, USD</dt>" in tiles
    assert "<dt>converted</dt>" in tiles


def test_a_page_can_be_seen_over_other_days_with_the_numbers_of_these(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    week = {"window": "7d", "sent": 310, "delivered": 300, "unique_human_clicks": 30, "human_click_rate": 0.1}
    week |= {"incremental_revenue_amount": None}
    tables["workflow_metrics"] = pl.concat(
        [tables["workflow_metrics"], row("workflow_metrics", workflow_id="welcome", **week)]
    )
    tables["step_metrics"] = pl.concat(
        [tables["step_metrics"], row("step_metrics", workflow_id="welcome", step_id="hello", **week)]
    )
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    for page in ("index.html", file_name("welcome")):
        [month, seven, ninety] = in_each_window(page)
        text = (tmp_path / "reports" / month).read_text(encoding="utf-8")
        assert f'<a href="{seven}">7 days</a>' in text
        assert f'<a href="{ninety}">90 days</a>' in text
        text = (tmp_path / "reports" / seven).read_text(encoding="utf-8")
        assert f'<a href="{month}">28 days</a>' in text
        assert "are of the messages of the 7 days to 29 June." in text
        assert (310.0, "310") in raws(text)
        assert "1,234" not in text
        assert "no clear change" not in text
        assert unfounded(text, tables, None if page == "index.html" else "welcome") == []


def test_the_pages_over_other_days_begin_with_findings_of_these_days(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    high = {"unsubscribe_rate": 0.02, "unsubscribe_rate_low": 0.01, "unsubscribe_rate_high": 0.03}
    week = {"window": "7d", "sent": 310, "delivered": 300, "unsubscribes": 6, **high}
    stuck = row("stuck_subscribers", workflow_id="welcome", step_id="hello", cause="queue stall")
    tables["workflow_metrics"] = pl.concat(
        [tables["workflow_metrics"], row("workflow_metrics", workflow_id="welcome", **week)]
    )
    write_pages({**tables, "stuck_subscribers": stuck}, [], tmp_path / "reports", ADDRESS)
    breach = "Welcome: 2.0% (1.0% to 3.0%) unsubscribed, over the bound of 0.50%"
    for page in ("index.html", file_name("welcome")):
        for file, is_over in zip(in_each_window(page), (False, True, False), strict=True):
            text = (tmp_path / "reports" / file).read_text(encoding="utf-8")
            news = text.partition('id="findings"')[2].partition("</section>")[0]
            assert (breach in news) == is_over
            if is_over:
                assert f'href="{page}#stuck"' in news


def test_campaigns_have_a_page_of_their_own_where_there_are_any(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    sent = {"window": "all", "sent": 505, "delivered": 500, "unique_human_clicks": 50, "human_click_rate": 0.1}
    tables["workflow_metrics"] = pl.concat(
        [tables["workflow_metrics"], row("workflow_metrics", workflow_id="promo", **sent)]
    )
    tables["steps"] = pl.concat([tables["steps"], row("steps", workflow_id="promo", step_id="promo", subject=WICKED)])
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / "campaigns.html").read_text(encoding="utf-8")
    assert "1 campaign: 500 messages delivered, 10.0% clicked by people" in text
    assert html.escape(WICKED, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text
    assert (500.0, "500") in raws(text)
    assert 'href="campaigns.html"' in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_the_workflows_with_the_campaigns_add_up_to_the_account(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome"), ("other", "Other")])
    once = {"window": "28d", "sent": 505, "delivered": 500, "unique_human_clicks": 50}
    for name in ("march", "april"):
        tables["workflow_metrics"] = pl.concat(
            [tables["workflow_metrics"], row("workflow_metrics", workflow_id=name, **once)]
        )
        tables["workflows"] = pl.concat([tables["workflows"], row("workflows", workflow_id=name, kind="campaign")])
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    listed = text.partition('id="workflows"')[2].partition("</section>")[0]
    assert 'href="campaigns.html"' in listed
    [(sent, _)] = raws(text.partition('<dl class="tiles">')[2])[:1]
    assert sum(raw for raw, shown in raws(listed) if shown in {"1,234", "1,010"}) == sent
    assert unfounded(text, tables, None) == []


def test_the_folder_of_the_pages_stays_with_what_others_keep_in_it(tmp_path: Path) -> None:
    """It may be a volume of its own, which can be neither renamed nor replaced."""
    folder = tmp_path / "reports"
    write_pages(account([("welcome", "Welcome"), ("other", "Other")]), [], folder, ADDRESS)
    (folder / "lost+found").mkdir()
    (folder / "notes.txt").write_text("of somebody else")
    volume = folder.stat().st_ino
    (folder / "index.html").write_text("damaged")
    write_pages(account([("welcome", "Welcome")]), [], folder, ADDRESS)
    assert folder.stat().st_ino == volume
    assert not (folder / file_name("other")).exists()
    assert "Welcome" in (folder / "index.html").read_text(encoding="utf-8")
    assert (folder / "notes.txt").read_text() == "of somebody else"
    assert list(tmp_path.iterdir()) == [folder]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"charts", "lost+found"}


def test_the_accounts_tiles_are_the_workflows_together(tmp_path: Path) -> None:
    write_pages(account([("welcome", "Welcome"), ("other", "Other")]), [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert (2_468.0, "2,468") in raws(text)
    assert (0.2, "20.0%") in raws(text)
    assert "480 of 2,400" in text


def test_what_a_flow_and_the_account_really_added_stand_beside_what_is_attributed(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    whole = tables["holdouts"].with_columns(workflow_id=pl.lit(None, pl.String))
    tables["holdouts"] = pl.concat([tables["holdouts"].filter(pl.col("workflow_id").is_not_null()), whole[:1]])
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    for name, told in ((file_name("welcome"), (640.0, "640 USD")), ("index.html", (800.0, "800 USD"))):
        text = (tmp_path / "reports" / name).read_text(encoding="utf-8")
        assert told in raws(text.partition('<dl class="tiles">')[2].partition("</dl>")[0])
        assert "revenue really added" in text


def test_a_flow_shows_its_journey_what_was_changed_and_what_is_probably_not_meant(pages: Path) -> None:
    text = html.unescape((pages / file_name("welcome")).read_text(encoding="utf-8"))
    journey = text.partition('<section id="journey"')[2].partition("</section>")[0]
    assert "Status: sending. Started by: signup. 107 started" in journey
    assert {(7.0, "7"), (100.0, "100"), (24.0, "24 h")} <= set(raws(journey))
    changed = text.partition('<section id="journey-changes"')[2].partition("</section>")[0]
    assert "2026-06-09" in changed
    assert "delay: 48 to 24" in changed
    assert "2026-06-01" not in changed
    assert "It is paused, and 7 people wait at it." in text


def test_what_starts_a_journey_is_told_as_people_say_it(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    trigger = pl.lit("tag_added: is_new or event: let_in or abandoned_cart or api")
    tables["journeys"] = tables["journeys"].with_columns(trigger=trigger)
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = html.unescape((tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8"))
    started = "the tag 'is_new' or the event 'let_in' or abandoned cart or a program that lets people in"
    assert f"Started by: {started}." in text


def test_a_flow_that_is_no_journey_has_no_section_of_one(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    none = {name: tables[name].clear() for name in ("journeys", "journey_lint")}
    write_pages({**tables, **none}, [], tmp_path / "reports", ADDRESS)
    assert 'id="journey' not in (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")


def test_a_decision_shows_its_promise_beside_what_it_brought(tmp_path: Path) -> None:
    kept, unmeasured, refused = (
        record(number, promised=promised, workflow_id="welcome", **more)
        for number, (promised, more) in enumerate(
            [(0.3, {}), (0.1, {}), (0.2, {"status": Status.REJECTED, "reason": "too soon"})]
        )
    )
    realised = {"realised_lift": 0.22, "realised_lift_low": 0.05, "realised_lift_high": 0.41, "outcome": "works"}
    counts = {"exposures": 8_100, "held_out_exposures": 900, "first_day": date(2026, 6, 2)}
    answer = {"answered_day": date(2026, 6, 20), "answered_lift": 0.24}
    answer |= {"answered_lift_low": 0.03, "answered_lift_high": 0.5}
    night = harm_done(optimization_id=kept.optimization_id, **realised, **counts, **answer)["realised_lift"]
    tables = {**account([("welcome", "Welcome")]), "realised_lift": night}
    write_pages(tables, [kept, unmeasured, refused], tmp_path / "reports", ADDRESS)
    text = html.unescape((tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8"))
    found = text.partition('<section id="decided"')[2].partition("</section>")[0]
    rows = [re.sub(r"<[^>]+>", "|", line) for line in re.findall(r"<tr>(.*?)</tr>", found)]
    [told] = [line for line in rows if "+30%" in line]
    assert "+22% (+5% to +41%): works" in told
    assert "on 2026-06-20: +24% (+3% to +50%)" in told
    assert "conversion of 8,100 with it and 900 kept out, since 2026-06-02" in told
    assert any("+10%" in line and "not measured" in line for line in rows)
    assert any("rejected" in line and "too soon" in line and "not measured" not in line for line in rows)
    assert f'href="{ADDRESS}/inbox/{kept.optimization_id}"' in found


def grid(text: str, section: str) -> list[tuple[str, str, str]]:
    """Class, raw value and text of the cells of a section's grid."""
    found = text.partition(f'<section id="{section}"')[2].partition("</section>")[0].partition('class="grid"')[2]
    cells = re.findall(r'<td class="([^"]*)"(?: data-raw="([^"]*)")?>([^<]*)<', found.partition("</table>")[0])
    return [(name.strip(), raw, told) for name, raw, told in cells if name.strip() or told]


def test_hours_are_shaded_by_their_rate_and_thin_ones_are_not(pages: Path) -> None:
    for page in (pages / file_name("welcome"), pages / "index.html"):
        text = page.read_text(encoding="utf-8")
        assert grid(text, "hours") == [("depth-6", "0.31", "31%"), ("depth-0", "0.12", "12%"), ("thin", "0.2", "20%")]
        assert "Highest: Tuesday from 8:00, 31.0% (26.0% to 36.0%)" in text


def test_hours_that_do_not_differ_make_no_picture(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    rates = {name: pl.lit(0.2) for name in ("shrunk_click_rate", "shrunk_click_rate_low", "shrunk_click_rate_high")}
    tables["engagement_hours"] = tables["engagement_hours"].with_columns(**rates)
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
    assert grid(text, "hours") == []
    assert "No hour differs from the others by more than chance does." in text


def test_open_weeks_of_a_cohort_are_projected_or_hidden(pages: Path) -> None:
    text = (pages / file_name("welcome")).read_text(encoding="utf-8")
    assert grid(text, "cohorts") == [("depth-6", "0.24", "24%"), ("projected", "0.36", "~36%"), ("masked", "", "")]


def test_a_name_is_text_whatever_it_holds(pages: Path) -> None:
    for page in pages.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text
        assert html.escape(WICKED, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text
        assert "49" not in re.findall(r"<h1><bdi>(.*?)</bdi>", text)[0]


def test_nothing_reaches_outside_and_no_style_is_inline(pages: Path) -> None:
    for page in pages.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        assert "style=" not in text
        linked = re.findall(r'(src|href)="((?:https?:)?//[^"]*)', text)
        assert {(kind, link.removeprefix(ADDRESS)[:7]) for kind, link in linked} <= {("href", "/"), ("href", "/inbox/")}


def test_every_figure_has_words_and_a_table(pages: Path) -> None:
    text = (pages / file_name("welcome")).read_text(encoding="utf-8")
    figures = re.findall(r'<svg[^>]*role="img" aria-label="([^"]+)"', text)
    assert len(figures) >= 2
    assert all(figures)
    assert text.count("<table") >= len(figures)


def test_unlike_workflows_have_unlike_files_of_plain_names() -> None:
    names = [file_name(one) for one in ("a/b", "a b", "../../x", "Ünïcode", "", "x" * 300)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"workflow-[a-z0-9-]*\.html", name) and len(name) < 80 for name in names)


def test_new_pages_replace_the_old_as_a_whole(pages: Path) -> None:
    (pages / "left-over.html").write_text("old")
    write_pages(account([("other", "Other")]), [], pages, ADDRESS)
    shown = [name for name in ("index.html", file_name("other")) for name in in_each_window(name)]
    names = {*shown, "style.css", CHARTS_FOLDER, DICTIONARY, METHODS}
    assert {path.name for path in pages.iterdir()} == names
    assert [path.name for path in pages.parent.iterdir()] == ["reports"]


def test_figures_that_stand_are_kept_by_pages_of_the_next_morning(pages: Path) -> None:
    page = pages / file_name("welcome")
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<svg", '<svg data-stood="yes"'), encoding="utf-8")
    write_pages(account([("welcome", WICKED)]), [], pages, ADDRESS)
    again = page.read_text(encoding="utf-8")
    assert again.count('data-stood="yes"') == text.count("<svg") > 0
