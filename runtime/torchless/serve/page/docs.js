"use strict";

/** Shows openapi.json. Everything is put in as text. */
const BASE = new URL(".", location.href).href.replace(/\/$/, "");
const WRITTEN = "http://127.0.0.1:8000";
const byId = (id) => document.getElementById(id);

function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children.flat());
  return made;
}

function table(heads, rows) {
  const head = element("tr", "", heads.map((text) => element("th", text)));
  const body = rows.map((row) => element("tr", "", row.map((cell) => element("td", "", cell))));
  const box = element("div", "", element("table", "", head, body));
  box.className = "scroll";
  return box;
}

/** A line that opens. */
function row(kind, heads, contents) {
  const made = element("details", "", element("summary", "", heads), contents);
  made.className = `row ${kind}`;
  return made;
}

/** A schema in words; others that it refers to are links. */
function typeOf(schema) {
  if (schema?.$ref) return [linkTo(schema.$ref.split("/").pop())];
  if (schema?.type === "array") return ["list of ", ...typeOf(schema.items)];
  const several = schema?.oneOf ?? schema?.anyOf;
  if (several) return several.flatMap((one, i) => [i ? " or " : "", ...typeOf(one)]);
  if (schema?.format === "binary") return ["bytes"];
  if (schema?.enum) return [schema.enum.join(", ")];
  return [[schema?.type ?? "anything"].flat().join(" or ").replace("string", "text")];
}

function linkTo(name) {
  const link = element("a", name);
  link.href = `#schema-${name}`;
  return link;
}

/** Text with a button that copies it. */
function example(label, text) {
  const shown = element("pre", "", element("code", text)), button = element("button", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.textContent = (await copy(shown)) ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  const made = element("div", "", element("div", "", element("span", label), button), shown);
  made.className = "example";
  return made;
}

/** Browsers give the clipboard only to pages from this machine or over HTTPS; elsewhere the text is selected. */
async function copy(shown) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      return true;
    } catch { /* not allowed: as if there were none */ }
  }
  getSelection().selectAllChildren(shown);
  return document.execCommand("copy");
}

function commands(path, method, described) {
  const samples = described["x-codeSamples"];
  if (samples) return samples.map(({ label, source }) => example(label, source.replaceAll(WRITTEN, BASE)));
  const address = BASE + path.replace(/{(\w+)}/g, (_, name) => name.toUpperCase());
  return [example("With curl", `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${address}`)];
}

function bodies(content) {
  return table(["body", "is"], Object.entries(content).map(([type, { schema }]) => [type, schema.description ?? typeOf(schema)]));
}

function examples(title, content) {
  return Object.values(content ?? {}).flatMap(({ examples: some }) => Object.entries(some ?? {}))
    .map(([name, { summary, value }]) => example(`${title}: ${summary ?? name}`, JSON.stringify(value, null, 1).replace(/\n\s*/g, " ")));
}

function operation(path, method, described) {
  const verb = element("span", method.toUpperCase());
  verb.className = "method";
  const made = [];
  const part = (title, ...contents) => made.push(element("h3", title), ...contents);
  if (described.description) made.push(element("p", described.description));
  part("Try it in a terminal", ...commands(path, method, described));
  if (described.parameters?.length) part("Parameters", table(["name", "in", "meaning"], described.parameters.map((p) => [p.name, p.in, p.description ?? ""])));
  const content = described.requestBody?.content;
  if (content) part("Body", bodies(content), ...examples("JSON", content));
  const answers = Object.entries(described.responses).map(([status, found]) =>
    [status, found.description, Object.entries(found.content ?? {}).flatMap(([type, { schema }], i) => [i ? ", " : "", `${type}: `, ...typeOf(schema)])]);
  part("Answers", ...examples("Answer", described.responses["200"]?.content), table(["status", "meaning", "body"], answers));
  return row("operation", [verb, element("code", path), element("span", described.summary)], made);
}

function fields(schema) {
  if (schema.oneOf) return schema.oneOf.map(fields);
  const rows = Object.entries(schema.properties ?? {}).map(([name, found]) =>
    [element("code", name), typeOf(found), (schema.required ?? []).includes(name) ? "" : "optional", found.description ?? ""]);
  return rows.length ? table(["field", "is", "", "meaning"], rows) : element("p", "", typeOf(schema));
}

function schemaRow(name, schema) {
  const made = row("schema", [element("code", name), element("span", schema.description ?? "")], [fields(schema)].flat(2));
  made.id = `schema-${name}`;
  return made;
}

/** A link to a schema opens it. */
function openTarget() {
  const target = location.hash && byId(location.hash.slice(1));
  if (target) target.open = true;
  if (target) target.scrollIntoView();
}

async function show() {
  const response = await fetch("openapi.json").catch(() => null);
  const described = await response?.json().catch(() => null);
  if (!described) {
    byId("about").textContent = "The server does not answer: it has stopped, or there is no connection to it.";
    return;
  }
  byId("about").textContent = described.info.description;
  for (const [path, methods] of Object.entries(described.paths)) {
    byId("operations").append(...Object.entries(methods).map(([method, found]) => operation(path, method, found)));
  }
  byId("operations").firstElementChild.open = true;
  byId("schemas").append(...Object.entries(described.components.schemas).map(([name, schema]) => schemaRow(name, schema)));
  openTarget();
}

addEventListener("hashchange", openTarget);
show();
