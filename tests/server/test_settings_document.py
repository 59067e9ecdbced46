"""docs/settings.md against the settings there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import NEEDS_RESTART, PREFIX, Settings, build_settings

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(HOSHIKAGE_\w+)` \| ?(\S*) \| ?(\S*) \| \S.* \|$", re.MULTILINE)
ROWS = {name: (default.strip("`"), restart) for name, default, restart in ROW.findall(DOCUMENT)}


def test_every_setting_has_its_row_and_in_order() -> None:
    """No other, either."""
    assert list(ROWS) == [PREFIX + name.upper() for name in Settings.__struct_fields__]


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_a_row(field: msgspec.structs.FieldInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of the default is what no setting gives; of the restart, what the server does."""
    monkeypatch.setenv("HOME", "/home/me")
    default, restart = ROWS[PREFIX + field.name.upper()]
    documented = {PREFIX + field.name.upper(): default} if default else {}
    assert getattr(build_settings(documented), field.name) == getattr(build_settings({}), field.name)
    assert bool(default) is (getattr(build_settings({}), field.name) not in (None, ()))
    assert restart == ("yes" if field.name in NEEDS_RESTART else "")


def test_the_entry_of_a_model(tmp_path: Path) -> None:
    """It is read as the text around it says."""
    (sample,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "map.json").write_text(sample)
    entry = ModelMap(tmp_path / "map.json").entries()["my-model"]
    assert (entry.given.idle_timeout, entry.given.degrade) == (3600, True)
    assert json.loads(sample).keys() == {"my-model"}
