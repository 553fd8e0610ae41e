"use strict";

/** Shows /openapi.json. Everything is put in as text. */
function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function table(heads, rows) {
  const head = element("tr", "", ...heads.map((text) => element("th", text)));
  const body = rows.map((row) => element("tr", "", ...row.map((cell) => element("td", cell))));
  const box = element("div", "", element("table", "", head, ...body));
  box.className = "scroll";
  return box;
}

function typeOf(schema, document) {
  if (schema?.$ref) return schema.$ref.split("/").pop();
  if (schema?.type === "array") return `list of ${typeOf(schema.items, document)}`;
  return [schema?.type ?? "anything"].flat().join(" or ");
}

function operation(path, method, described, document) {
  const details = element("details", "");
  details.className = "operation";
  const verb = element("span", method.toUpperCase());
  verb.className = "method";
  details.append(element("summary", "", verb, element("code", path), element("span", described.summary)));
  if (described.description) details.append(element("p", described.description));
  const parameters = (described.parameters ?? []).map((p) => (p.$ref ? document.components.parameters[p.$ref.split("/").pop()] : p));
  if (parameters.length) {
    details.append(table(["parameter", "in", "meaning"], parameters.map((p) => [p.name, p.in, p.description ?? ""])));
  }
  const bodies = Object.entries(described.requestBody?.content ?? {});
  if (bodies.length) details.append(table(["body", "is"], bodies.map(([type, content]) => [type, content.schema.description ?? typeOf(content.schema)])));
  const responses = Object.entries(described.responses).map(([status, response]) => {
    const found = response.$ref ? document.components.responses[response.$ref.split("/").pop()] : response;
    return [status, found.description, Object.entries(found.content ?? {}).map(([type, content]) => `${type}: ${typeOf(content.schema)}`).join(", ")];
  });
  details.append(table(["status", "meaning", "body"], responses));
  return details;
}

async function show() {
  const document_ = await (await fetch("/openapi.json")).json();
  document.getElementById("about").textContent = document_.info.description;
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, described] of Object.entries(methods)) {
      document.getElementById("operations").append(operation(path, method, described, document_));
    }
  }
}

show();
