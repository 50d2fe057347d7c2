"""What readers may rely on: the published snapshot, its Parquet files, its manifest, and the data dictionary."""
