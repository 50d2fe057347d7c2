"""What is noted of sources: of several notes of one night the last one counts, whatever it says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.lake.store import Lake
from pipeline.mailchimp.pulls.sources import SourceBook
from pipeline.mailchimp.windows import WindowState
from pipeline.schemas.lake import Sources
from tests.mailchimp.fake_account import NIGHT

Note = Callable[[SourceBook], None]


def noted(lake: Lake, *notes: Note) -> None:
    for note in notes:
        book = SourceBook(lake, WindowState(lake), NIGHT)
        note(book)
        book.write()


def read(left_out: int) -> Note:
    return lambda book: book.note_read("store", "shop", "Shop", announced=5, left_out=left_out)


def failed(book: SourceBook) -> None:
    book.note_failed("store", "shop", "Shop", "/x: 500")


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([read(0), read(3)], ("read", 3)),
        ([read(3), read(0)], ("read", 0)),
        ([read(0), failed], ("failed", 0)),
        ([failed, read(0)], ("read", 0)),
        ([read(0), failed, read(0)], ("read", 0)),
    ],
)
def test_the_last_note_of_a_night_counts(tmp_path: Path, notes: list[Note], expected: tuple[str, int]):
    lake = Lake(tmp_path)
    noted(lake, *notes)
    assert lake.latest(Sources).select("state", "left_out").collect().rows() == [expected]


def test_what_is_noted_again_is_no_news(tmp_path: Path):
    lake = Lake(tmp_path)
    noted(lake, read(2), read(2), read(2))
    assert lake.scan(Sources).collect().height == 1
