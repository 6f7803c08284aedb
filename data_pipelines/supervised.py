"""Runs a function in child processes that may hang, crash or run out of memory without taking the run with them.

Decoders are C code fed with files from anywhere. A child that dies or overruns its deadline loses exactly the task
it was on; a new child takes its place. If the kernel killed it, memory may have run out through no fault of the task,
which is then tried once more.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_LOOK_AHEAD = 16
"""Tasks a worker that may be finished before an earlier one is, so that one slow task doesn't stop the others."""
_KILL_AFTER_S = 30.0
"""A child ends itself so long after its deadline, should the parent be gone by then and the kernel not be Linux."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Failure:
    """Why a task has no result.

    Attributes:
        reason: ``timeout``, ``crashed``, ``out_of_memory``, or ``exception`` (the function raised).
        error_class: the exception's class name, or the signal's name for a child that was killed.
        message: one line for people.
    """

    reason: str
    error_class: str
    message: str


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of one task: its result, or a failure."""

    result: Result | None
    failure: Failure | None
    elapsed_s: float


def _serve(pipe: Connection, function: Callable[[Any], Any], memory_bytes: int, deadline_s: float) -> None:
    """Main loop of a child: receive a task, send ``(result, failure)``, until the parent hangs up."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its children
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send(None)  # ready: deadlines don't count the start of the interpreter
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, deadline_s + _KILL_AFTER_S)
        try:
            answer = pickle.dumps((function(task), None))
        except MemoryError:
            message = f"more than {memory_bytes / 2**20:.0f} MiB of memory were needed"
            answer = pickle.dumps((None, Failure("out_of_memory", "MemoryError", message)))
        except Exception as error:
            answer = pickle.dumps((None, Failure("exception", type(error).__name__, str(error))))
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send_bytes(answer)
        except BrokenPipeError:
            return


def _end_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, however it dies and whatever this process is at.

    On Linux, "parent" is the thread that started it: pools are used from a thread that lives as long as they do.
    """
    parent = multiprocessing.parent_process()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent.pid:  # it died before the kernel was told
        os._exit(1)


@contextlib.contextmanager
def _interrupt_waits() -> Iterator[None]:
    """Ctrl-C counts only after the block: in the middle of a start, it would leave a child that waits for its orders.

    A child that starts in the block leaves Ctrl-C to its parent from its first instruction on, as it inherits the mask.
    """
    if threading.current_thread() is not threading.main_thread():  # Python gives Ctrl-C to the main thread alone
        yield
        return
    interrupts: list[int] = []
    # The mask is not enough: another thread (of a progress bar, say) may take the signal and pass it on.
    handler = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt


class _Child:
    """One child process and the task that it is on."""

    def __init__(self, function: Callable[[Any], Any], memory_bytes: int, deadline_s: float) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of the parent's state, and no torch
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, function, memory_bytes, deadline_s)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.number: int | None = None
        self.task: Any = None
        self.started = time.monotonic()
        self.tasks_done = 0

    def give(self, number: int, task: Any) -> None:
        self.number, self.task = number, task
        self.started = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it died while idle: noticed as a crash on this task
            self.pipe.send(task)

    def kill(self) -> int:
        """End the child; its exit code, negative for a signal."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        self.process.close()
        return 0 if code is None else code


def _death(code: int) -> Failure:
    """What an exit code that we didn't cause tells."""
    if code >= 0:
        return Failure("crashed", f"exit {code}", f"the process ended by itself with status {code}")
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        return Failure("out_of_memory", name, "the process was killed twice, most likely because memory ran out")
    if -code == signal.SIGALRM:
        return Failure("timeout", name, "the process overran its deadline")
    return Failure("crashed", name, f"the process crashed with {name}")


