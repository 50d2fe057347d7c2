"""What people read: the morning in about ten lines, and the pages. Every number comes from a published table."""

from pipeline.schemas.vocabulary import Window

WINDOW: Window = "28d"
"""The days of mail that the digest tells, and that a page tells without being asked for others."""
