"""Every engine that computes the core reductions, by the name that a task is given."""

from tests.acceptance.bench.peers import in_chdb, in_duckdb, in_pandas, in_polars, in_postgresql, in_spark
from tests.acceptance.bench.peers.engine import Engine

ENGINES: dict[str, Engine] = {
    "ours": in_duckdb.PRODUCT,
    "duckdb": in_duckdb.NATIVE,
    "decoding": in_duckdb.DECODING,
    "polars": in_polars.ENGINE,
    "chdb": in_chdb.ENGINE,
    "pandas": in_pandas.ENGINE,
    "postgresql": in_postgresql.ENGINE,
    "spark": in_spark.LOCAL,
    "spark_cluster": in_spark.CLUSTER,
}
