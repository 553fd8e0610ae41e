"use strict";

const AT_ONCE = 4;
const byId = (id) => document.getElementById(id);
const files = new WeakMap();  // of each card
const requests = new WeakMap();  // of each card that is being classified: what can abort it
const queue = [];
let running = 0;
let models = [];
let loading;  // of the models: a promise of whether there are any

/** fetch with the visitor's key; asks for one where the server wants it. Errors are meant for people. */
async function ask(path, options = {}) {
  const key = byId("key").value, headers = new Headers(options.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  const response = await fetch(path, { ...options, headers }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server does not answer: it has stopped, or there is no connection to it.");
  });
  if (response.status === 401) {
    byId("key-field").hidden = false;
    throw new Error(key ? "This API key is wrong." : "This server requires an API key.");
  }
  const answer = await response.json().catch((error) => {
    throw error.name === "AbortError" ? error : new Error(`The answer cannot be read (status ${response.status}): something between this page and the server has failed.`);
  });
  if (answer.error) throw new Error(answer.error);
  return { answer, headers: response.headers };
}

/** Whether there is a model to choose. */
async function loadModels() {
  try {
    models = (await ask("models")).answer;
  } catch (error) {
    say(error.message);
    if (!byId("key-field").hidden) byId("key").focus();
    return false;
  }
  byId("model").replaceChildren(...models.map((model) => new Option(`${nameOf(model)} (${model.classes} classes)`, nameOf(model))));
  summarise();
  if (!models.length) say("No model is loaded.");
  showWarnings();
  return models.length > 0;
}

/** With its version where there are several. */
function nameOf({ name, version }) {
  return models.filter((model) => model.name === name).length > 1 ? `${name}/${version}` : name;
}

function showWarnings() {
  const warnings = models.find((model) => nameOf(model) === byId("model").value)?.warnings ?? [];
  byId("model-warnings").textContent = warnings.join(" · ");
  byId("model-warnings").hidden = !warnings.length;
}

function say(text) {
  byId("status").textContent = text;
}

function cards(selector = "article") {
  return [...byId("results").querySelectorAll(selector)];
}

/** Shows the newest first, in their order. */
function add(chosen) {
  const added = [...chosen].map(addCard);
  byId("results").prepend(...added);
  classifyAll(added);
}

/** A few at once. Those that run already begin again. */
function classifyAll(wanted) {
  for (const card of wanted) {
    requests.get(card)?.abort();
    card.className = "waiting";
    if (!queue.includes(card)) queue.push(card);
  }
  next();
}

function next() {
  while (running < AT_ONCE && queue.length) {
    running++;
    classify(queue.shift()).finally(() => { running--; next(); });
  }
  summarise();
}

function remove(unwanted) {
  for (const card of unwanted) {
    requests.get(card)?.abort();
    if (queue.includes(card)) queue.splice(queue.indexOf(card), 1);
    card.remove();
  }
  summarise();
}

function summarise() {
  const all = cards().length, waiting = cards(".waiting").length, failed = cards(".failed").length;
  byId("tools").hidden = byId("stages").hidden = !all;
  byId("empty").hidden = all > 0;
  byId("again").hidden = byId("clear-failed").hidden = !failed;
  if (waiting) say(`Classifying ${waiting} image${waiting > 1 ? "s" : ""} …`);
  else say(all ? `${all - failed} classified${failed ? `, ${failed} failed` : ""}.` : "");
}

function addCard(file) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const image = card.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => { URL.revokeObjectURL(image.src); image.hidden = true; };
  card.querySelector("h2").textContent = file.name;
  files.set(card, file);
  return card;
}

async function classify(card) {
  const request = new AbortController();
  requests.set(card, request);
  await loading;  // images may come before it is known which models there are
  const start = performance.now(), model = byId("model").value;
  let row = null, failure = "", timings = [];
  try {
    const sent = { method: "POST", body: files.get(card), headers: { "content-type": "application/octet-stream" }, signal: request.signal };
    const { answer, headers } = await ask(`classify?${new URLSearchParams({ model })}`, sent);
    row = answer;
    timings = timingsOf(headers.get("server-timing"), performance.now() - start);
  } catch (error) {
    failure = error.message;
  }
  if (request.signal.aborted) return;
  card.className = failure ? "failed" : "";
  card.querySelector(".model").textContent = model;
  card.querySelector(".error").textContent = failure;
  card.querySelector(".error").hidden = !failure;
  card.querySelector(".warning").textContent = row?.warning ? `Warning: ${row.warning}` : "";
  card.querySelector(".warning").hidden = !row?.warning;
  card.querySelector(".predictions").replaceChildren(...(row?.predictions ?? []).map(bar));
  card.querySelector(".rule").textContent = row?.multi_label ? rule(row) : "";
  card.querySelector(".rule").hidden = !row?.multi_label;
  card.querySelector(".timings").replaceChildren(...timings.map(timing));
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
function timingsOf(header, total) {
  const stages = [...(header ?? "").matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
  const rest = total - stages.reduce((sum, [, ms]) => sum + ms, 0);
  return [...stages, ["network", Math.max(0, rest)], ["total", total]];
}

function timing([name, ms]) {
  const pair = element("div", "");
  pair.append(element("dt", name), element("dd", `${ms.toFixed(1)} ms`));
  return pair;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("model").addEventListener("change", () => {
  showWarnings();
  classifyAll(cards());
});
byId("key").addEventListener("change", async () => {
  loading = loadModels();
  if (await loading) classifyAll(cards(".failed"));
});
byId("again").addEventListener("click", () => classifyAll(cards(".failed")));
byId("clear-failed").addEventListener("click", () => remove(cards(".failed")));
byId("clear").addEventListener("click", () => remove(cards()));
byId("files").addEventListener("change", (event) => {
  if (event.target.files.length) add(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
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
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
});
loading = loadModels();
