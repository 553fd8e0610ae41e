"""An ONNX Runtime session on the requested device, or a clear refusal: it never uses another device silently."""

import os
import threading
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchless.cpus import available_cpus
from torchless.engine.devices import KINDS, Device, bf16_problem, is_cpu, parse_device
from torchless.engine.loading import import_onnxruntime, load, load_on
from torchless.errors import (
    ArtifactDamagedError,
    DeviceError,
    InferenceError,
    UsageError,
    first_line,
)
from torchless.files import Snapshot
from torchless.forking import Locks
from torchless.records import dataclass

if TYPE_CHECKING:  # `infer` opens a session before anything else is imported
    from torchless.engine.assignment import Assignment
    from torchless.engine.binding import Binding
    from torchless.model.onnxfile import OnnxFile


@dataclass(eq=False)
class Session:
    """A loaded model. `device` is what it really runs on, "cpu", "cuda:N" or another in full (devices.py); `note` says
    why "auto" did not use a GPU, or not for all of it; `files` is how its files looked when they were loaded;
    `assignment` is what runs on which device, None on the CPU; `binding` is how batches run on an NVIDIA GPU.

    It also works in a process that is forked from the one that loaded it: threads don't come along, so a session of
    several is loaded again there; one of a single thread goes on, with the weights in the memory that both share.
    """

    onnx: Any
    file: "OnnxFile"
    device: str
    threads: int
    note: str
    files: Snapshot
    assignment: "Assignment | None" = None
    pid: int = field(default_factory=os.getpid)
    binding: "Binding | None" = None

    def run_batch(
        self,
        images: Sequence[NDArray[np.float32 | np.uint8]] | NDArray[np.float32 | np.uint8],
        input_name: str,
        output_name: str,
    ) -> NDArray[np.float32]:
        """One forward pass of images of one shape, as a list or as one array (N, …). Raises what `run` raises."""
        if self.binding is None or self.pid != os.getpid():
            batch = images if isinstance(images, np.ndarray) else np.stack(images)
            return self.run(batch, input_name, output_name)
        try:
            return self.binding.run(images, input_name, output_name)
        except Exception as error:  # as in run
            raise self._failed(error) from error

    def run(self, batch: NDArray[np.float32 | np.uint8], input_name: str, output_name: str) -> NDArray[np.float32]:
        """One forward pass. Raises InferenceError with ONNX Runtime's message if it fails, or on a GPU that a forked
        process cannot use; ArtifactDamagedError in one whose model file has been replaced.
        """
        if self.pid != os.getpid():
            self._go_on_after_fork()
        try:
            outputs: list[NDArray[np.float32]] = self.onnx.run([output_name], {input_name: batch})
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            raise self._failed(error) from error
        return outputs[0]

    def _failed(self, error: Exception) -> InferenceError:
        return InferenceError(f"ONNX Runtime failed to run {self.file.path}: {first_line(error)}")

    def _go_on_after_fork(self) -> None:
        with _going_on.of(self):
            if self.pid == os.getpid():
                return
            if not is_cpu(self.device):
                raise InferenceError(
                    f"{self.file.path} is on {self.device}, which a forked process cannot use: start processes with "
                    "spawn (docs/python.md)"
                )
            if self.threads > 1:
                if self.file.held is None:
                    check_unchanged(self.files)
                self.onnx = load(import_onnxruntime(), self.file, self.threads, bf16=parse_device(self.device).bf16)
            self.pid = os.getpid()


_going_on = Locks()


