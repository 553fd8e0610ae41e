"""KServe's own clients. Runs in an environment that has only them."""

import asyncio
import json
import sys
from importlib.metadata import version

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

GIVEN = json.loads(sys.argv[1])
BATCH, LOGITS = np.load(GIVEN["tensor"]), np.array(GIVEN["logits"], np.float32)
IMAGES = [open(path, "rb").read() for path in GIVEN["images"]]  # noqa: PTH123, SIM115
BASE = f"http://{GIVEN['http']}"


def same(response):
    np.testing.assert_allclose(response.outputs[0].as_numpy().reshape(LOGITS.shape), LOGITS, rtol=1e-3, atol=1e-4)


def tensor(binary):
    found = InferInput("input", list(BATCH.shape), "FP32")
    found.set_data_from_numpy(BATCH, binary_data=binary)
    return found


class Rest:
    def __init__(self):
        self.client = InferenceRESTClient(RESTConfig(protocol="v2"))

    async def infer(self, request, model):
        return await self.client.infer(BASE, request, model_name=model)

    async def health(self):
        assert await self.client.is_server_live(BASE) is True
        assert await self.client.is_server_ready(BASE) is True
        assert await self.client.is_model_ready(BASE, "tiny") is True
        assert await self.client.is_model_ready(BASE, "none") is False

    async def tensors(self):
        same(await self.infer(InferRequest("tiny", [tensor(True)]), "tiny"))
        outputs = [RequestedOutput("logits", {"binary_data": True})]
        same(await self.infer(InferRequest("tiny", [tensor(True)], request_outputs=outputs), "tiny"))

    async def json(self):
        same(await self.infer(InferRequest("tiny", [tensor(False)]), "tiny"))
        body = InferRequest("tiny", [InferInput("input", list(BATCH.shape), "FP32", BATCH.ravel().tolist())]).to_dict()
        same(await self.infer({**body, "parameters": None}, "tiny"))

    async def images(self):
        for shape in ([3], [3, 1]):
            encoded = InferInput("image", shape, "BYTES")
            encoded.set_data_from_numpy(np.array(IMAGES, object).reshape(shape))
            same(await self.infer(InferRequest("tiny_image", [encoded]), "tiny_image"))
        pixels = np.frombuffer(IMAGES[0], np.uint8)[None]
        one = InferInput("image", list(pixels.shape), "UINT8")
        one.set_data_from_numpy(pixels)
        answer = await self.infer(InferRequest("tiny_image", [one]), "tiny_image")
        np.testing.assert_allclose(answer.outputs[0].as_numpy().reshape(1, -1), LOGITS[:1], rtol=1e-3, atol=1e-4)

    async def classification(self):
        outputs = [RequestedOutput("logits", {"classification": 2})]
        answer = await self.infer(InferRequest("tiny", [tensor(True)], request_outputs=outputs), "tiny")
        assert str(answer.outputs[0].as_numpy()[0, 0]).split(":")[1] == str(LOGITS[0].argmax())

    async def errors(self):
        try:
            await self.infer(InferRequest("none", [tensor(True)]), "none")
        except httpx.HTTPStatusError as error:
            assert "there is no model 'none'" in str(error)
            assert error.response.status_code == 404
        else:
            raise AssertionError("no error")


class Grpc:
    def __init__(self):
        self.client = InferenceGRPCClient(GIVEN["grpc"])

    async def health(self):
        assert await self.client.is_server_live() is True
        assert await self.client.is_server_ready() is True
        assert await self.client.is_model_ready("tiny") is True

    async def tensors(self):
        same(await self.client.infer(InferRequest("tiny", [tensor(True)], request_id="1")))
        same(await self.client.infer(InferRequest("tiny", [tensor(False)], request_id="1")))

    async def images(self):
        encoded = InferInput("image", [3, 1], "BYTES", data=IMAGES)
        same(await self.client.infer(InferRequest("tiny_image", [encoded], request_id="1")))

    async def errors(self):
        try:
            await self.client.infer(InferRequest("none", [tensor(True)], request_id="1"))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND
            assert "there is no model 'none'" in error.details()
        else:
            raise AssertionError("no error")


async def main():
    found = {}
    for name, calls in (("InferenceRESTClient", Rest()), ("InferenceGRPCClient", Grpc())):
        row = found[f"kserve: {name}"] = {}
        for call in ("health", "tensors", "json", "images", "classification", "errors"):
            if hasattr(calls, call):
                try:
                    await getattr(calls, call)()
                    row[call] = ""
                except Exception as error:
                    row[call] = f"{type(error).__name__}: {error}"[:500]
    versions = {name: version(name) for name in ("kserve", "grpcio", "protobuf")}
    sys.stdout.write(json.dumps({"versions": versions, "clients": found}) + "\n")


asyncio.run(main())
