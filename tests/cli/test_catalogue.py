"""The generated parts of the README are those of today's code."""

from pipeline.cli.catalogue import with_sections
from tests.checkout import PROJECT_ROOT


def test_the_readme_shows_todays_graph_and_tables() -> None:
    readme = (PROJECT_ROOT / "README.md").read_text()
    assert with_sections(readme) == readme, "Run make docs."
