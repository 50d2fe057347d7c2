"""Which nights are out of line: baselines, alarms, incidents."""
