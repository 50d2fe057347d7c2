"""What could be won, over all analyses, in one unit and one ranking."""
