// The pages: a hash names one, it draws itself again every two seconds while it is visible, and one job's events stream.
import { listen } from "./events.js";
import { ago, ask, bytes, chart, el, file, number, pill, seconds, table, useKey } from "./parts.js";

const EVERY_MS = 2000;
const MOST_EVENTS = 300;
const view = document.getElementById("view");
const link = document.getElementById("link");
const DONE = ["succeeded", "failed", "cancelled"];
const curves = new Map(); // id of an ended job → its series, which no longer change
let stream = null;
let drawing = 0;
let soon; // the drawing that an event asked for
let still = false; // nothing new can come: what this page shows is not there, or is being typed

const title = (job) => job.spec.name || job.id;
const method = (job) => job.spec.optimizer.name === "adamw" ? "AdamW" : job.warp_version ? `P ${job.spec.family}@${job.warp_version}` : "WarpAdam, no P";

async function losses(job, points) {
  if (curves.has(job.id + points)) return curves.get(job.id + points);
  const { data } = await ask(`/v1/jobs/${job.id}/metrics?name=train_loss&name=val_loss&max_points=${points}`);
  const series = [data.train_loss ?? [], data.val_loss ?? []];
  if (DONE.includes(job.state)) curves.set(job.id + points, series);
  return series;
}

async function jobCard(job) {
  const series = job.progress.step ? await losses(job, 60) : [[], []];
  const best = job.result?.final?.val_loss ?? series[1].at(-1)?.value;
  return el("a", { class: "card", href: `#/jobs/${job.id}` },
    el("div", { class: "row head" }, el("span", { class: "name" }, title(job)), pill(job.state)),
    el("div", { class: "soft small" }, `${job.spec.family} · ${method(job)} · ${ago(job.created_at)}`),
    chart(series, { width: 300, height: 70, axes: false }),
    el("progress", { max: job.progress.of, value: job.progress.step, "aria-label": "steps done" }),
    el("div", { class: "row small soft" },
      el("span", {}, `step ${job.progress.step} of ${job.progress.of}`),
      el("span", { class: "push" }, best === undefined ? "" : `val loss ${number(best)}`)),
    job.pending_reason && el("div", { class: "small wait" }, job.pending_reason.message),
    job.failure && el("div", { class: "small bad" }, job.failure.message));
}

async function jobsPage() {
  const { data } = await ask("/v1/jobs?limit=48");
  const submit = el("a", { href: "#/submit", class: "push" }, "Submit a job");
  if (!data.length) return [el("p", { class: "empty" }, "No jobs yet. ", el("a", { href: "#/submit" }, "Submit one here"), ", or with ", el("code", {}, "warpadam submit job.yaml"), ".")];
  return [el("div", { class: "row" }, el("h1", {}, "Jobs"), submit), el("div", { class: "grid" }, await Promise.all(data.map(jobCard)))];
}

const act = (job, verb) => el("button", {
  onclick: async () => {
    try { await ask(`/v1/jobs/${job.id}/${verb}`, { method: "POST" }); } catch (error) { alert(error.message); }
    draw();
  },
}, verb);

function verbs(job) {
  if (DONE.includes(job.state)) return [];
  return [job.state === "paused" ? act(job, "resume") : act(job, "pause"), act(job, "cancel")];
}

async function jobPage(id) {
  const job = await ask(`/v1/jobs/${encodeURIComponent(id)}`);
  const series = await losses(job, 1000);
  const log = document.getElementById("log") ?? follow(job.id);
  const took = job.started_at === null ? null : (new Date(job.finished_at ?? Date.now()) - new Date(job.started_at)) / 1000;
  return [
    el("h1", {}, title(job)),
    el("div", { class: "card" },
      el("div", { class: "row" }, pill(job.state), el("span", { class: "mono soft" }, job.id), el("span", { class: "push" }), verbs(job)),
      el("div", { class: "row small soft" },
        el("span", {}, "family ", el("a", { href: `#/families/${job.spec.family}` }, job.spec.family)), el("span", {}, method(job)),
        el("span", {}, `step ${job.progress.step} of ${job.progress.of}`), took === null ? null : el("span", {}, `${DONE.includes(job.state) ? "took" : "running for"} ${seconds(took)}`),
        job.progress.eta_s !== null && !DONE.includes(job.state) && el("span", {}, `about ${seconds(job.progress.eta_s)} left`) || null),
      job.pending_reason && el("p", { class: "wait" }, job.pending_reason.message),
      job.failure && el("p", { class: "bad" }, `${job.failure.code}: ${job.failure.message}`)),
    el("div", { class: "card" },
      el("div", { class: "row small soft" }, el("span", { class: "key0" }, `train loss ${number(series[0].at(-1)?.value)}`),
        el("span", { class: "key1" }, `validation loss ${number(series[1].at(-1)?.value)}`)),
      series.some((line) => line.length > 1) ? chart(series, { width: Math.max(280, view.clientWidth - 66) })
        : el("p", { class: "soft" }, DONE.includes(job.state) ? "No curve: it ended too early." : "No curve yet.")),
    el("div", { class: "card" }, el("h2", {}, "Events"), log),
    el("details", { class: "card", open: document.querySelector("details[open]") && "" },
      el("summary", {}, "Description and result"), el("pre", {}, JSON.stringify({ spec: job.spec, result: job.result }, null, 2))),
  ];
}

