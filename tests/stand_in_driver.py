"""A library that answers as NVIDIA's driver does, on machines that have none. It is compiled, so that what is tested is
how the real one is called too; what it says is in variables of the environment.
"""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import onnxruntime

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) { const char *v = getenv(name); return v ? atoi(v) : otherwise; }

/* STAND_IN_GPUS: "name/major.minor;name/major.minor" */
static int gpu(int wanted, char *name, int *major, int *minor) {
    char text[512]; int count = 0;
    snprintf(text, sizeof text, "%s", getenv("STAND_IN_GPUS") ? getenv("STAND_IN_GPUS") : "");
    for (char *one = strtok(text, ";"); one; one = strtok(NULL, ";"), count++)
        if (count == wanted) sscanf(one, "%127[^/]/%d.%d", name, major, minor);
    return count;
}

int cuInit(unsigned flags) { (void)flags; return number("STAND_IN_STATUS", 0); }
int cuDriverGetVersion(int *version) { *version = number("STAND_IN_CUDA", 13000); return 0; }
int cuDeviceGetCount(int *count) { char n[128]; int a, b; *count = gpu(-1, n, &a, &b); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    char own[128] = ""; int a, b; gpu(device, own, &a, &b); snprintf(name, length, "%s", own); return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    char n[128]; int major = 0, minor = 0; gpu(device, n, &major, &minor);
    *value = attribute == 75 ? major : attribute == 76 ? minor : -1; return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device; *context = &*context; return number("STAND_IN_CONTEXT", 0);
}
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxPushCurrent_v2(void *context) { (void)context; return 0; }
int cuCtxPopCurrent_v2(void **context) { (void)context; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) {
    *free = (size_t)number("STAND_IN_FREE_MB", 0) * 1000000; *total = (size_t)80000 * 1000000; return 0;
}
"""


def build_driver(folder: Path) -> None:
    """Writes libcuda.so.1 into the folder. Needs a C compiler."""
    (folder / "driver.c").write_text(SOURCE)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-w", "-o", folder / "libcuda.so.1", folder / "driver.c"], check=True, timeout=60
    )


class CudaInName(onnxruntime.InferenceSession):
    """A session that says it runs on CUDA, as far as `on_gpu` nodes of all go, and runs on the CPU. `asked` and `more`
    are what it was made with.
    """

    on_gpu = 1_000_000

    def __init__(self, path: str, options: object, providers: list, **more: object) -> None:
        self.asked, self.more = providers, more
        super().__init__(path, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[object]:
        nodes = [node for graph in super().get_provider_graph_assignment_info() for node in graph.get_nodes()]
        parts = {"CUDAExecutionProvider": nodes[: self.on_gpu], "CPUExecutionProvider": nodes[self.on_gpu :]}
        return [SimpleNamespace(ep_name=name, get_nodes=lambda part=part: part) for name, part in parts.items()]
