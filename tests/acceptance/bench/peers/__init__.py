"""The same work by other engines, side by side with ours: each is optional, and a row says where one is not installed.

Every engine computes the four core reductions from the same Parquet files, and all figures must be equal.
"""
