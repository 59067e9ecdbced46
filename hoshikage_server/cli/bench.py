"""hoshikage bench: how fast a model is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from click.core import ParameterSource

from hoshikage_server.cli.completing import complete_model
from hoshikage_server.cli.model.listing import billions
from hoshikage_server.cli.output import print_json, table
from hoshikage_server.cli.progress import ProgressBar
from hoshikage_server.cli.words import command, json_option, option, say, warn_on_cpu
from hoshikage_server.engines.sampling import INT32_MAX
from hoshikage_server.settings import THREADS_MAX, load_settings

if TYPE_CHECKING:
    from hoshikage_server.cli.measuring import Report, Speed
    from hoshikage_server.engines.engine_spec import EngineSpec
    from hoshikage_server.registry.entry import ModelEntry
    from hoshikage_server.registry.model_map import ModelMap

_BUSY_CPUS = 0.25  # from here on a warning


def _layers(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """A number of layers, or one of two words."""
    if value is None or value in ("auto", "all"):
        return value
    if not value.isdecimal() or int(value) > INT32_MAX:
        raise click.BadParameter(say("cli_expected", what=say("bench_gpu_layers")), ctx, param)
    return int(value)


@command("bench", "cli_bench")
@click.argument("model", shell_complete=complete_model)
@option("--prompt", "n_prompt", type=click.IntRange(1, INT32_MAX), default=512, metavar="N", words="cli_bench_prompt")
@option("--decode", "n_decode", type=click.IntRange(1, INT32_MAX), default=128, metavar="N", words="cli_bench_decode")
@option("-r", "--repetitions", type=click.IntRange(1, 1000), default=5, metavar="N", words="cli_bench_repetitions")
@option("--threads", type=click.IntRange(1, THREADS_MAX), metavar="N", words="cli_bench_threads")
@option("--n-ctx", type=click.IntRange(1, INT32_MAX), metavar="N", words="cli_bench_n_ctx")
@option("--gpu-layers", callback=_layers, metavar="N|auto|all", words="cli_bench_gpu_layers")
@option("--tune", "tunes", is_flag=True, words="cli_bench_tune")
@json_option(words="cli_bench_json")
def bench(
    model: str,
    n_prompt: int,
    n_decode: int,
    repetitions: int,
    threads: int | None,
    n_ctx: int | None,
    gpu_layers: int | str | None,
    tunes: bool,
    is_json: bool,
) -> None:
    """Measures a model, or how it is fastest."""
    from hoshikage_server.cli.measuring import Task, measure
    from hoshikage_server.engines.spec import spec_of
    from hoshikage_server.registry import gguf_files
    from hoshikage_server.registry.model_map import ModelMap

    settings = load_settings()
    entry = gguf_files.find(ModelMap(settings.model_map), model)
    given = {"n_threads": threads, "n_ctx": n_ctx, "gpu_layers": gpu_layers, "parallel": 1}
    # Guesses would measure how easily a model's answer to random tokens is guessed.
    spec = msgspec.structs.replace(
        spec_of(entry, settings),
        guesses=False,
        draft_model=None,
        **{name: value for name, value in given.items() if value is not None},
    )
    if tunes:
        _require_own_tasks(click.get_current_context())
        _tune(ModelMap(settings.model_map), entry, spec, repetitions, is_json)
        return
    task = Task(n_prompt, n_decode, repetitions)
    with ProgressBar(say("bench_running")) as bar:
        report = measure(model, spec, task, lambda done: bar.tell(done / repetitions))
    if is_json:
        print_json(report)
    else:
        _show(report)


def _require_own_tasks(ctx: click.Context) -> None:
    """Tuning has tasks of its own."""
    for name, option_name in (("n_prompt", "--prompt"), ("n_decode", "--decode")):
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(say("options_exclude", one="--tune", other=option_name), ctx)


def _tune(models: ModelMap, entry: ModelEntry, spec: EngineSpec, repetitions: int, is_json: bool) -> None:
    """Measures whether guesses make it faster, and writes that to its entry."""
    from hoshikage_server.cli.tuning import tune

    with ProgressBar(say("bench_running")) as bar:
        tuning = tune(entry.id, spec, repetitions, lambda done: bar.tell(done / repetitions))
    is_registered = entry.id in models.entries()
    if is_registered:
        models.change(entry.id, {"speculation": tuning.speculation})
    if is_json:
        print_json(tuning)
        return
    headings = (say("bench_what"), say("bench_without"), say("bench_guessing"), say("bench_ratio"), say("bench_right"))
    rows = [
        (
            say(f"bench_task_{name}"),
            f"{task.without.median:.1f}",
            f"{task.guessing.median:.1f}",
            f"{task.ratio:.2f}",
            f"{task.n_accepted}/{task.n_drafted}",
        )
        for name, task in tuning.tasks.items()
    ]
    table(headings, rows, right=(1, 2, 3, 4))
    told = "bench_tuned" if is_registered else "bench_would_tune"
    click.echo(say(told, model=entry.id, speculation=tuning.speculation))
    _warn(tuning.busy_cpus)


def _show(report: Report) -> None:
    machine = say("bench_cores", cpu=report.cpu, cores=report.physical_cores, threads=report.n_threads)
    gpus = say("bench_gpu", gpus=", ".join(report.gpus), layers=f"{report.n_gpu_layers}/{report.n_layer + 1}")
    build = f"Hoshikage {report.version}, {report.backend}, llama.cpp {report.llama_cpp_commit[:10]}"
    kind = say("show_params", arch=report.arch, n=billions(report.n_params), layers=report.n_layer)
    told = say("comma").join((kind, report.quantisation, f"n_ctx {report.n_ctx}"))
    about = [
        (say("bench_model"), say("with_details", sentence=report.model, details=told)),
        (say("bench_machine"), machine),
        *([("", gpus)] if report.gpus else []),
        (say("bench_build"), build),
    ]
    table(("", ""), about)
    click.echo()
    headings = (say("bench_what"), say("bench_median"), say("bench_least"), say("bench_most"))
    rows = [
        (say("bench_prefill", n=report.task.n_prompt), *_figures(report.prefill)),
        (say("bench_decode", n=report.task.n_decode), *_figures(report.decode)),
    ]
    table(headings, rows, right=(1, 2, 3))
    if report.degraded:
        click.echo(say("status_degraded", steps=", ".join(report.degraded)), err=True)
    warn_on_cpu(report.no_gpu)
    _warn(report.busy_cpus)


def _warn(busy_cpus: float) -> None:
    if busy_cpus > _BUSY_CPUS:
        click.echo(say("bench_busy", n=f"{busy_cpus:.1f}"), err=True)


def _figures(speed: Speed) -> tuple[str, str, str]:
    return f"{speed.median:.1f}", f"{speed.least:.1f}", f"{speed.most:.1f}"
