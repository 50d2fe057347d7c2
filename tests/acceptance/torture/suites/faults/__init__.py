"""Suites of faults: of answers to what reads and writes an account, of event files, of disks, of whole nights."""
