"use strict";

const AT_ONCE = 4;
const byId = (id) => document.getElementById(id);
let models = [];

/** fetch with the visitor's key; asks for one where the server wants it. */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (byId("key").value) headers.set("authorization", `Bearer ${byId("key").value}`);
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) byId("key-field").hidden = false;
  return response;
}

async function loadModels() {
  const response = await ask("/models").catch(() => null);
  if (response === null) return say("The server does not answer.");
  if (response.status === 401) {
    say("This server requires an API key.");
    return byId("key").focus();
  }
  models = await response.json();
  byId("model").replaceChildren(...models.map((model) => new Option(`${model.name} (${model.classes} classes)`, model.name)));
  say(models.length ? "" : "No model is loaded.");
  showWarnings();
}

function showWarnings() {
  const warnings = models.find((model) => model.name === byId("model").value)?.warnings ?? [];
  byId("model-warnings").textContent = warnings.join(" · ");
  byId("model-warnings").hidden = !warnings.length;
}

function say(text) {
  byId("status").textContent = text;
}

/** Classifies files, a few at once; the newest are shown first, in their order. */
async function classifyAll(files) {
  const images = [...files];
  const cards = images.map(addCard);
  byId("results").prepend(...cards);
  let next = 0, done = 0;
  say(`Classifying ${images.length} image${images.length > 1 ? "s" : ""} …`);
  const worker = async () => {
    while (next < images.length) {
      const i = next++;
      await classify(images[i], cards[i]);
      done++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const failed = cards.filter((card) => !card.querySelector(".error").hidden).length;
  say(`${done - failed} classified${failed ? `, ${failed} failed` : ""}.`);
}

function addCard(file) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const image = card.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => { URL.revokeObjectURL(image.src); image.hidden = true; };
  card.querySelector("h2").textContent = file.name;
  card.classList.add("waiting");
  return card;
}

async function classify(file, card) {
  const start = performance.now();
  try {
    const query = new URLSearchParams({ model: byId("model").value });
    const response = await ask(`/classify?${query}`, { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
    const row = await response.json();
    if (row.error) throw new Error(row.error);
    card.querySelector(".predictions").replaceChildren(...row.predictions.map(bar));
    card.querySelector(".rule").textContent = row.multi_label ? rule(row) : "";
    card.querySelector(".rule").hidden = !row.multi_label;
    showTimings(card, response.headers.get("server-timing"), performance.now() - start);
  } catch (error) {
    card.querySelector(".error").textContent = error.message;
    card.querySelector(".error").hidden = false;
  } finally {
    card.classList.remove("waiting");
  }
}

/** What the list of a multi-label model holds. */
function rule({ predictions, nearest }) {
  if (!nearest) return predictions.length > 1 ? "Each of these classes reaches its threshold." : "This class reaches its threshold.";
  return `No class reaches its threshold; the nearest is ${nearest.label}, ${percentage(nearest.probability)} of ${percentage(nearest.threshold)}.`;
}

/** Rounded down, so that it never looks as if it had reached a threshold. */
function percentage(share) {
  return `${Math.floor(share * 1e4 + 1e-6) / 100} %`;
}

function bar(prediction) {
  const percent = (prediction.probability * 100).toFixed(2);
  const item = element("li", "");
  const fill = element("span", "");
  fill.className = "fill";
  fill.style.width = `${percent}%`;
  const number = element("span", `${percent} %`);
  number.className = "percent";
  if (prediction.threshold !== undefined) item.title = `present from ${percentage(prediction.threshold)}`;
  item.append(fill, element("span", prediction.label), number);
  return item;
}

/** The server's stages, and what is left of the whole: the network, and waiting for the body. */
function showTimings(card, header, total) {
  const stages = [...(header ?? "").matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
  const rest = total - stages.reduce((sum, [, ms]) => sum + ms, 0);
  const rows = [...stages, ["network", Math.max(0, rest)], ["total", total]];
  card.querySelector(".timings").replaceChildren(...rows.map(([name, ms]) => {
    const pair = element("div", "");
    pair.append(element("dt", name), element("dd", `${ms.toFixed(1)} ms`));
    return pair;
  }));
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("model").addEventListener("change", showWarnings);
byId("key").addEventListener("change", loadModels);
byId("files").addEventListener("change", (event) => {
  if (event.target.files.length) classifyAll(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) classifyAll(event.clipboardData.files);
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  if (event.dataTransfer.files.length) classifyAll(event.dataTransfer.files);
});
loadModels();
