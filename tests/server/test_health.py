"""How long failures keep a model from being loaded."""

from __future__ import annotations

import msgspec
import pytest
from memory_engines import settings_of, spec_of

from hoshikage_server.engines.health import Health
from hoshikage_server.errors import EngineError

SETTINGS = settings_of(load_backoff=10.0, load_backoff_max=300.0, crash_limit=3, crash_window=60.0, crash_cooling=90.0)
SPEC = spec_of("a")


def fail(health: Health, now: float, version: int = 0) -> EngineError:
    error = EngineError("model_load_failed", model="a", reason="a reason")
    return health.on_failed_load(spec_of("a", version), error, now, SETTINGS)


def refusal(health: Health, now: float, version: int = 0) -> EngineError | None:
    return health.refusal("a", spec_of("a", version), now)


def test_the_pause_after_a_failed_load_doubles_up_to_a_maximum() -> None:
    """10 s, 20 s, ... 5 min; Retry-After says so."""
    health, now = Health(), 1000.0
    pauses = []
    for _ in range(8):
        told = fail(health, now)
        assert told.code == "model_load_failed"
        assert told.values["reason"] == "a reason"
        pauses.append(int(told.headers["Retry-After"]))
        now += pauses[-1]
        assert refusal(health, now - 0.01) is not None
        assert refusal(health, now) is None
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]


def test_the_pause_for_an_rpc_server_does_not_grow() -> None:
    """Who starts the worker, as the error says, is not refused for minutes after."""
    health = Health()
    for now in (1000.0, 1010.0, 1020.0):
        error = EngineError("rpc_server_failed", model="a", server="h:1", reason="a reason")
        assert health.on_failed_load(SPEC, error, now, SETTINGS).headers["Retry-After"] == "10"
    assert refusal(health, 1030.0) is None


def test_a_very_long_row_of_failures() -> None:
    """The doubling does not grow beyond what a number holds."""
    health = Health()
    for _ in range(2000):
        told = fail(health, 0.0)
    assert told.headers["Retry-After"] == "300"


def test_retry_after_counts_down() -> None:
    """In whole seconds, rounded up: who comes then is not refused again."""
    health = Health()
    fail(health, 1000.0)
    for now, seconds in ((1000.0, "10"), (1000.5, "10"), (1009.0, "1"), (1009.9, "1")):
        error = refusal(health, now)
        assert error is not None
        assert error.headers["Retry-After"] == seconds
    assert health.pause_s(1004.0) == 6


def test_another_file_is_tried_at_once() -> None:
    """The pause belongs to what failed; its row of failures begins anew with other content."""
    health = Health()
    for now in (0.0, 10.0, 30.0):
        fail(health, now)
    assert refusal(health, 31.0) is not None
    assert refusal(health, 31.0, version=1) is None
    assert fail(health, 31.0, version=1).headers["Retry-After"] == "10"


def test_a_load_that_goes_well_ends_the_row() -> None:
    """The next failure is a first one."""
    health = Health()
    fail(health, 0.0)
    fail(health, 10.0)
    health.on_loaded()
    assert refusal(health, 11.0) is None
    assert fail(health, 20.0).headers["Retry-After"] == "10"


def crash(health: Health, *times: float) -> None:
    for now in times:
        health.on_crash(now, SETTINGS)


def test_cooling_after_too_many_crashes() -> None:
    """Three within a minute, whatever file it is; Retry-After says until when."""
    health = Health()
    crash(health, 0.0, 30.0)
    assert refusal(health, 30.0) is None
    crash(health, 59.0)
    error = refusal(health, 60.0, version=7)
    assert error is not None
    assert (error.code, error.headers) == ("model_failed", {"Retry-After": "89"})
    assert refusal(health, 148.9) is not None
    assert refusal(health, 149.0) is None
    assert health.n_crashes == 3


def test_crashes_far_apart_do_no_harm() -> None:
    """Only those within the window count."""
    health = Health()
    crash(health, *(40.0 * i for i in range(50)))
    assert refusal(health, 40.0 * 49) is None
    assert health.n_crashes == 50


@pytest.mark.parametrize("crash_limit", [1, 25, 200])
def test_any_limit_is_reached(crash_limit: int) -> None:
    """However many crashes it takes, all within the window are remembered."""
    health, settings = Health(), msgspec.structs.replace(SETTINGS, crash_limit=crash_limit)
    for i in range(crash_limit):
        assert refusal(health, 1.0) is None, i
        health.on_crash(1.0, settings)
    assert refusal(health, 1.0) is not None


def test_a_load_that_goes_well_does_not_end_the_cooling() -> None:
    """It may well have been one before that."""
    health = Health()
    crash(health, 0.0, 1.0, 2.0)
    health.on_loaded()
    assert refusal(health, 3.0) is not None


def test_forgiving_forgets_everything_that_keeps_it() -> None:
    """And crashes before it do not count any more; how many there were is still told."""
    health = Health()
    fail(health, 0.0)
    crash(health, 0.0, 1.0, 2.0)
    health.forgive()
    assert refusal(health, 3.0) is None
    assert health.pause_s(3.0) == 0
    crash(health, 4.0, 5.0)
    assert refusal(health, 6.0) is None
    assert health.n_crashes == 5
