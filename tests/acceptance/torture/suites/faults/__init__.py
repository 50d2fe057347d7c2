"""Suites of faults of every kind: in what an application reads and writes, in what a pull reads, in whole nights."""
