"""What the targets of the Makefile run can at least be loaded: they are not part of the suite themselves."""

import importlib
import pkgutil

import pytest

from tests import acceptance

MODULES = [
    module.name
    for module in pkgutil.walk_packages(acceptance.__path__, f"{acceptance.__name__}.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("module", MODULES)
def test_a_target_can_be_loaded(module: str) -> None:
    importlib.import_module(module)