class SupervisedPool(Generic[Task, Result]):
    """Child processes that apply ``function`` to tasks. A context manager: the children end with the block.

    Args:
        function: picklable; it runs in a fresh interpreter (spawn), which imports its module.
        workers: number of children, at least 1.
        timeout_s: wall-clock seconds that one task may take.
        memory_bytes: limit of a child's address space.
        recycle_after: a child is replaced after so many tasks, so that leaks of decoders stay small.
    """

    def __init__(
        self,
        function: Callable[[Task], Result],
        *,
        workers: int,
        timeout_s: float,
        memory_bytes: int,
        recycle_after: int,
    ) -> None:
        if workers < 1 or recycle_after < 1 or timeout_s <= 0:
            raise ValueError(f"impossible pool: {workers=}, {recycle_after=}, {timeout_s=}")
        self._function = function
        self._workers = workers
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._recycle_after = recycle_after
        self._children: list[_Child] = []
        self._again: dict[int, Task] = {}  # tasks whose child was killed, by number, that no child has yet
        self._killed: set[int] = set()  # numbers of these, for good

    def __enter__(self) -> "SupervisedPool[Task, Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._children:
            self._children.pop().kill()

    def map(self, tasks: Iterable[Task]) -> Iterator[Outcome[Result]]:
        """The outcome of every task, in the order of ``tasks``, as soon as it and all before it are known.

        Raises:
            RuntimeError: if a child can't even start (the function's module can't be imported, say).
        """
        waiting = enumerate(tasks)
        pending = next(waiting, None)
        done: dict[int, Outcome[Result]] = {}
        self._again, self._killed = {}, set()
        given = yielded = 0
        while pending is not None or yielded < given:
            # Before an outcome is handed out: who takes it needs time, in which no child is to wait for its next task.
            while self._again or (pending is not None and given - yielded < _LOOK_AHEAD * self._workers):
                child = self._idle_child()
                if child is None:
                    break
                if self._again:
                    child.give(*self._again.popitem())
                elif pending is not None:
                    child.give(*pending)
                    given += 1
                    pending = next(waiting, None)
            if yielded in done:
                yield done.pop(yielded)
                yielded += 1
            else:
                self._collect(done)

    def _idle_child(self) -> _Child | None:
        idle = next((child for child in self._children if child.ready and child.number is None), None)
        if idle is None and len(self._children) < self._workers:
            with _interrupt_waits():
                self._children.append(_Child(self._function, self._memory_bytes, self._timeout_s))
        return idle

    def _collect(self, done: dict[int, Outcome[Result]]) -> None:
        """Wait until a child answers, dies or overruns, and note the outcomes."""
        by_pipe = {child.pipe: child for child in self._children if child.number is not None or not child.ready}
        if not by_pipe:
            return
        now = time.monotonic()
        deadlines = [c.started + self._timeout_s - now for c in by_pipe.values() if c.number is not None]
        for pipe in wait(list(by_pipe), timeout=max(0.0, min(deadlines, default=1.0))):
            assert isinstance(pipe, Connection)
            self._receive(by_pipe.pop(pipe), done)
        for child in by_pipe.values():
            if child.number is not None and time.monotonic() - child.started > self._timeout_s:
                message = f"not done after {self._timeout_s:g} s"
                self._replace(child, done, Failure("timeout", "TimeoutError", message))

    def _receive(self, child: _Child, done: dict[int, Outcome[Result]]) -> None:
        try:
            answer = child.pipe.recv()
        except (EOFError, OSError):  # it died
            child.process.join()
            if not child.ready:
                self._children.remove(child)
                raise RuntimeError(f"a worker process can't start (exit code {child.kill()})") from None
            self._replace(child, done, None)
            return
        if not child.ready:
            child.ready = True
            return
        result, failure = answer
        assert child.number is not None
        done[child.number] = Outcome(result, failure, time.monotonic() - child.started)
        child.number = child.task = None
        child.tasks_done += 1
        exhausted = failure is not None and failure.reason == "out_of_memory"
        if exhausted or child.tasks_done >= self._recycle_after:
            self._children.remove(child)
            child.kill()

    def _replace(self, child: _Child, done: dict[int, Outcome[Result]], failure: Failure | None) -> None:
        """End a child that can't finish its task; without a ``failure``, its exit code says why."""
        assert child.number is not None
        elapsed_s = time.monotonic() - child.started
        self._children.remove(child)
        code = child.kill()
        if failure is None and code == -signal.SIGKILL and child.number not in self._killed:
            self._killed.add(child.number)
            self._again[child.number] = child.task
            return
        done[child.number] = Outcome(None, failure or _death(code), elapsed_s)
