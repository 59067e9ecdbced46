"""Settings from the environment and hoshikage.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoshikage_server.errors import SettingsError
from hoshikage_server.settings import build_settings, is_loopback, language


def test_defaults(tmp_path: Path) -> None:
    """DESIGN.md's contract."""
    settings = build_settings({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "c")})
    assert (settings.host, settings.port, settings.n_ctx, settings.parallel) == ("127.0.0.1", 3030, 4096, 1)
    assert (settings.queue_timeout, settings.max_queue, settings.lang) == (180, 64, "ja")
    assert settings.gpu_layers == "auto"
    assert settings.model_map == tmp_path / "c" / "hoshikage" / "model_map.json"


def test_folders(tmp_path: Path) -> None:
    """The variable of our own, else the desktop's, else the home."""
    environ = {"XDG_CACHE_HOME": str(tmp_path), "HOSHIKAGE_CONFIG_DIR": str(tmp_path / "own")}
    assert build_settings(environ).cache_dir == tmp_path / "hoshikage"
    assert build_settings(environ).model_map == tmp_path / "own" / "model_map.json"
    assert build_settings(environ | {"HOSHIKAGE_MODEL_MAP": "/x/y.json"}).model_map == Path("/x/y.json")


def test_values_are_typed(tmp_path: Path) -> None:
    """Text becomes what the field is."""
    environ = {
        "HOSHIKAGE_CONFIG_DIR": str(tmp_path),
        "HOSHIKAGE_GPU_LAYERS": "12",
        "HOSHIKAGE_THREADS": "3",
        "HOSHIKAGE_API_KEYS": "one, two,,",
        "HOSHIKAGE_QUEUE_TIMEOUT": "2.5",
        "HOSHIKAGE_TENSOR_SPLIT": "3, 1.5",
        "HOSHIKAGE_FLASH_ATTENTION": "0",
    }
    settings = build_settings(environ)
    assert settings.gpu_layers == 12
    assert settings.threads == 3
    assert settings.api_keys == ("one", "two")
    assert settings.queue_timeout == 2.5
    assert settings.tensor_split == (3, 1.5)
    assert settings.flash_attention is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "70000"),
        ("LANG", "fr"),
        ("N_CTX", "0"),
        ("GPU_LAYERS", "many"),
        ("GPU_LAYERS", "-3"),
        ("GPU_LAYERS", str(2**64)),
        ("PARALLEL", "0"),
        ("TENSOR_SPLIT", "3,x"),
        ("TENSOR_SPLIT", "3,-1"),
        ("TENSOR_SPLIT", ",".join("1" * 17)),
        ("MAIN_GPU", "-1"),
        ("SPLIT_MODE", "row"),
        ("FLASH_ATTENTION", "2"),
        ("KV_TYPE", "q3"),
        ("THREADS", "513"),
        ("QUEUE_TIMEOUT", "-1"),
        ("QUEUE_TIMEOUT", "nan"),
        ("MAX_BODY", "1.5"),
        ("CACHE_DIR", "~no-such-user/x"),
        ("MODEL_MAP", "~no-such-user/x"),
    ],
)
def test_a_bad_value_names_its_variable(tmp_path: Path, name: str, value: str) -> None:
    """So that a person knows what to change."""
    with pytest.raises(SettingsError, match=f"HOSHIKAGE_{name}"):
        build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path), f"HOSHIKAGE_{name}": value})


@pytest.mark.parametrize(
    ("name", "value", "en", "ja"),
    [
        ("PORT", "70000", "it must be a whole number from 0 to 65535", "0 以上 65535 以下の整数"),
        ("MAX_BODY", "1.5", "it must be a whole number of at least 1024", "1024 以上の整数"),
        ("QUEUE_TIMEOUT", "-1", "it must be a number above 0 and up to 86400", "0 より大きく 86400 以下の数値"),
        ("LANG", "fr", "it must be one of en, ja", "次のどれかにしてください: en, ja"),
        (
            "GPU_LAYERS",
            "-3",
            "a whole number from 0 to 2147483647, or one of all, auto",
            "2147483647 以下の整数か、次のどれか",
        ),
        (
            "TENSOR_SPLIT",
            "3,x",
            "it must be a list of numbers from 0 to 1000000000",
            "0 以上 1000000000 以下の数値の一覧",
        ),
        ("DEGRADE", "maybe", "it must be 0 or 1", "0か1に"),
    ],
)
def test_a_bad_value_is_told_in_both_languages(tmp_path: Path, name: str, value: str, en: str, ja: str) -> None:
    """What it may be, not what a library says of it; the value is not told, as it may be a key."""
    with pytest.raises(SettingsError) as caught:
        build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path), f"HOSHIKAGE_{name}": value})
    assert en in caught.value.text("en")
    assert ja in caught.value.text("ja")
    assert "Expected" not in caught.value.text("ja")


def test_file_environment_and_command_line(tmp_path: Path) -> None:
    """Each wins over the one before."""
    (tmp_path / "hoshikage.toml").write_text('port = 1\nn_ctx = 1\nlang = "en"\napi_keys = ["k"]\n')
    environ = {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_PORT": "2", "HOSHIKAGE_N_CTX": "2"}
    settings = build_settings(environ, {"port": 3})
    assert (settings.lang, settings.n_ctx, settings.port, settings.api_keys) == ("en", 2, 3, ("k",))


def test_a_folder_of_nobody_is_named(tmp_path: Path) -> None:
    """Also where the language of the error would be read from it."""
    environ = {"HOSHIKAGE_CONFIG_DIR": "~no-such-user/x"}
    with pytest.raises(SettingsError, match="HOSHIKAGE_CONFIG_DIR"):
        build_settings(environ)
    assert language(environ) == "ja"


@pytest.mark.parametrize("text", ["port = 'x'", "prot = 1", "port =", "port = 99999999", "config_dir = '/x'"])
def test_a_bad_file_is_an_error(tmp_path: Path, text: str) -> None:
    """Also a name that does not exist: a typo would otherwise do nothing."""
    (tmp_path / "hoshikage.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"hoshikage\.toml"):
        build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "variable", "expected"),
    [
        ('lang = "en"\nport = "x"', "", "en"),
        ('lang = "en"', "ja", "ja"),
        ("lang =", "", "ja"),
        ("lang =", "en", "en"),
        ("lang = 1", "fr", "ja"),
        ('lang = "en"', "fr", "en"),
        ("lang = []", "", "ja"),
    ],
)
def test_the_language_is_known_whatever_is_wrong(tmp_path: Path, text: str, variable: str, expected: str) -> None:
    """The error about the rest is told in it."""
    (tmp_path / "hoshikage.toml").write_text(text)
    assert language({"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_LANG": variable}) == expected


def test_keys_are_not_shown(tmp_path: Path) -> None:
    """Neither by `hoshikage config` nor by an error."""
    environ = {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_API_KEYS": "secret"}
    assert "secret" not in str(build_settings(environ).public())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("unix:/run/x", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """A name that is not known to be this machine only counts as open."""
    assert is_loopback(host) is expected
