// A live stream, read by fetch: the browser's own EventSource cannot send a key. It goes on after the last id when it breaks.
import { withKey } from "./parts.js";

const AGAIN_MS = 1000;

// `heard` gets the data of each event. What comes back can be closed.
export function listen(path, heard) {
  const stop = new AbortController();
  let last = null;

  async function once() {
    const asked = withKey({ Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) });
    const answer = await fetch(path, { headers: asked, signal: stop.signal });
    if (answer.status !== 200) return false; // 204: all was seen; else it will not get better by itself
    let rest = "";
    for await (const text of pieces(answer.body)) {
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop();
      for (const event of blocks.map(read)) {
        if (event.data === undefined) continue; // a comment: the heartbeat
        last = event.id ?? last;
        heard(JSON.parse(event.data));
      }
    }
    return true;
  }

  (async () => {
    for (let goes = true; goes && !stop.signal.aborted;) {
      try { goes = await once(); } catch { goes = true; }
      if (goes) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  })();
  return { close: () => stop.abort() };
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let step = await reader.read(); !step.done; step = await reader.read()) yield step.value;
}

function read(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
  }
  return fields;
}