def open_session(
    file: "OnnxFile",
    *,
    device: str = "auto",
    threads: int | None = None,
    max_gpu_bytes: int | None = None,
    ahead: "SessionAhead | None" = None,
) -> Session:
    """Loads an ONNX file, from the bytes that it holds, if it holds any.

    `device` is a name of devices.py; `threads` defaults to the processors this process may use; `max_gpu_bytes` is the
    most that ONNX Runtime's arena takes of a CUDA GPU's memory. The session `ahead` is used if it is for the same file
    and settings.

    Raises DeviceError if the device that was requested cannot be used, or would leave a part of the model to the CPU;
    ArtifactDamagedError or ExternalDataError if the file cannot be loaded, MissingDependencyError without an
    onnxruntime.
    """
    if ahead is not None and ahead.file is file and ahead.asked_for == (device, threads, max_gpu_bytes):
        return ahead.result()
    return _open(file, device, threads, max_gpu_bytes)


def _open(file: "OnnxFile", device: str, threads: int | None, max_gpu_bytes: int | None) -> Session:
    asked = parse_device(device)
    if max_gpu_bytes is not None and asked.kind not in ("auto", "cuda"):
        raise UsageError(f"`max_gpu_bytes` bounds the memory of a CUDA GPU, and `device` asks for {device}")
    if asked.bf16 and (problem := bf16_problem()) is not None:
        raise DeviceError(f"cannot use {device}: {problem}; use cpu")
    ort = import_onnxruntime()
    count = thread_count(threads)
    note, files = "", Snapshot.of(file.path, *(file.path.parent / name for name in file.data_files))
    if file.held is None:  # what it holds was checked already
        from torchless.model.external import check_external_data

        check_external_data(file)
    wanted = _wanted(ort, asked)
    if wanted is not None:
        loaded = load_on(ort, file, wanted, count, max_gpu_bytes)
        if not isinstance(loaded, str):
            onnx, assignment = loaded
            if assignment.fallen:
                note = f"{wanted} would compute {assignment}"
            if asked.kind == "auto" or not note:
                binding = _binding(ort, onnx, wanted.index) if wanted.kind == "cuda" else None
                return Session(onnx, file, str(wanted), count, note, files, assignment, binding=binding)
        else:
            note = loaded
        if asked.kind != "auto":
            raise DeviceError(f"cannot use {device}: {note}")
    used = str(Device("cpu", bf16=asked.bf16))
    return Session(load(ort, file, count, bf16=asked.bf16), file, used, count, note, files)


def _wanted(ort: Any, asked: Device) -> Device | None:
    """The device to try before the CPU."""
    if asked.kind == "auto":
        return Device("cuda") if KINDS["cuda"].provider in ort.get_available_providers() else None
    return asked if asked.kind != "cpu" else None


def _binding(ort: Any, onnx: Any, gpu: int | None) -> "Binding":
    from torchless.engine.binding import Binding  # a CPU needs none of it

    return Binding(ort, onnx, gpu)


def check_unchanged(files: Snapshot) -> None:
    """Raises ArtifactDamagedError if the files of an open model are others by now."""
    if not files.is_current:
        raise ArtifactDamagedError(
            f"{files.paths[0]} was replaced or removed after this Classifier opened it, so no other process can open "
            "the same"
        )


class SessionAhead(threading.Thread):
    """A session on the device "auto" that opens in the background; open_session uses it.

    ONNX Runtime releases Python's lock meanwhile, so the program can import what else it needs. The program waits for
    the session even when it ends, because ONNX Runtime must not be torn down while it loads. Raises
    MissingDependencyError.
    """

    def __init__(self, file: "OnnxFile", *, threads: int) -> None:
        super().__init__()
        import_onnxruntime()
        self.file = file
        self.asked_for = "auto", threads, None
        self._session: Session | None = None
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._session = _open(self.file, *self.asked_for)
        except Exception as error:  # raised by result()
            self._error = error

    def result(self) -> Session:
        """Waits for it. Raises what opening it raised."""
        self.join()
        if self._session is None:
            raise self._error or RuntimeError("no session")
        return self._session


def thread_count(threads: int | None) -> int:
    """The requested number, but never more than the process may use."""
    if threads is not None and threads < 1:
        raise UsageError(f"`threads` must be at least 1, got {threads}")
    return min(threads or available_cpus(), available_cpus())
