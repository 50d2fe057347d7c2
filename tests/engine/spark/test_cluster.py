"""What a cluster that cannot be used is told in: one sentence, which says what to do."""

import socket
import sys
from pathlib import Path

import pytest

from pipeline.common.errors import ConfigurationError, UnavailableError
from pipeline.engine.spark import open_cluster


def test_without_the_client_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql.connect.session", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'driptune\[spark\]'"), open_cluster("sc://h", tmp_path):
        pass


def test_an_absent_cluster_is_told_by_its_address_and_without_its_token(tmp_path: Path):
    pytest.importorskip("pyspark.sql.connect.session", reason="Spark's client is not installed: make spark")
    with socket.socket() as held:
        # Bound and not listening: nothing answers there, and nobody else can take the port.
        held.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(UnavailableError) as told, open_cluster(f"sc://{place}/;token=hush", tmp_path / "exchange"):
            pass
    assert f"nothing answers at {place}" in str(told.value)
    assert "The last publication is untouched" in str(told.value)
    assert "hush" not in str(told.value)
    assert not (tmp_path / "exchange").exists()
