"""Sessions of ONNX Runtime: on the CPU, or on another device; and how it is imported."""

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from torchless.engine.devices import KINDS, Device
from torchless.errors import ArtifactDamagedError, ArtifactNotFoundError, MissingDependencyError, first_line
from torchless.forking import after_fork, keep_for_ever

if TYPE_CHECKING:  # `infer` opens a session before anything else is imported
    from torchless.engine.accelerators import Placement
    from torchless.engine.assignment import Assignment, Recorder
    from torchless.model.onnxfile import OnnxFile

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
os.environ.setdefault(_TELEMETRY, "1")  # before it is imported; else ONNX Runtime reports to its makers
_SILENT, _WARNINGS = (
    4,
    2,
)  # ONNX Runtime's log severities; warnings are its default. Its exceptions carry what its log says

_loaded: "WeakSet[Any]" = WeakSet()


def _after_fork() -> None:
    """What ONNX Runtime has loaded is never freed in a forked process: it would wait for threads that are not there."""
    for onnx in _loaded:
        keep_for_ever(onnx)


after_fork(_after_fork)


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


def load_on(
    ort: Any, file: "OnnxFile", device: Device, threads: int, max_gpu_bytes: int | None
) -> "tuple[Any, Assignment] | str":
    """A session that was made for the device, and what it really runs there; or what is missing for it."""
    from torchless.engine import accelerators  # `infer` on a CPU needs none of it
    from torchless.engine.assignment import Recorder

    placement = accelerators.place(ort, device, threads=threads, max_gpu_bytes=max_gpu_bytes)
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
        load(ort, file, threads)
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


def load(ort: Any, file: "OnnxFile", threads: int, *, bf16: bool = False) -> Any:
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
