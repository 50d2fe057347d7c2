"""R12: names that are SQL, HTML, Markdown, formulas and paths, wherever a name comes in, through two nights."""

import json
import re
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import yaml

from pipeline.schemas.base import identity, tables_of
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.mailchimp.fake_account import NIGHT, FakeAccount, automation_email, click, member, opened
from tests.mailchimp.loopback import serve

PEOPLE = 40
FOREIGN = "evil.example"
# The name, and what it would be if it were more than text.
NAMES = {
    "SQL": ["'; DROP TABLE marts.steps; --", 'x"; DROP SCHEMA core CASCADE; --', "a' OR '1'='1",
            "$$; COPY steps TO 'x'; $$"],
    "HTML": [f"<img src=https://{FOREIGN}/p.png onerror=alert(1)>", "<script>alert(1)</script>", "</td></table><h1>x",
             "\" onmouseover=\"alert(1)", "{{ 7 * 7 }}", "javascript:alert(1)"],
    "Markdown": [f"![x](https://{FOREIGN}/p.png)", f"[x](https://{FOREIGN})", f"<https://{FOREIGN}>",
                 "| a | b |\n|--|--|"],
    "formula": ["=HYPERLINK(\"https://evil.example\")", "+1+cmd|' /C calc'!A0", "@SUM(1)", "-2+3"],
    "path": ["../../../../outside", "/etc/passwd", "..\\..\\outside", "C:\\outside", "a/../../b", "con", "x" * 200],
}  # fmt: skip
# What Dagster's records hold as Markdown, and hence show as more than text.
MARKDOWN = re.compile(rb'"md_str": "((?:[^"\\]|\\.)*)"')
ALL = [name for names in NAMES.values() for name in names]


def measure(quick: bool) -> Iterator[Row]:
    """An account, event files and definitions with such names; what came of them in tables, pages, files and the UI."""
    names = ALL[::3] if quick else ALL
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(_account(names).answer) as url:
        folder = Path(name)
        place = Installation(folder / "account", url)
        place.environment["DRIPTUNE_EVENTS"] = str(_events(folder / "events", names))
        _definitions(place.settings.definitions, names)
        before = _outside(folder, place)
        told = [place.nightly(NIGHT + timedelta(days=number)) for number in range(2)]
        greens = sum(code == 0 for code, _ in told)
        why = next((said.strip().splitlines()[-1] for code, said in told if code), "")
        yield Row("R12", f"{len(names)} names as SQL, HTML, Markdown, formula and path: nights that are green",
                  f"{greens} of 2 {why}".strip(), "2 of 2", greens == 2)  # fmt: skip
        yield _tables(place, names)
        pages = sorted(place.settings.reports_dir.glob("*.html"))
        found = [danger for page in pages for danger in dangers(page.read_text())]
        yield Row("R12", f"{len(pages)} pages: scripts, handlers, foreign addresses in markup",
                  f"{len(found)} {' '.join(found[:3])}".strip(), "0", bool(pages) and not found)  # fmt: skip
        yield _recorded(place)
        new = sorted(_outside(folder, place) - before)
        odd = [path.name for path in place.folder.rglob("*") if path.name[0] == "=" or set(path.name) & set("<>|\"'\\")]
        yield Row("R12", "files that a name put outside its folder, or that bear a name as it is",
                  f"{len(new) + len(odd)} {' '.join([*new, *odd][:3])}".strip(), "0", not new and not odd)  # fmt: skip
        planted = [name for name in NAMES["HTML"][:3] if dangers(f"<html><body><td>{name}</td></body></html>")]
        yield Row("R12", "the same search over three names that are planted in a page unescaped",
                  f"{len(planted)} found", "2 or more", len(planted) >= 2)  # fmt: skip


def dangers(page: str) -> list[str]:
    """What in a page runs, or leads elsewhere."""
    reader = _Reader()
    reader.feed(page)
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.found.append(tag)
        for name, value in attrs:
            place = urlsplit((value or "").strip())
            leads = name in ("href", "src", "srcset", "action", "xlink:href", "data", "style")
            is_foreign = FOREIGN in (value or "") or place.scheme not in ("", "http", "https", "data")
            if name.startswith("on") or (leads and is_foreign):
                self.found.append(f"{tag} {name}")


