"""What came in, as typed Parquet files that never change, and the keys that stand for people."""
