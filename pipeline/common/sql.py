"""Text inside SQL statements, where a parameter cannot stand: paths of files, comments, names of columns."""


def literal(text: str) -> str:
    """A text as SQL writes it, between single quotes."""
    return "'" + text.replace("'", "''") + "'"
