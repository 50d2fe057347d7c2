"""Where the checkout stands whose files the tests read."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
