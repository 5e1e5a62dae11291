"""What the benchmarks share: sides that run in processes of their own, timed turn by turn.

A *side* is a class. Its constructor takes the data file, imports what it needs and loads the
data; ``run()`` is what the clock sees; ``figures(result)`` turns a result into plain numbers for
the accuracy tables, outside the clock. The process that starts the sides imports nothing large:
a child's peak memory as the system counts it begins at that of its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Protocol

Figures = dict[str, dict[str, float]]
"""Column -> channel -> number."""

_spawn = multiprocessing.get_context("spawn")


class Side(Protocol):
    """One contestant; see the module's docstring."""

    def run(self) -> Any:
        """Do what is timed and return the result."""

    def figures(self, result: Any) -> Figures:
        """Turn a result into numbers to check."""


@dataclass
class Measurement:
    """What one side took. Seconds per timed run, memory in MB."""

    seconds: list[float] = field(default_factory=list)
    baseline: float = float("nan")
    """Peak memory after imports and data, before the first run."""
    peak: float = float("nan")
    """Peak memory after the last timed run."""
    figures: Figures = field(default_factory=dict)
    error: str | None = None

    @property
    def median(self) -> float:
        """Median seconds; NaN if the side failed, at whatever point."""
        return float("nan") if self.error else median(self.seconds)


class SideError(Exception):
    """A side raised or its process ended; the message is the error's first line."""


class Worker:
    """A side in a process of its own, which does one thing at a time when asked."""

    def __init__(self, side: Callable[[str], Side], data: str) -> None:
        self._connection, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, side, data), daemon=True)
        self._process.start()
        theirs.close()

    def answer(self) -> Any:
        """Wait for the answer to the last question."""
        try:
            error, answer = self._connection.recv()
        except EOFError:
            self._process.join()
            error = f"the process ended with exit code {self._process.exitcode}"
        if error is not None:
            raise SideError(error)
        return answer

    def ask(self, question: str) -> Any:
        """Ask for "run" (seconds), "peak" (MB) or "figures" (of the last run)."""
        with suppress(BrokenPipeError):  # answer() says that the process has ended
            self._connection.send(question)
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, side_class: Callable[[str], Side], data: str) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # some peers print
    try:
        side = side_class(data)
        connection.send((None, None))
        result = None
        while True:
            question = connection.recv()
            if question == "run":
                result = None
                start = time.perf_counter()
                result = side.run()
                answer: Any = time.perf_counter() - start
            elif question == "peak":
                answer = peak_memory()
            else:
                answer = side.figures(result)
            connection.send((None, answer))
    except EOFError:
        return
    except Exception as error:  # a peer may fail in any way; the table says how
        lines = str(error).strip().splitlines() or [""]
        connection.send((f"{type(error).__name__}: {lines[0]}", None))


def peak_memory() -> float:
    """Return the peak resident memory of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(
    sides: Mapping[str, Callable[[str], Side]],
    data: str | Mapping[str, str],
    *,
    repeats: int,
    figures: bool = True,
) -> dict[str, Measurement]:
    """Time all sides, in turns (A B A B), after one run of each to warm up.

    ``data`` is the file for all, or one file per side. A side that fails drops out, with the
    error in its measurement.
    """
    measurements = {name: Measurement() for name in sides}
    workers: dict[str, Worker] = {}

    def each(step: Callable[[Worker, Measurement], None]) -> None:
        for name, worker in workers.items():
            if measurements[name].error is None:
                try:
                    step(worker, measurements[name])
                except SideError as failure:
                    measurements[name].error = str(failure)

    def begin(worker: Worker, measurement: Measurement) -> None:
        worker.answer()
        measurement.baseline = worker.ask("peak")
        worker.ask("run")

    def time_once(worker: Worker, measurement: Measurement) -> None:
        measurement.seconds.append(worker.ask("run"))

    def finish(worker: Worker, measurement: Measurement) -> None:
        measurement.peak = worker.ask("peak")
        if figures:
            measurement.figures = worker.ask("figures")

    try:
        for name, side in sides.items():
            workers[name] = Worker(side, data if isinstance(data, str) else data[name])
        each(begin)
        for _ in range(repeats):
            each(time_once)
        each(finish)
    finally:
        for worker in workers.values():
            worker.close()
    return measurements


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function(*arguments)`` in a process of its own, so that this one stays small."""
    with _spawn.Pool(1) as pool:
        result = pool.apply(function, arguments)
        pool.close()
        pool.join()
    return result


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a markdown table: the first column flush left, the others right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def environment(packages: Iterable[str]) -> str:
    """Describe the machine and the versions in one line, for above the tables."""
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    python = f"Python {platform.python_version()}"
    return ", ".join([python, f"{os.cpu_count()} cores", platform.machine(), *versions])
