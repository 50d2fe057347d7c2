"""Which cohorts convert differently, compared at the ages they have reached."""
