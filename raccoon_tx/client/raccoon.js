// Sends events to raccoon_tx from a page: by WebSocket, by fetch where that is refused, and by sendBeacon when the page
// goes. An ES module as it stands, without dependencies.
//
//   import { Raccoon } from "./raccoon.js";
//   const raccoon = new Raccoon("https://events.example", { id: "visitor-9" });
//   raccoon.send("click", { button: "buy" });
//
// An unanswered batch is sent again under the same guid; at most `bufferBytes` are kept.

const DEFAULTS = {
  id: "",
  group: "",
  idHeader: "X-User-ID", // for fetch: as the server is configured
  groupHeader: "X-User-Group",
  idQuery: "id", // for sendBeacon, which cannot send headers
  groupQuery: "group",
  batchEvents: 100,
  batchBytes: 48 << 10, // so that a batch fits into a beacon
  batchAge: 1000, // milliseconds, as all times here
  bufferEvents: 5000,
  bufferBytes: 2 << 20,
  inFlight: 8,
  answerTimeout: 15000,
  backoff: 1000,
  longestBackoff: 30000,
  socketAgainAfter: 300000, // so long fetch is used after a WebSocket was refused
  rejected: (event, reason) => console.warn(`raccoon: an event of type ${event.type} is refused: ${reason}`),
};

// Bytes that browsers let all beacons have that are on their way.
const BEACONS = 60 << 10;
// Bytes of an event beside its type and its base64.
const OVERHEAD = 40;
// Milliseconds that a server may tell us to stay away; timers cannot wait for weeks.
const LONGEST_ADVICE = 300000;
// Of a gateway, say: come back later. Its other refusals are for good.
const PASSING = [408, 425, 429];

const base64 = (bytes) => {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary);
};

const utf8 = (text) => new TextEncoder().encode(text);

