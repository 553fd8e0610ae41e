"""Arrays in main memory that a GPU reads directly: page-locked, they are copied several times as fast.

NVIDIA's driver is asked, since ONNX Runtime's Python API offers no such memory in all the versions that are admitted.
"""

import ctypes
import mmap
import weakref
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE: for every context of the process, ONNX Runtime's among them


def page_locked(shape: tuple[int, ...], dtype: DTypeLike, gpu: int | None) -> NDArray[Any]:
    """An array of zeros, page-locked for the GPU of that number.

    An ordinary array without a GPU, or where the driver does not lock it: then copies are slower, and nothing else.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if gpu is None or size == 0:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size)
    flat: NDArray[Any] = np.frombuffer(pages, dtype)
    address = flat.ctypes.data
    if _register(address, size, gpu):  # the pages live on until they are unlocked
        weakref.finalize(flat, _unregister, address, gpu, pages).atexit = False
    return flat.reshape(shape)


def _register(address: int, size: int, gpu: int) -> bool:
    return _in_context(gpu, lambda driver: driver.cuMemHostRegister_v2(ctypes.c_void_p(address), size, _PORTABLE))


def _unregister(address: int, gpu: int, _pages: mmap.mmap) -> None:
    _in_context(gpu, lambda driver: driver.cuMemHostUnregister(ctypes.c_void_p(address)))


def _in_context(gpu: int, call: Any) -> bool:
    """Whether `call` succeeds in the GPU's primary context, which is ONNX Runtime's."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    device, context, popped = ctypes.c_int(0), ctypes.c_void_p(), ctypes.c_void_p()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), gpu):
        return False
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return False
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return False
        try:
            return bool(call(driver) == 0)
        finally:
            driver.cuCtxPopCurrent_v2(ctypes.byref(popped))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