function said({ type, message, data }) {
  return type === "job.state" && !message.startsWith(data.to) ? `${data.to}: ${message}` : message;
}

// The job's events as they come; the same table stays while the page around it is drawn again.
function follow(id) {
  const body = el("tbody");
  const box = el("div", { class: "scroll", id: "log", tabindex: "0", "aria-label": "events, newest first" }, el("table", {}, body));
  stream?.close();
  stream = listen(`/v1/jobs/${id}/events`, (event) => {
    body.prepend(el("tr", {}, el("td", { class: "soft small" }, new Date(event.created_at).toLocaleTimeString()),
      el("td", {}, event.type), el("td", { class: `wide ${event.level === "error" ? "bad" : ""}` }, said(event))));
    if (body.childElementCount > MOST_EVENTS) body.lastChild.remove();
    if (event.type === "end") stream?.close();
    drawSoon();
  });
  return box;
}

async function familiesPage() {
  const { data } = await ask("/v1/families?limit=100");
  if (!data.length) return [el("p", { class: "empty" }, "No families yet: the first job of a family makes it.")];
  return [el("h1", {}, "Families"), el("div", { class: "grid" }, data.map((family) =>
    el("a", { class: "card", href: `#/families/${family.name}` },
      el("div", { class: "row head" }, el("span", { class: "name" }, family.name),
        el("span", { class: "pill" }, family.champion ? `champion ${family.champion}` : "no P yet")),
      el("div", { class: "soft small" }, family.description || `promotion: ${family.promotion}`),
      el("div", { class: "soft small" }, `${family.learner.accepted} contributions, ${family.learner.pending} not yet in a version`))))];
}

// The outer axes by name, the hidden ones by their number.
function axes(keys) {
  const outer = keys.map((key) => key.key).filter((key) => !key.startsWith("param:"));
  const shown = outer.slice(0, 6);
  const more = keys.length - shown.length;
  return [...shown, more ? `${shown.length ? "and " : ""}${more} ${outer.length > 6 ? "more" : "hidden"}` : null].filter(Boolean).join(" ");
}

async function familyPage(name) {
  const path = `/v1/families/${encodeURIComponent(name)}`;
  const [family, warps, aliases] = await Promise.all([ask(path), ask(`${path}/warps?limit=50`), ask(`${path}/aliases`)]);
  const names = (version) => aliases.data.filter((alias) => alias.version === version).map((alias) => alias.name);
  const rows = warps.data.map((warp) => [
    el("td", {}, el("b", {}, String(warp.version)), " ", names(warp.version).map((each) => el("span", { class: "pill good" }, each))),
    warp.rule, String(warp.jobs.length), String(warp.steps),
    el("td", { class: "wide mono" }, axes(warp.keys)),
    ago(warp.created_at), file(`${path}/warps/${warp.version}/content`, bytes(warp.size)),
  ]);
  const refused = Object.entries(family.learner.refused).map(([code, count]) => `${count} × ${code}`).join(", ");
  return [
    el("h1", {}, family.name),
    el("div", { class: "card" }, family.description && el("p", {}, family.description),
      el("div", { class: "row small soft" }, el("span", {}, `promotion: ${family.promotion}`),
        el("span", {}, `${family.learner.accepted} contributions accepted`), el("span", {}, refused ? `refused: ${refused}` : "none refused"))),
    el("div", { class: "card" }, el("h2", {}, "Versions of P"), rows.length
      ? table(["version", "rule", "jobs", "steps", "axes", "made", "file"], rows)
      : el("p", { class: "soft" }, "None yet: the first contributing job makes one.")),
  ];
}

async function clusterPage() {
  const cluster = await ask("/v1/cluster");
  const meter = (label, used, all) => el("div", { class: "card" },
    el("div", { class: "row" }, el("h2", {}, label), el("span", { class: "push soft" }, `${number(used)} of ${number(all)} in use`)),
    el("progress", { max: all || 1, value: used, "aria-label": label }));
  const nodes = cluster.nodes.map((node) => [el("td", { class: "mono" }, node.id.slice(0, 16)), pill(node.alive ? "ready" : "failed"), number(node.cpus), number(node.gpus)]);
  return [
    el("h1", {}, "Cluster"),
    el("p", { class: "soft" }, cluster.at ? `as the dispatcher saw it ${ago(cluster.at)}; ` : "no dispatcher has been seen; ",
      `jobs queued: ${cluster.queue.queued ?? 0}, running: ${cluster.queue.running ?? 0}`),
    el("div", { class: "grid" }, meter("CPUs", cluster.used_cpus, cluster.cpus), meter("GPUs", cluster.used_gpus, cluster.gpus)),
    el("p"), el("div", { class: "card" }, el("h2", {}, "Nodes"), table(["node", "state", "CPUs", "GPUs"], nodes)),
  ];
}