const base64url = (text) => base64(utf8(text)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const newGuid = () => {
  if (crypto.randomUUID) return crypto.randomUUID(); // only pages by https have it
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
};

export class Raccoon {
  #url;
  #options;
  #open = []; // events that wait for others
  #openSince = 0;
  #openBytes = 0;
  #ready = []; // batches, in order
  #sent = new Map(); // batches without an answer, by guid
  #events = 0;
  #bytes = 0;
  #number = 0;
  #socket = null;
  #noSocketUntil = 0;
  #pause = 0;
  #losses = 0;
  #timer = 0;
  #waiters = [];
  #closed = false;
  #hide = () => this.#leave();
  #show = () => this.#pump();

  counts = { delivered: 0, rejected: 0, dropped: 0, beacons: 0 };

  // `url` of the server, with its path if it is not /api/v1/events.
  constructor(url, options = {}) {
    this.#url = new URL(url, globalThis.location?.href);
    if (this.#url.pathname === "/") this.#url.pathname = "/api/v1/events";
    this.#options = { ...DEFAULTS, ...options };
    globalThis.addEventListener?.("pagehide", this.#hide);
    globalThis.addEventListener?.("pageshow", this.#show);
  }

  // How many events are not done with.
  get waiting() {
    return this.#events;
  }

  // "websocket" or "fetch": what is used now.
  get transport() {
    return Date.now() < this.#noSocketUntil || !globalThis.WebSocket ? "fetch" : "websocket";
  }

  // Take an event: a string, a Uint8Array, or anything that JSON can say. False: there is no room for it.
  send(type, value) {
    if (this.#closed) throw new Error("raccoon: closed");
    const bytes = value instanceof Uint8Array ? value : utf8(typeof value === "string" ? value : JSON.stringify(value));
    const event = { type: String(type), event_bytes: base64(bytes) };
    const size = event.type.length * 3 + event.event_bytes.length + OVERHEAD;
    const { bufferEvents, bufferBytes, batchEvents, batchBytes, batchAge } = this.#options;
    if (this.#events && (this.#events >= bufferEvents || this.#bytes + size > bufferBytes)) {
      this.counts.dropped++;
      return false;
    }
    if (this.#open.length && this.#openBytes + size > batchBytes) this.#closeBatch();
    if (!this.#open.length) this.#openSince = Date.now();
    this.#open.push({ event, size });
    this.#openBytes += size;
    this.#events++;
    this.#bytes += size;
    if (this.#open.length >= batchEvents || this.#openBytes >= batchBytes || !batchAge) this.#closeBatch();
    this.#pump();
    return true;
  }

  // Send what is there. Resolves when everything is done with.
  async flush() {
    this.#closeBatch();
    this.#pump();
    while (this.#events) await new Promise((resolve) => this.#waiters.push(resolve));
  }

  // Take nothing more, wait for the answers, at most so long, and let go. Resolves with how many events had none.
  async close(timeout = 15000) {
    this.#closed = true;
    let timer;
    await Promise.race([this.flush(), new Promise((resolve) => (timer = setTimeout(resolve, timeout)))]);
    clearTimeout(timer);
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.("pagehide", this.#hide);
    globalThis.removeEventListener?.("pageshow", this.#show);
    const [socket, left] = [this.#socket, this.#events];
    this.#socket = null;
    socket?.close(1000);
    return left;
  }

  #closeBatch() {
    if (this.#open.length) this.#ready.push({ guid: newGuid(), number: ++this.#number, entries: this.#open, due: 0, tries: 0 });
    this.#open = [];
    this.#openBytes = 0;
  }

  #body(batch) {
    return JSON.stringify({
      req_guid: batch.guid,
      sent_time: { seconds: Math.floor(Date.now() / 1000), nanos: 0 },
      events: batch.entries.map((entry) => entry.event),
    });
  }

  // Do what is due, and be called when the next thing is.
  #pump() {
    const { batchAge, inFlight, answerTimeout } = this.#options;
    const now = Date.now();
    if (this.#open.length && now >= this.#openSince + batchAge) this.#closeBatch();
    if (this.#socket && now >= this.#firstSent(this.#socket)?.due) this.#lost(this.#socket, false);
    if (this.#ready.length && now >= this.#pause) {
      const byFetch = this.transport === "fetch";
      if (!byFetch && !this.#socket) this.#connect();
      if (byFetch || this.#socket?.readyState === 1) {
        const due = this.#ready.filter((batch) => batch.due <= now).slice(0, Math.max(0, inFlight - this.#sent.size));
        this.#ready = this.#ready.filter((batch) => !due.includes(batch));
        for (const batch of due) {
          batch.due = now + answerTimeout;
          batch.socket = byFetch ? null : this.#socket;
          this.#sent.set(batch.guid, batch);
          if (byFetch) this.#post(batch);
          else this.#socket.send(this.#body(batch));
        }
      }
    }
    this.#wake(now);
  }

  // The oldest batch that this connection carries. By fetch each looks after itself.
  #firstSent(socket) {
    for (const batch of this.#sent.values()) if (batch.socket === socket) return batch;
  }

  #wake(now) {
    clearTimeout(this.#timer);
    const times = [];
    if (this.#open.length) times.push(this.#openSince + this.#options.batchAge);
    const first = this.#socket && this.#firstSent(this.#socket);
    if (first) times.push(first.due);
    const canSend = this.transport === "fetch" || !this.#socket || this.#socket.readyState === 1;
    if (canSend && this.#sent.size < this.#options.inFlight) {
      times.push(...this.#ready.map((batch) => Math.max(batch.due, this.#pause)));
    }
    // What is answered or connected wakes us too; not more often than it makes sense.
    if (times.length) this.#timer = setTimeout(() => this.#pump(), Math.max(20, Math.min(...times) - now));
  }

  #connect() {
    const { id, group, answerTimeout, socketAgainAfter } = this.#options;
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = ["raccoon.json.v1"];
    if (id) protocols.push("raccoon.id." + base64url(id));
    if (group) protocols.push("raccoon.group." + base64url(group));
    let refused = true; // until the server has answered something
    let socket;
    try {
      socket = this.#socket = new WebSocket(url, protocols);
    } catch {
      this.#noSocketUntil = Date.now() + socketAgainAfter; // not allowed here
      return;
    }
    const late = setTimeout(() => socket.close(), answerTimeout);
    socket.onopen = () => {
      clearTimeout(late);
      this.#pump();
    };
    socket.onmessage = (message) => {
      let answer;
      try {
        answer = JSON.parse(message.data);
      } catch {
        return socket.close(); // not a server of ours
      }
      if (answer?.data?.req_guid) refused = false;
      if (answer?.data?.req_guid && this.#socket === socket) this.#answered(answer.data.req_guid, answer);
    };
    socket.onclose = () => {
      clearTimeout(late);
      if (this.#socket !== socket) return;
      if (refused) this.#noSocketUntil = Date.now() + socketAgainAfter;
      this.#lost(socket, refused);
      this.#pump();
    };
    // Where the policy of the page forbids it, Chromium says no more than this.
    socket.onerror = () => socket.readyState === 3 && socket.onclose();
  }

  // What the connection carried may have arrived: it goes again, under the same guids.
  #lost(socket, refused) {
    this.#socket = null;
    socket.close();
    for (const [guid, batch] of this.#sent) {
      if (batch.socket !== socket) continue;
      this.#sent.delete(guid);
      this.#again(batch, 0);
    }
    if (!refused) this.#pause = Date.now() + this.#wait(++this.#losses);
  }

  async #post(batch) {
    const { id, group, idHeader, groupHeader, answerTimeout } = this.#options;
    const headers = { "Content-Type": "application/json" };
    if (id) headers[idHeader] = id;
    if (group) headers[groupHeader] = group;
    let advice = 0;
    let answer;
    try {
      const signal = AbortSignal.timeout(answerTimeout);
      const response = await fetch(this.#url, { method: "POST", headers, body: this.#body(batch), signal });
      const { ok, status } = response;
      advice = 1000 * response.headers.get("Retry-After") || 0;
      answer = await response.json().catch(() => null);
      if (!answer?.code || ok !== (answer.code === 1)) answer = null; // a gateway's
      else if (!answer.data) answer.data = { retry_after_ms: advice };
      if (!answer && status >= 400 && status < 500 && !PASSING.includes(status)) {
        answer = { code: 2, reason: `HTTP status ${status}`, data: {} };
      }
    } catch {
      // no answer at all
    }
    if (this.#sent.get(batch.guid) !== batch) return;
    if (answer) return this.#answered(batch.guid, answer);
    this.#sent.delete(batch.guid);
    this.#again(batch, 0);
    // The server is away, so that it was not the WebSocket that was refused.
    this.#noSocketUntil = 0;
    if (Date.now() >= this.#pause) this.#pause = Date.now() + Math.max(this.#wait(++this.#losses), this.#heed(advice));
    this.#pump();
  }

  #answered(guid, { code, reason = "", data }) {
    const batch = this.#sent.get(guid);
    if (!batch) return;
    this.#sent.delete(guid);
    this.#losses = 0;
    const again = data.retryable === "true" || (data.retryable !== "false" && code > 2);
    if (code === 1) {
      this.#done(batch.entries, "delivered");
    } else {
      const named = new Set((data.failed || "").split(",").filter(Boolean).map(Number));
      const failed = batch.entries.filter((_, index) => !named.size || named.has(index));
      const others = batch.entries.filter((_, index) => named.size && !named.has(index));
      // A batch that is wrong is refused whole; one that could not be published is published but for these.
      if (code > 2) this.#done(others, "delivered");
      let left = code > 2 ? [] : others;
      if (again) left = code > 2 ? failed : batch.entries;
      else this.#reject(failed, reason);
      if (+data.retry_after_ms) this.#pause = Date.now() + this.#heed(+data.retry_after_ms);
      // Under the old guid the rest of a batch would be taken for a duplicate.
      if (left.length < batch.entries.length) Object.assign(batch, { guid: newGuid(), entries: left });
      if (left.length) this.#again(batch, again && !+data.retry_after_ms ? this.#wait(++batch.tries) : 0);
    }
    this.#pump();
  }

  #reject(entries, reason) {
    this.#done(entries, "rejected");
    for (const { event } of entries) queueMicrotask(() => this.#options.rejected(event, reason));
  }

  #again(batch, delay) {
    batch.due = delay && Date.now() + delay;
    this.#ready.push(batch);
    this.#ready.sort((one, other) => one.number - other.number);
  }

  #done(entries, what) {
    this.counts[what] += entries.length;
    this.#events -= entries.length;
    for (const { size } of entries) this.#bytes -= size;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }

  #wait(failures) {
    const { backoff, longestBackoff } = this.#options;
    return Math.min(longestBackoff, backoff * 2 ** Math.min(failures - 1, 16)) * (0.5 + Math.random() / 2);
  }

  // Not before it was advised, and not all pages at once.
  #heed(advice) {
    return Math.min(advice, LONGEST_ADVICE) * (1 + Math.random() / 2);
  }

  // The page goes: whatever has no answer goes by beacon, in the order of its batches. There is no answer to a beacon,
  // so what the browser takes is done with; the rest stays, for a page that comes back.
  #leave() {
    if (!navigator.sendBeacon) return;
    const { id, group, idQuery, groupQuery } = this.#options;
    const url = new URL(this.#url);
    if (id && idQuery) url.searchParams.set(idQuery, id);
    if (group && groupQuery) url.searchParams.set(groupQuery, group);
    this.#closeBatch();
    let room = BEACONS;
    const all = [...this.#sent.values(), ...this.#ready].sort((one, other) => one.number - other.number);
    for (const batch of all) {
      const body = this.#body(batch);
      room -= body.length;
      if (room < 0 || !navigator.sendBeacon(url, body)) break; // a string: text/plain, which needs no preflight
      this.#sent.delete(batch.guid);
      this.#ready = this.#ready.filter((each) => each !== batch);
      this.counts.beacons++;
      this.#done(batch.entries, "delivered");
    }
  }
}
