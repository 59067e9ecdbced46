"""What every benchmark script shares: its command line, and the way from there to table, JSON and plot."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

try:
    from hoshikage_core import build_info
    from hoshikage_server.machine import physical_cores
except ImportError:
    sys.exit(f"error: hoshikage is not installed for {sys.executable}: run `make install` and use .venv/bin/python")

import report as reports_of

if TYPE_CHECKING:
    from oracle import Tools


def fail(reason: str) -> NoReturn:
    """Ends the script with one clear sentence."""
    sys.exit(f"error: {reason}")


@dataclass(frozen=True)
class Size:
    """An option of a script that says how much it does.

    Attributes:
        name: The option, without "--".
        default: A number, or several in a tuple; its type is the option's.
        quick: The same for --quick.
        help: What it is.
        least: The smallest that makes sense.
    """

    name: str
    default: Any
    quick: Any
    help: str
    least: float = 1


class Options(argparse.Namespace):
    """The command line; every `Size` is an attribute too.

    Attributes:
        model: A model's file, for scripts that need one.
        threads: Threads of whatever computes.
        repetitions: How often everything is measured.
        tools: llama-bench and llama-server; None where they are left out.
        build: What all candidates were built from.
    """

    model: Path
    threads: int
    repetitions: int
    tools: Tools | None
    build: Mapping[str, Any]
    sizes: tuple[str, ...]

    def settings(self, **more: object) -> dict[str, object]:
        """What was asked for, for a report's heading."""
        known = {"model": self.model.name, "threads": self.threads} if "model" in self else {}
        sizes = {name: getattr(self, name) for name in self.sizes}
        return {**known, **sizes, "repetitions": self.repetitions, **more}


def run(
    doc: str | None,
    measure: Callable[[Options], list[reports_of.Report]],
    *sizes: Size,
    repetitions: int,
    has_model: bool = True,
    has_peers: bool = True,
) -> None:
    """The whole of a script: reads the command line, measures, shows.

    Args:
        doc: The script's docstring, for --help.
        measure: Measures.
        sizes: The script's own options.
        repetitions: How often everything is measured unless told otherwise.
        has_model: Whether it needs a model.
        has_peers: Whether it compares with llama-bench or llama-server.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the servers end too
    options = _parse(doc, sizes, repetitions, has_model, has_peers)
    if options.plot:
        _check_plot_support()
    if has_model:
        options.model = _model(options.model)
    options.build = asdict(build_info())
    options.tools = None
    if has_peers and not options.no_peers:
        import oracle

        options.tools = oracle.build()
        options.build["peers"] = options.tools.description
    reports = measure(options)
    print(reports_of.text(reports))
    if options.json:
        reports_of.write_json(options.json, reports)
    if options.plot:
        reports_of.write_plot(options.plot, reports)


def rounds(options: Options, what: str = "repetition") -> Iterator[int]:
    """The numbers of the repetitions, from 1: 0 is for a round that does not count. Says after each that it is done."""
    for number in range(1, options.repetitions + 1):
        yield number
        progress(number, options, what)


def progress(done: int, options: Options, what: str = "repetition") -> None:
    """Says on stderr how far it is."""
    print(f"{what} {done} of {options.repetitions} done", file=sys.stderr)


def _parse(doc: str | None, sizes: tuple[Size, ...], repetitions: int, has_model: bool, has_peers: bool) -> Options:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if has_model:
        cores = physical_cores()
        parser.add_argument("--model", type=Path, help="a chat model (default: the demo model, fetched if need be)")
        parser.add_argument("--threads", type=_at_least(1, int), default=cores, help=f"default: cores ({cores})")
    for size in (*sizes, Size("repetitions", repetitions, 1, "how often everything is measured")):
        many = isinstance(size.default, tuple)
        defaults = " ".join(map(str, size.default)) if many else size.default
        parser.add_argument(
            f"--{size.name.replace('_', '-')}",
            type=_at_least(size.least, type(size.default[0] if many else size.default)),
            nargs="+" if many else None,
            help=f"{size.help} (default: {defaults})",
        )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not how fast it is")
    if has_peers:
        parser.add_argument("--no-peers", action="store_true", help="leave llama-bench and llama-server out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, samples included")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw medians and samples; needs matplotlib")
    options = parser.parse_args(namespace=Options())
    for size in (*sizes, Size("repetitions", repetitions, 1, "")):
        if getattr(options, size.name) is None:
            setattr(options, size.name, size.quick if options.quick else size.default)
    options.sizes = tuple(size.name for size in sizes)
    return options


def _at_least(least: float, number: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = number(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least:g}")
        return value

    convert.__name__ = "number"  # in argparse's message
    return convert


def _model(given: Path | None) -> Path:
    if given is None:
        from hoshikage_server.demo import demo_model_path
        from hoshikage_server.errors import ServerError

        try:
            return demo_model_path()
        except ServerError as error:
            fail(error.text("en"))
    if not given.is_file():
        fail(f"there is no model at {given}")
    return given.resolve()


def _check_plot_support() -> None:
    """Fails before minutes of measuring, not after them."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        fail("--plot needs matplotlib: pip install matplotlib")
