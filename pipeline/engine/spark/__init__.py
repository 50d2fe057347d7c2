"""Runs the models of `sql/` on a Spark cluster, through Spark Connect. Nothing else imports pyspark."""

from pipeline.engine.spark.cluster import Cluster, open_cluster
from pipeline.engine.spark.dialect import spark_sql
from pipeline.engine.spark.execution import SparkExecution

__all__ = ["Cluster", "SparkExecution", "open_cluster", "spark_sql"]