const EXAMPLE = {
  family: "digits", dataset: { builtin: "digits" }, task: "classification",
  model: { arch: "mlp", hidden: [64] }, optimizer: { lr: 0.003 }, training: { steps: 300 },
};

function submitPage() {
  const text = el("textarea", { "aria-label": "description of the job, JSON", rows: 18, spellcheck: "false" });
  text.value = JSON.stringify(EXAMPLE, null, 2);
  const answer = el("p", { role: "status" });
  const tell = (tone, words) => { answer.className = tone; answer.textContent = words; };
  const send = (path, done) => async () => {
    try {
      done(await ask(path, { method: "POST", json: JSON.parse(text.value) }));
    } catch (error) {
      tell("bad", error.message);
    }
  };
  const check = send("/v1/jobs?validate_only=true", (found) => tell("good",
    ["It would be accepted.", ...found.warnings.map((warning) => warning.message)].join(" ")));
  return [
    el("h1", {}, "Submit a job"),
    el("div", { class: "card" }, text, answer, el("div", { class: "row" },
      el("button", { class: "main", onclick: send("/v1/jobs", (job) => { location.hash = `#/jobs/${job.id}`; }) }, "submit"),
      el("button", { onclick: check }, "check"), el("a", { href: "/docs", class: "push small" }, "all fields"))),
  ];
}

// What is shown where the service wants a key.
function keyForm(message) {
  const input = el("input", { type: "password", autocomplete: "off", "aria-label": "API key" });
  const use = () => { useKey(input.value.trim()); turn(); };
  input.addEventListener("keydown", (event) => event.key === "Enter" && use());
  return el("div", { class: "card key" }, el("h1", {}, "This service wants a key"),
    el("p", { role: "alert" }, message),
    el("p", { class: "soft" }, "It stays in this tab until you close it. An administrator makes one with ", el("code", {}, "warpadam keys create"), "."),
    el("div", { class: "row" }, input, el("button", { class: "main", onclick: use }, "use it")));
}

const PAGES = { "": jobsPage, jobs: jobsPage, submit: submitPage, families: familiesPage, cluster: clusterPage };
const ONE = { jobs: jobPage, families: familyPage };

function answered(is, reason = "") {
  link.textContent = is ? "live" : "no answer";
  link.className = `pill ${is ? "good" : "bad"}`;
  link.title = is ? "" : reason;
}

async function draw() {
  const mine = ++drawing;
  const [, page = "", id] = location.hash.split("/");
  try {
    const show = id ? ONE[page] : PAGES[page];
    const parts = show ? await show(id && decodeURIComponent(id)) : [el("p", { class: "empty" }, "There is no such page.")];
    if (mine !== drawing) return;
    const focused = document.activeElement?.getAttribute?.("href");
    const scrolled = document.getElementById("log")?.scrollTop ?? 0; // which an element loses when it is put in again
    view.replaceChildren(...parts);
    document.getElementById("log")?.scrollTo(0, scrolled);
    if (focused) [...view.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus({ preventScroll: true });
    if (!document.getElementById("log")) stream?.close();
    still = page === "submit";
    answered(true);
  } catch (error) {
    if (mine !== drawing) return;
    still = error.status === 404 || error.status === 401;
    answered(still, error.message);
    if (still) {
      view.replaceChildren(error.status === 401 ? keyForm(error.message) : el("p", { class: "empty" }, error.message));
      return;
    }
    if (!view.childElementCount) view.replaceChildren(el("p", { class: "empty" }, error.message));
  }
}

// Events come many at a time, above all the old ones; one drawing is enough for all of them.
function drawSoon() {
  clearTimeout(soon);
  soon = setTimeout(tick, 100);
}

// Drawing again would take away what somebody has just selected to copy.
const tick = () => document.hidden || still || !getSelection().isCollapsed || draw();

function turn() {
  stream?.close();
  stream = null;
  still = false;
  view.replaceChildren();
  for (const each of document.querySelectorAll("nav a")) {
    const here = each.hash.split("/")[1] === (location.hash.split("/")[1] ?? "") || (each.hash === "#/" && location.hash.startsWith("#/jobs"));
    here && each.pathname === location.pathname ? each.setAttribute("aria-current", "page") : each.removeAttribute("aria-current");
  }
  draw();
}

addEventListener("hashchange", turn);
setInterval(tick, EVERY_MS);
turn();
