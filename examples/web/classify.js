// Classifies images where they are: nothing is sent anywhere. The model was exported with --preprocess-in-graph --topk-in-graph 5, so that
// nothing is left to do here but to decode the image: upright, RGB, 8 bits.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { prove, readEvidence } from "./evidence.mjs";

ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

async function decode(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return new ort.Tensor("uint8", rgb, [height, width, 3]);
}

async function classify(session, file) {
  const { top_probabilities, top_classes, top_labels } = await session.run({ image: await decode(file) });
  return Array.from(top_labels.data, (label, i) => ({
    index: Number(top_classes.data[i]), // int64 comes as BigInt
    label,
    probability: top_probabilities.data[i],
  }));
}

// Proves the model by the test images and PyTorch's answers that it carries, with this browser's decoder and WebAssembly.
async function verify(session, bytes) {
  const evidence = await readEvidence(bytes);
  if (evidence === null) return "The model carries no evidence to prove it by.";
  const { passed, text } = await prove(evidence, async (file) => {
    const image = await decode(new Blob([file]));
    const { logits } = await session.run({ image });
    return { pixels: image.data, logits: Array.from(logits.data) };
  });
  if (!passed) throw new Error(`the model ${text}`);
  return `The model ${text}.`;
}

const [modelInput, imageInput, said, picture, table] = ["model", "image", "said", "picture", "answers"].map((id) => document.getElementById(id));
let session = null;

function show(predictions) {
  const rows = predictions.map(({ index, label, probability }) => {
    const row = document.createElement("tr");
    const [share, bar, name] = [document.createElement("td"), document.createElement("td"), document.createElement("td")];
    share.textContent = `${(100 * probability).toFixed(2)} %`;
    const meter = document.createElement("meter");
    meter.value = probability;
    meter.textContent = share.textContent;
    bar.append(meter);
    name.textContent = label;
    Object.assign(row.dataset, { index, label, probability });
    row.append(share, bar, name);
    return row;
  });
  table.replaceChildren(...rows);
}

async function attempt(saying, work) {
  said.textContent = saying;
  table.replaceChildren();
  try {
    said.textContent = await work();
  } catch (error) {
    said.textContent = `That failed: ${error.message}`;
  }
}

modelInput.addEventListener("change", () =>
  attempt("Loading the model …", async () => {
    imageInput.disabled = true;
    const bytes = new Uint8Array(await modelInput.files[0].arrayBuffer());
    const loaded = await ort.InferenceSession.create(bytes);
    if (!loaded.outputNames.includes("top_labels")) throw new Error("the model does not rank its classes; export it with --preprocess-in-graph --topk-in-graph 5");
    const proof = await verify(loaded, bytes);
    session = loaded;
    imageInput.disabled = false;
    return `${proof} Now choose an image.`;
  }),
);

imageInput.addEventListener("change", () =>
  attempt("Looking …", async () => {
    const [file] = imageInput.files;
    URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    picture.alt = file.name;
    const start = performance.now();
    show(await classify(session, file));
    return `${file.name}: ${Math.round(performance.now() - start)} ms, all of it here in the browser`;
  }),
);
