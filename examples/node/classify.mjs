// node classify.mjs MODEL.onnx IMAGE…
// node classify.mjs --verify MODEL.onnx
//
// A row of JSON for each image, as `infer --format jsonl` writes it. The model was exported with --preprocess-in-graph --topk-in-graph 5, so
// that nothing is left to do here but to decode the image: upright, RGB, 8 bits. With --verify the model proves itself by the test images and
// PyTorch's answers that it carries, with this decoder and this ONNX Runtime: exit code 5 if it fails.
import { readFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { prove, readEvidence } from "../web/evidence.mjs";

const verifying = process.argv[2] === "--verify";
const [model, ...images] = process.argv.slice(verifying ? 3 : 2);
if (model === undefined || verifying !== (images.length === 0)) {
  console.error("usage: node classify.mjs MODEL.onnx IMAGE...  or  node classify.mjs --verify MODEL.onnx");
  process.exit(2);
}

async function decode(image) {
  const decoded = sharp(image, { ignoreIcc: true }).autoOrient().removeAlpha().toColourspace("srgb").raw({ depth: "uchar" });
  const { data, info } = await decoded.toBuffer({ resolveWithObject: true });
  return new Tensor("uint8", data, [info.height, info.width, info.channels]);
}

const session = await InferenceSession.create(model).catch((error) => {
  console.error(`cannot load the model ${model}: ${error.message.split("\n")[0]}`);
  process.exit(3);
});
if (verifying) process.exit(await verify());
if (!session.outputNames.includes("top_labels")) {
  console.error(`${model} does not rank its classes; export it with --preprocess-in-graph --topk-in-graph 5`);
  process.exit(3);
}

async function verify() {
  const evidence = await readEvidence(await readFile(model));
  if (evidence === null) {
    console.error(`${model} carries no evidence; export it again`);
    return 3;
  }
  const { passed, text } = await prove(evidence, async (bytes) => {
    const image = await decode(bytes);
    const { logits } = await session.run({ image });
    return { pixels: image.data, logits: Array.from(logits.data) };
  });
  console.log(`${model} ${text}`);
  return passed ? 0 : 5;
}

for (const image of images) {
  const row = { image, predictions: [], error: null };
  try {
    const { top_probabilities, top_classes, top_labels } = await session.run({ image: await decode(image) });
    row.predictions = Array.from(top_labels.data, (label, i) => ({
      index: Number(top_classes.data[i]), // int64 comes as BigInt
      label,
      probability: top_probabilities.data[i],
    }));
  } catch (error) {
    row.error = error.message;
    process.exitCode = 1;
  }
  console.log(JSON.stringify(row));
}
