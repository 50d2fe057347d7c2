"""The user's event files: found, read, checked row by row, and appended to the lake."""
