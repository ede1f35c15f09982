// The API's documentation, drawn from /openapi.json.
import { ask, el, table } from "./parts.js";

const api = await ask("/openapi.json");
const plain = (text) => (text ?? "").replaceAll("`", "");
const find = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf || schema.oneOf) return (schema.anyOf ?? schema.oneOf).map(kind).join(" | ");
  return schema.type === "array" ? `[${kind(schema.items)}]` : schema.type ?? "any";
}

const fields = (schema) => table(["field", "type", ""], Object.entries(find(schema)?.properties ?? {}).map(([name, field]) => [
  el("code", {}, name), kind(field), el("td", { class: "wide soft" }, plain(field.description) || (field.default === undefined ? "" : `default ${JSON.stringify(field.default)}`))]));

function bodies(operation) {
  return Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) =>
    el("div", {}, el("p", { class: "small soft" }, `body: ${type} ${kind(schema)}`), fields(schema)));
}

function answers(operation) {
  return Object.entries(operation.responses).filter(([status]) => status.startsWith("2")).map(([status, answer]) => {
    const schema = find(Object.values(answer.content ?? {})[0]?.schema);
    return el("div", {}, el("p", { class: "small soft" }, `answers ${status} ${schema?.title ?? ""}`),
      schema?.example ? el("pre", {}, JSON.stringify(schema.example, null, 2)) : schema?.properties ? fields(schema) : null);
  });
}

// A problem is named by its status and its codes: #/components/responses/409.in_use.invalid_state
const problems = (operation) => Object.values(operation.responses).filter((answer) => answer.$ref).map((answer) => {
  const [status, ...codes] = answer.$ref.split("/").pop().split(".");
  return `${status} ${codes.join(", ")}`;
}).join(" · ");

function call(path, verb, operation) {
  return el("details", { class: "card" },
    el("summary", {}, el("b", {}, verb.toUpperCase()), " ", el("code", {}, path), el("span", { class: "soft small" }, ` ${plain(operation.description)}`)),
    operation.parameters?.length ? table(["parameter", "in", "type", ""], operation.parameters.map((each) => [
      el("code", {}, each.name), each.in, kind(each.schema), el("td", { class: "wide soft" }, plain(each.description))])) : null,
    bodies(operation), answers(operation), el("p", { class: "small soft" }, `problems: ${problems(operation)}`));
}

const groups = {};
for (const [path, operations] of Object.entries(api.paths))
  for (const [verb, operation] of Object.entries(operations))
    if (verb !== "head") (groups[operation.tags?.[0] ?? ""] ??= []).push(call(path, verb, operation));

document.getElementById("view").append(
  el("h1", {}, `${api.info.title} API, version ${api.info.version}`),
  el("p", { class: "soft" }, plain(api.info.description)),
  ...Object.entries(groups).flatMap(([name, calls]) => [el("h2", {}, name), ...calls]),
  el("h2", {}, "objects"),
  ...Object.entries(api.components.schemas).map(([name, schema]) => el("details", { class: "card" }, el("summary", {}, el("code", {}, name)), fields(schema))));
