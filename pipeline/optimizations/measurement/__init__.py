"""How a change is measured: the plan before anybody approves it, and the nights after it was applied."""
