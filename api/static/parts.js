// Small things the pages are made of: elements, requests, words, curves. Text is always set as text, never as HTML.

export function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) value && node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// A key, where the service wants one: kept for this tab only, and sent in a header, never in a URL.
const KEY = "warpadam-key";
export const useKey = (key) => sessionStorage.setItem(KEY, key);

export function withKey(headers = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
}

export async function ask(path, { json, ...options } = {}) {
  const sent = json === undefined ? {} : { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } };
  const answer = await fetch(path, { ...options, ...sent, headers: withKey(sent.headers) });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.detail || `HTTP ${answer.status}`), { status: answer.status });
  return body;
}

// A link to a file; where a key is needed it is fetched with it first.
export const file = (path, text) => el("a", {
  href: path,
  onclick: sessionStorage.getItem(KEY) && (async (event) => {
    event.preventDefault();
    const answer = await fetch(path, { headers: withKey() });
    const url = URL.createObjectURL(await answer.blob());
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "";
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }),
}, text);

const TONES = {
  succeeded: "good", ready: "good", failed: "bad", cancelled: "soft", queued: "wait", paused: "wait", recovering: "wait",
};
export const pill = (state) => el("span", { class: `pill ${TONES[state] ?? "busy"}` }, state);

export const number = (value) =>
  value === null || value === undefined ? "–" : Math.abs(value) >= 1e-3 || value === 0
    ? String(Number(value.toPrecision(4))) : value.toExponential(2);

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let step = 0;
  while (size >= 1024 && step < 3) { size /= 1024; step += 1; }
  return `${step ? size.toFixed(1) : size} ${units[step]}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}

export const ago = (time) => `${seconds(Math.max(0, (Date.now() - new Date(time)) / 1000))} ago`;

export const table = (heads, rows) => el("div", { class: "scroll" }, el("table", {},
  el("thead", {}, el("tr", {}, heads.map((head) => el("th", {}, head)))),
  el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => (cell?.tagName === "TD" ? cell : el("td", {}, cell ?? "–"))))))));

// Curves over steps; each series is [{step, value}, …]. Values that are all positive and span a decade get a log axis.
export function chart(series, { width = 640, height = 260, axes = true } = {}) {
  const points = series.flat();
  const pad = axes ? { left: 52, right: 8, top: 10, bottom: 22 } : { left: 2, right: 2, top: 4, bottom: 4 };
  const svg = el("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" });
  if (points.length < 2) return svg;
  const values = points.map((point) => point.value);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const log = low > 0 && high / low > 10;
  const scale = log ? Math.log10 : (value) => value;
  const last = Math.max(1, ...points.map((point) => point.step));
  const span = scale(high) - scale(low) || 1;
  const x = (step) => pad.left + (step / last) * (width - pad.left - pad.right);
  const y = (value) => pad.top + (1 - (scale(value) - scale(low)) / span) * (height - pad.top - pad.bottom);
  if (axes) {
    for (const share of [0, 0.5, 1]) {
      const at = scale(low) + share * span;
      const value = log ? 10 ** at : at;
      svg.append(
        el("line", { x1: pad.left, x2: width - pad.right, y1: y(value), y2: y(value) }),
        el("text", { x: pad.left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
        el("text", { x: x(share * last), y: height - 4, "text-anchor": ["start", "middle", "end"][share * 2] }, String(Math.round(share * last))),
      );
    }
  }
  series.forEach((line, index) => {
    const d = line.map((point, i) => `${i ? "L" : "M"}${x(point.step).toFixed(1)} ${y(point.value).toFixed(1)}`).join("");
    if (d) svg.append(el("path", { d: line.length === 1 ? `${d}h2` : d, class: `s${index % 2}` }));
  });
  svg.prepend(el("title", {}, `from ${number(values[0])} to ${number(values.at(-1))} over ${last} steps${log ? ", logarithmic" : ""}`));
  return svg;
}
