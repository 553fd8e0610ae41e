"""Triton's clients. Runs in an environment that has only them."""

import asyncio
import inspect
import json
import sys
from importlib.metadata import version

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

GIVEN = json.loads(sys.argv[1])
BATCH, LOGITS = np.load(GIVEN["tensor"]), np.array(GIVEN["logits"], np.float32)
IMAGES = [open(path, "rb").read() for path in GIVEN["images"]]  # noqa: PTH123, SIM115


def same(result):
    np.testing.assert_allclose(result.as_numpy("logits"), LOGITS, rtol=1e-3, atol=1e-4)


class Calls:
    """The same for all four clients: what they return is awaited where it must be."""

    def __init__(self, module, address):
        self.module = module
        self.client = module.InferenceServerClient(address)
        self.over_grpc = "grpc" in module.__name__

    async def call(self, name, *arguments, **keywords):
        found = getattr(self.client, name)(*arguments, **keywords)
        return await found if inspect.isawaitable(found) else found

    def input(self, name, array, datatype, **keywords):
        found = self.module.InferInput(name, list(array.shape), datatype)
        found.set_data_from_numpy(array, **keywords)
        return [found]

    async def health(self):
        assert await self.call("is_server_live")
        assert await self.call("is_server_ready")
        assert await self.call("is_model_ready", "tiny_image", "1")
        assert not await self.call("is_model_ready", "none")

    async def metadata(self):
        keywords = {"as_json": True} if self.over_grpc else {}
        assert (await self.call("get_server_metadata", **keywords))["name"] == "torchless"
        assert (await self.call("get_model_metadata", "tiny", **keywords))["inputs"][0]["name"] == "input"

    async def config(self):
        found = await self.call("get_model_config", "tiny", **({"as_json": True} if self.over_grpc else {}))
        assert (found["config"] if self.over_grpc else found)["max_batch_size"] == 256

    async def statistics(self):
        keywords = {"as_json": True} if self.over_grpc else {}
        found = await self.call("get_inference_statistics", **keywords)
        assert [row["name"] for row in found["model_stats"]] == ["tiny", "tiny_image"]

    async def repository(self):
        found = await self.call("get_model_repository_index", **({"as_json": True} if self.over_grpc else {}))
        rows = found["models"] if self.over_grpc else found
        assert [row["name"] for row in rows] == ["tiny", "tiny_image"]

    async def tensors(self):
        same(await self.call("infer", "tiny", self.input("input", BATCH, "FP32")))

    async def json(self):
        if not self.over_grpc:
            outputs = [self.module.InferRequestedOutput("logits", binary_data=False)]
            tensor = self.input("input", BATCH, "FP32", binary_data=False)
            same(await self.call("infer", "tiny", tensor, outputs=outputs))

    async def images(self):
        for shape in (3,), (3, 1):
            array = np.array(IMAGES, object).reshape(shape)
            same(await self.call("infer", "tiny_image", self.input("image", array, "BYTES")))

    async def classification(self):
        outputs = [self.module.InferRequestedOutput("logits", class_count=2)]
        found = await self.call("infer", "tiny", self.input("input", BATCH, "FP32"), outputs=outputs)
        assert found.as_numpy("logits")[0, 0].split(b":")[1] == str(LOGITS[0].argmax()).encode()

    async def compressed(self):
        name = "compression_algorithm" if self.over_grpc else "request_compression_algorithm"
        for algorithm in ("gzip", "deflate"):
            same(await self.call("infer", "tiny", self.input("input", BATCH, "FP32"), **{name: algorithm}))

    async def errors(self):
        try:
            await self.call("infer", "none", self.input("input", BATCH, "FP32"))
        except InferenceServerException as error:
            assert "there is no model 'none'" in error.message()
        else:
            raise AssertionError("no error")


CALLS = (
    "health", "metadata", "config", "statistics", "repository", "tensors", "json", "images", "classification",
    "compressed", "errors",
)  # fmt: skip


async def main():
    found = {}
    for module, address in (
        (tritonclient.http, "http"), (tritonclient.http.aio, "http"),
        (tritonclient.grpc, "grpc"), (tritonclient.grpc.aio, "grpc"),
    ):  # fmt: skip
        calls, row = Calls(module, GIVEN[address]), {}
        for call in CALLS:
            if call != "json" or not calls.over_grpc:
                try:
                    await getattr(calls, call)()
                    row[call] = ""
                except Exception as error:
                    row[call] = f"{type(error).__name__}: {error}"[:500]
        await calls.call("close")
        found[module.__name__] = row
    versions = {name: version(name) for name in ("tritonclient", "grpcio", "protobuf")}
    sys.stdout.write(json.dumps({"versions": versions, "clients": found}) + "\n")


asyncio.run(main())