def _account(names: list[str]) -> FakeAccount:
    made = FakeAccount()
    made.members = [
        member(number, merge_fields={name: name, "PLAN": name}, tags=[{"name": name}], source=name, language=name)
        for number, name in zip(range(PEOPLE), names * PEOPLE, strict=False)
    ]
    made.found[""] = {"account_id": "acc", "account_name": names[0], "account_timezone": names[1]}
    made.found["/lists"][1][0]["name"] = names[0]  # type: ignore[index]
    for number, name in enumerate(names):
        sent = NIGHT - timedelta(days=number % 9)
        made.add_campaign(f"c{number}", list(range(PEOPLE)), f"{sent}T08:00:00+00:00")
        made.found["/campaigns"][1][-1]["settings"] = {"title": name, "subject_line": name}  # type: ignore[index]
        for person in range(0, PEOPLE, 4):
            made.add_activity(f"c{number}", person, opened(f"{sent}T09:00:00+00:00"))
            made.add_activity(f"c{number}", person, click(f"{sent}T09:01:00+00:00", name))
    made.add_automation("auto", automation_email("one", 1), settings={"title": names[-1]})
    made.add_store("shop")
    made.found["/ecommerce/stores"][1][0]["name"] = names[2]  # type: ignore[index]
    return made


def _events(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    rows = []
    for number, name in enumerate(names):
        for person in range(PEOPLE):
            moment = f"{NIGHT - timedelta(days=20)}T{person % 24:02d}:00:00Z"
            told = {"subscriber": f"person-{person}@example.com", "occurred_at": moment, "workflow_id": _line(name)}
            rows.append({**told, "event_id": f"{number}-{person}", "event_type": "entry"})
            rows.append({**told, "event_id": f"{number}-{person}s", "event_type": "step_entered", "step_id": "two"})
            left = {"event_type": "exit", "reason": _line(name), name: name}
            rows.append({**told, "event_id": f"{number}-{person}x", **left})
    (folder / "=cmd|x'; DROP TABLE y; --.ndjson").write_text("\n".join(map(json.dumps, rows)))
    return folder


def _definitions(folder: Path, names: list[str]) -> None:
    """A flow for each name, of two steps that are called so, too."""
    folder.mkdir(parents=True)
    flows = [
        {"id": _line(name), "name": _line(name), "steps": [{"id": _line(name)}, {"id": "two", "delay": "2 days"}]}
        for name in names
    ]
    (folder / "flows.yaml").write_text(yaml.safe_dump({"flows": flows}, allow_unicode=True))


def _line(name: str) -> str:
    """A name of the user's own is one line."""
    return " ".join(name.split())


def _tables(place: Installation, names: list[str]) -> Row:
    """Every mart stands, and the names are in it as they were written."""
    folder = place.settings.published_dir / "parquet"
    marts = {identity(model).name for model in tables_of("marts")}
    lost = sorted(marts - {path.stem for path in folder.glob("*.parquet")})
    flows = set(pl.read_parquet(folder / "workflows.parquet")["workflow_id"]) if folder.exists() else set()
    changed = [name for name in names if _line(name) not in flows]
    reached = f"{len(lost)} tables lost, {len(changed)} names changed"
    return Row("R12", f"{len(marts)} tables, with {len(names)} workflows of such names", reached, "0, 0",
               not lost and not changed)  # fmt: skip


def _recorded(place: Installation) -> Row:
    """Markdown that Dagster's UI would render as an image, a link or HTML of a name's. Other texts it shows as text."""
    marks = [f"![x](https://{FOREIGN}", f"[x](https://{FOREIGN}", f"<img src=https://{FOREIGN}", f"<https://{FOREIGN}"]
    files = [path.read_bytes() for path in place.settings.dagster_home.rglob("*") if path.is_file()]
    kept = b"".join(text for file in files for text in MARKDOWN.findall(file))
    found = [mark for mark in marks if mark.encode() in kept]
    escaped = kept.count(rb"evil\\.example")
    return Row("R12", f"Markdown in Dagster's records, in which such a name stands escaped {escaped} times: unescaped",
               f"{len(found)} {' '.join(found)}".strip(), "0", not found and escaped > 0)  # fmt: skip


def _outside(folder: Path, place: Installation) -> set[str]:
    """Files that are not of the installation."""
    return {str(path) for path in folder.rglob("*") if path.is_file() and place.folder not in path.parents}
