"""What assets are given to work with. No statistics belong here."""
