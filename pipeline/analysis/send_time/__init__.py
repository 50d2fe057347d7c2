"""When each subscriber should be mailed, and how far that can be known."""
