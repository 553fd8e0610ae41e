"""An ONNX Runtime session on the requested device, or a clear refusal: it never uses another device silently."""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from torchless.cpus import available_cpus
from torchless.engine.devices import KINDS, Device, bf16_problem, is_cpu, parse_device
from torchless.errors import (
    ArtifactDamagedError,
    ArtifactNotFoundError,
    DeviceError,
    InferenceError,
    MissingDependencyError,
    UsageError,
    first_line,
)
from torchless.files import Snapshot
from torchless.forking import Locks, after_fork, keep_for_ever
from torchless.records import dataclass

if TYPE_CHECKING:  # `infer` opens a session before anything else is imported
    from torchless.engine.accelerators import Placement
    from torchless.engine.assignment import Assignment, Recorder
    from torchless.engine.on_gpu import OnGpu
    from torchless.model.onnxfile import OnnxFile

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
os.environ.setdefault(_TELEMETRY, "1")  # before it is imported; else ONNX Runtime reports to its makers
_SILENT, _WARNINGS = (
    4,
    2,
)  # ONNX Runtime's log severities; warnings are its default. Its exceptions carry what its log says


@dataclass(eq=False)
class Session:
    """A loaded model. `device` is what it really runs on, "cpu", "cuda:N" or another in full (devices.py); `note` says
    why "auto" did not use a GPU, or not for all of it; `files` is how its files looked when they were loaded;
    `assignment` is what runs on which device, None on the CPU; `on_gpu` is how batches run on an NVIDIA GPU.

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
    on_gpu: "OnGpu | None" = None

    def run_batch(
        self,
        images: Sequence[NDArray[np.float32 | np.uint8]] | NDArray[np.float32 | np.uint8],
        input_name: str,
        output_name: str,
    ) -> NDArray[np.float32]:
        """One forward pass of images of one shape, as a list or as one array (N, …). Raises what `run` raises."""
        if self.on_gpu is None or self.pid != os.getpid():
            batch = images if isinstance(images, np.ndarray) else np.stack(images)
            return self.run(batch, input_name, output_name)
        try:
            return self.on_gpu.run(images, input_name, output_name)
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
                self.onnx = _load(import_onnxruntime(), self.file, self.threads, bf16=parse_device(self.device).bf16)
            self.pid = os.getpid()


_going_on = Locks()
_loaded: "WeakSet[Any]" = WeakSet()


def _after_fork() -> None:
    """What ONNX Runtime has loaded is never freed in a forked process: it would wait for threads that are not there."""
    for onnx in _loaded:
        keep_for_ever(onnx)


after_fork(_after_fork)


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
        loaded = _load_on(ort, file, wanted, count, max_gpu_bytes)
        if not isinstance(loaded, str):
            onnx, assignment = loaded
            if assignment.fallen:
                note = f"{wanted} would compute {assignment}"
            if asked.kind == "auto" or not note:
                on_gpu = _on_gpu(ort, onnx, file, wanted, count, max_gpu_bytes) if wanted.kind == "cuda" else None
                return Session(onnx, file, str(wanted), count, note, files, assignment, on_gpu=on_gpu)
        else:
            note = loaded
        if asked.kind != "auto":
            raise DeviceError(f"cannot use {device}: {note}")
    used = str(Device("cpu", bf16=asked.bf16))
    return Session(_load(ort, file, count, bf16=asked.bf16), file, used, count, note, files)


def _wanted(ort: Any, asked: Device) -> Device | None:
    """The device to try before the CPU."""
    if asked.kind == "auto":
        return Device("cuda") if KINDS["cuda"].provider in ort.get_available_providers() else None
    return asked if asked.kind != "cpu" else None


def _on_gpu(ort: Any, onnx: Any, file: "OnnxFile", device: Device, threads: int, max_gpu_bytes: int | None) -> "OnGpu":
    from torchless.engine.on_gpu import OnGpu

    def open_with(more: Mapping[str, str]) -> Any | str:
        loaded = _load_on(ort, file, device, threads, max_gpu_bytes, more)
        return loaded if isinstance(loaded, str) else loaded[0]

    return OnGpu(ort, onnx, device.index, open_with)


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


def import_onnxruntime() -> Any:
    """The onnxruntime module, whichever wheel brought it."""
    try:
        import onnxruntime

        if not hasattr(onnxruntime, "InferenceSession"):  # a folder left behind by an uninstalled wheel
            raise ImportError("its files are not there")
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX Runtime cannot be imported ({error}); install one of: pip install 'torchless[cpu]' or, for NVIDIA "
            "GPUs, pip install 'torchless[gpu]' (never both)"
        ) from None
    if os.environ.get(_TELEMETRY) != "0":
        onnxruntime.disable_telemetry_events()  # in case the program imported it earlier
    return onnxruntime


def _load_on(
    ort: Any,
    file: "OnnxFile",
    device: Device,
    threads: int,
    max_gpu_bytes: int | None,
    more: Mapping[str, str] | None = None,
) -> "tuple[Any, Assignment] | str":
    """A session that was made for the device, and what it really runs there; or what is missing for it; `more` are
    further options of CUDA's provider.
    """
    from torchless.engine import accelerators  # `infer` on a CPU needs none of it
    from torchless.engine.assignment import Recorder

    placement = accelerators.place(ort, device, threads=threads, max_gpu_bytes=max_gpu_bytes, more=more or {})
    if isinstance(placement, str):
        return placement
    ort.set_default_logger_severity(_SILENT)
    try:
        with Recorder(ort) as recorder:
            onnx = _create(ort, file, threads, placement, recorder)
            if KINDS[device.kind].provider not in onnx.get_providers():
                return accelerators.library_problem(ort, device, placement)
            return onnx, recorder.assignment(onnx, file)
    except Exception as error:  # an old driver, a full GPU or a damaged file; loading for the CPU shows which
        _load(ort, file, threads)
        return accelerators.failure(device, error)
    finally:
        ort.set_default_logger_severity(_WARNINGS)


def _create(
    ort: Any,
    file: "OnnxFile",
    threads: int,
    placement: "Placement | None",
    recorder: "Recorder | None" = None,
    *,
    bf16: bool = False,
) -> Any:
    held, options = file.held, ort.SessionOptions()
    if placement is not None:
        placement.prepare(options)
    if recorder is not None:
        recorder.prepare(options)
    if bf16:
        options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1")
    options.intra_op_num_threads = threads
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what read_onnx read, not what it looks like
    if held is not None and held.data:
        options.add_external_initializers_from_files_in_memory(
            list(held.data), list(held.data.values()), list(map(len, held.data.values()))
        )
    # Without its fallback: that prints a banner on stdout and continues with another device.
    session = ort.InferenceSession(
        str(file.path) if held is None else held.content,
        options,
        providers=["CPUExecutionProvider"] if placement is None else placement.providers,
        enable_fallback=0,
    )
    _loaded.add(session)
    return session


def _load(ort: Any, file: "OnnxFile", threads: int, *, bf16: bool = False) -> Any:
    """A session on the CPU."""
    path, held = file.path, file.held
    if (
        held is not None
        and held.data
        and not hasattr(ort.SessionOptions, "add_external_initializers_from_files_in_memory")
    ):
        raise MissingDependencyError(
            f"ONNX Runtime {ort.__version__} cannot load the checked bytes of {', '.join(held.data)}, but only a file "
            "that may have changed since; install a newer one: pip install --upgrade onnxruntime"
        )
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ArtifactNotFoundError(
            f"ONNX Runtime cannot open {str(path)!r}: the name is not UTF-8; rename the file"
        ) from None
    try:
        return _create(ort, file, threads, None, bf16=bf16)
    except Exception as error:  # as in Session.run
        raise ArtifactDamagedError(
            f"ONNX Runtime {ort.__version__} cannot load {path}: {first_line(error)}; the file may be damaged, or "
            "made for a newer ONNX Runtime (pip install --upgrade onnxruntime)"
        ) from error
