"""How conversion depends on the delay between two steps, and which delay to prefer."""
