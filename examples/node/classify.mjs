// node classify.mjs MODEL.onnx IMAGE…
//
// A row of JSON for each image, as `infer --format jsonl` writes it. The model was exported with --preprocess-in-graph --topk-in-graph 5, so
// that nothing is left to do here but to decode the image: upright, RGB, 8 bits.
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";

const [model, ...images] = process.argv.slice(2);
if (images.length === 0) {
  console.error("usage: node classify.mjs MODEL.onnx IMAGE...");
  process.exit(2);
}

async function decode(path) {
  const decoded = sharp(path, { ignoreIcc: true }).autoOrient().removeAlpha().toColourspace("srgb").raw({ depth: "uchar" });
  const { data, info } = await decoded.toBuffer({ resolveWithObject: true });
  return new Tensor("uint8", data, [info.height, info.width, info.channels]);
}

const session = await InferenceSession.create(model);
if (!session.outputNames.includes("top_labels")) {
  console.error(`${model} does not rank its classes; export it with --preprocess-in-graph --topk-in-graph 5`);
  process.exit(3);
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
