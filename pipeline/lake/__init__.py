"""What came in, as typed and immutable Parquet, and the keys that stand for people. Nothing is interpreted here."""
