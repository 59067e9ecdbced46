"""Settings that are read again while the server runs."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import hoshikage_server
from hoshikage_server.serving import check_addresses
from hoshikage_server.settings import NEEDS_RESTART, LiveSettings, Settings, build_settings


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "hoshikage.toml"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "hoshikage_server.settings")
    return caplog


def live_settings(toml: Path, **overrides: object) -> LiveSettings:
    def read() -> Settings:
        return build_settings({"HOSHIKAGE_CONFIG_DIR": str(toml.parent), "HOSHIKAGE_THREADS": "3"}, overrides)

    return LiveSettings(read(), read)


def test_what_changes_is_in_effect_and_in_the_log(toml: Path, log: pytest.LogCaptureFixture) -> None:
    """One line, with the new values; no key is in it."""
    live = live_settings(toml)
    toml.write_text('idle_timeout = 20\napi_keys = ["secret"]\nlang = "en"\n')
    live.reread()
    assert (live.now.idle_timeout, live.now.api_keys, live.now.lang) == (20, ("secret",), "en")
    [message] = log.messages
    assert "changed: lang=en, api_keys=['***'], idle_timeout=20.0; after a restart: nothing" in message


def test_what_the_server_is_built_on_stays(toml: Path, log: pytest.LogCaptureFixture) -> None:
    """It is named as what a restart would change."""
    live = live_settings(toml)
    toml.write_text('port = 99\nmodel_map = "/x/y.json"\nn_ctx = 512\n')
    live.reread()
    assert (live.now.port, live.now.n_ctx) == (3030, 512)
    assert live.now.model_map == toml.parent / "model_map.json"
    assert "changed: n_ctx=512; after a restart: port=99, model_map=/x/y.json" in log.text


def test_environment_and_command_line_still_win(toml: Path, log: pytest.LogCaptureFixture) -> None:
    """As they did at the start."""
    live = live_settings(toml, n_ctx=7)
    toml.write_text("n_ctx = 8\nthreads = 8\n")
    live.reread()
    assert (live.now.n_ctx, live.now.threads) == (7, 3)
    assert "changed: nothing; after a restart: nothing" in log.text


@pytest.mark.parametrize("text", ["n_ctx =", "n_ctx = 0", "no_such_setting = 1", "port = 'x'", "\0"])
def test_what_cannot_be_used_changes_nothing(toml: Path, log: pytest.LogCaptureFixture, text: str) -> None:
    """Not even the good values beside it."""
    live = live_settings(toml)
    before = live.now
    toml.write_text(f"idle_timeout = 20\n{text}\n")
    live.reread()
    assert live.now is before
    assert [record.levelno for record in log.records] == [logging.ERROR]
    assert "hoshikage.toml" in log.text


def test_keys_are_not_taken_from_a_server_that_others_reach(toml: Path, log: pytest.LogCaptureFixture) -> None:
    """The rule of the start holds, for where gunicorn listens in fact."""
    toml.write_text('api_keys = ["k"]')
    live = live_settings(toml)
    toml.write_text("idle_timeout = 20")
    for address, is_refused in ((("0.0.0.0", 1), True), (("127.0.0.1", 1), False), ("/run/socket", False)):
        config = SimpleNamespace(address=[("127.0.0.1", 1), address])
        live.reread(lambda new, config=config: check_addresses(config, new))  # type: ignore[misc]
        assert (live.now.api_keys == ("k",)) is is_refused
        assert ("HOSHIKAGE_API_KEYS" in log.text) is is_refused
        log.clear()


def test_listeners_are_told_after_each_exchange(toml: Path) -> None:
    """Not of one that failed."""
    live = live_settings(toml)
    seen: list[int] = []
    live.on_change(lambda: seen.append(live.now.n_ctx))
    for text in ("n_ctx = 1", "n_ctx =", "n_ctx = 2"):
        toml.write_text(text)
        live.reread()
    assert seen == [1, 2]


def test_every_setting_is_used() -> None:
    """One that is parsed and then ignored would be a promise nobody keeps."""
    folder = Path(hoshikage_server.__file__).parent
    source = "".join(path.read_text() for path in folder.rglob("*.py") if path.name != "settings.py")
    unused = [name for name in Settings.__struct_fields__ if not re.search(rf"\.{name}\b", source)]
    assert unused == []
    assert set(NEEDS_RESTART) < set(Settings.__struct_fields__)
