"""The example queries of the documentation, as a person would paste them."""

import duckdb

from tests.checkout import PROJECT_ROOT

PLACE = "data/published/email_warehouse.duckdb"


def documented_queries() -> tuple[str, list[str]]:
    """The statements that open the published file at `PLACE`, and the queries after them."""
    page = (PROJECT_ROOT / "docs" / "recipes.md").read_text()
    block = page.partition("<!-- queries -->\n```sql\n")[2].partition("```")[0]
    statements = [one.query for one in duckdb.extract_statements(block)]
    opening = [text for text in statements if "ATTACH" in text or text.lstrip().startswith("USE")]
    return ";".join(opening), [text for text in statements if text not in opening]
