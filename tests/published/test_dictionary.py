import duckdb
import pytest

from pipeline.published.dictionary import data_dictionary
from pipeline.schemas import performance  # noqa: F401
from pipeline.schemas.base import Table, empty, identity, tables_of


@pytest.mark.parametrize("model", tables_of("marts"), ids=lambda model: identity(model).name)
def test_types_are_what_duckdb_makes_of_the_table(model: type[Table]):
    frame = empty(model)
    described = duckdb.sql("DESCRIBE SELECT * FROM frame").pl().select("column_name", "column_type").rows()
    assert data_dictionary([model]).select("column", "type").rows() == described
    assert frame.is_empty()


def test_every_column_of_every_table_has_a_meaning():
    dictionary = data_dictionary(tables_of("marts"))
    assert dictionary["table"].n_unique() == len(tables_of("marts"))
    assert dictionary["meaning"].str.len_chars().min() > 2
