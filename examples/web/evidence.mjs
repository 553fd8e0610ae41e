// The proof that an artifact carries (docs/verify.md): a few test images, and PyTorch's logits for them. It needs nothing but what browsers and
// Node.js bring along. Here it is only compared; the file's seal is not checked: `torchless verify` does that.

const KEY = "torchless.evidence";

// `bytes` is the whole .onnx file, a Uint8Array. Gives the evidence, or null if the file carries none.
export async function readEvidence(bytes) {
  for (const { number, value } of fieldsOf(bytes)) {
    if (number !== 14) continue; // ModelProto.metadata_props
    const entry = Object.fromEntries([...fieldsOf(value)].map((field) => [field.number, field.value]));
    if (new TextDecoder().decode(entry[1]) === KEY) return JSON.parse(await inflated(decodeBase64(new TextDecoder().decode(entry[2]))));
  }
  return null;
}

// Runs every image through `run(bytes)`, which decodes an image file and gives { pixels, logits }, and compares. Gives
// { passed, images, text }. A decoder that gives other pixels than Pillow is named; there, only the answer is compared.
export async function prove(evidence, run) {
  const wrong = [];
  let worst = 0;
  let differently = 0;
  for (const image of evidence.images) {
    const { pixels, logits } = await run(decodeBase64(image.file));
    const wanted = new Float64Array(decodeBase64(image.logits).buffer);
    const { unit, units } = evidence.limits.find(({ set }) => set === image.set);
    const same = (await sha256(pixels)) === image.input_sha256;
    const off = logits.length === wanted.length ? Math.max(...wanted.map((value, i) => Math.abs(value - logits[i]))) : Infinity;
    if (!same) differently++;
    else worst = Math.max(worst, off / unit);
    // NaN fails both.
    if (same ? !(off <= unit * units) : best(logits) !== best(wanted)) wrong.push(image.name);
  }
  const count = evidence.images.length;
  const decoded = differently ? `; ${differently} of them decoded otherwise than by Pillow, where only the answer is compared` : "";
  const text = wrong.length
    ? `does NOT give PyTorch's recorded answers on ${wrong.length} of ${count} images: ${wrong.join(", ")}${decoded}`
    : `gives PyTorch's recorded answers on ${count} images, within ${worst.toFixed(1)} times PyTorch's own error${decoded}`;
  return { passed: wrong.length === 0, images: count, text };
}

function best(logits) {
  return logits.indexOf(Math.max(...logits));
}

// The (number, value) pairs of a protobuf message; the values of numbers are passed over.
function* fieldsOf(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (!(byte & 128)) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else {
      const length = kind === 2 ? varint() : kind === 1 ? 8 : 4;
      if (kind === 2) yield { number: Math.floor(key / 8), value: bytes.subarray(at, at + length) };
      at += length;
    }
  }
}

function decodeBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

async function inflated(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
