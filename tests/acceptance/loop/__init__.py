"""Four loops, each from its first record to its realised lift, on the stand-in account whose truth is known."""
