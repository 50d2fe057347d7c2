"""The semantic file for BI tools: its own loader accepts it, and what it names stands in the published file."""

from pathlib import Path

import duckdb
import pytest
from dbt_semantic_interfaces.implementations.semantic_manifest import PydanticSemanticManifest
from dbt_semantic_interfaces.parsing.dir_to_model import parse_directory_of_yaml_files_to_semantic_manifest
from dbt_semantic_interfaces.validations.semantic_manifest_validator import SemanticManifestValidator

from pipeline.published.snapshot import SNAPSHOT_NAME
from tests.checkout import PROJECT_ROOT
from tests.worlds.publication import publish_all


@pytest.fixture(scope="module")
def manifest() -> PydanticSemanticManifest:
    read = parse_directory_of_yaml_files_to_semantic_manifest(str(PROJECT_ROOT / "docs" / "semantic"))
    assert read.issues.all_issues == ()
    return read.semantic_manifest


def test_the_loader_accepts_the_file(manifest: PydanticSemanticManifest) -> None:
    found = SemanticManifestValidator[PydanticSemanticManifest]().validate_semantic_manifest(manifest)
    assert [issue.as_readable_str() for issue in found.all_issues] == []
    assert {model.name for model in manifest.semantic_models} == {"steps_daily", "funnel"}
    assert "human_click_rate" in {metric.name for metric in manifest.metrics}


def test_every_column_that_it_names_is_published(manifest: PydanticSemanticManifest, tmp_path: Path) -> None:
    folder = publish_all(tmp_path, {})
    with duckdb.connect(str(folder / SNAPSHOT_NAME), read_only=True) as connection:
        for model in manifest.semantic_models:
            place = f"{model.node_relation.schema_name}.{model.node_relation.alias}"
            columns = set(connection.table(place).columns)
            named = {one.expr or one.name for one in (*model.entities, *model.dimensions, *model.measures)}
            assert named <= columns, place
        [spine] = manifest.project_configuration.time_spines
        calendar = f"{spine.node_relation.schema_name}.{spine.node_relation.alias}"
        assert spine.primary_column.name in connection.table(calendar).columns
