"""A small account with something for each of three nights, and what can go wrong in a night."""
