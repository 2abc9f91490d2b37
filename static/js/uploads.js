// Uploading: choose or drop, three files at a time, each with its progress and what became of it.
// Large files go in pieces (resumable.js).

import { isReadable, ResumableUpload } from "./resumable.js";

const AT_ONCE = 3;
const ANNOUNCE_MS = 8000;
// How often a file is sent again by itself because the server could not deal with it just then.
const MOST_PUT_OFF = 5;
const RESUMABLE_BYTES = 8 * 1024 * 1024;

const panel = document.getElementById("uploads");
const input = document.getElementById("upload-input");
const rowTemplate = document.getElementById("upload-template").content.firstElementChild;
const title = document.getElementById("uploads-title");
const detail = document.getElementById("uploads-detail");
const total = document.getElementById("uploads-total");
const list = document.getElementById("uploads-list");
const collapse = document.getElementById("uploads-collapse");
const close = document.getElementById("uploads-close");
const retryAll = document.getElementById("uploads-retry");
const announcer = document.getElementById("uploads-announcer");
const text = panel.dataset;
const maxBytes = Number(text.maxBytes);
const language = document.documentElement.lang;

// queued → uploading → processing → searchable, or one of duplicate, rejected, failed.
// `rejected` is the server's last word on a file; `failed` can be tried again.
const STATES = ["queued", "uploading", "processing", "searchable", "duplicate", "rejected", "failed"];

let items = [];
const queue = [];
const byPhoto = new Map();
const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
const bytes = { total: 0, sent: 0 };
let pausedUntil = 0;

const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const number = (value) => value.toLocaleString(language);

function size(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  const digits = unit > 1 && value < 100 ? 1 : 0;
  return new Intl.NumberFormat(language, {
    style: "unit", unit: units[unit], unitDisplay: unit ? "short" : "long", maximumFractionDigits: digits,
  }).format(value);
}

// The queue

function add(files) {
  const rows = document.createDocumentFragment();
  for (const file of files) {
    const row = rowTemplate.cloneNode(true);
    const item = { file, row, state: "queued", note: "", sent: 0, size: file.size, photo: null, stop: null, putOff: 0 };
    row.querySelector(".upload-name").textContent = file.name;
    row.querySelector("progress").setAttribute("aria-label", file.name);
    const [cancelButton, retryButton] = row.querySelectorAll("button");
    cancelButton.addEventListener("click", () => cancel(item));
    retryButton.addEventListener("click", () => retry([item]));
    rows.append(row);
    items.push(item);
    counts.queued += 1;
    bytes.total += item.size;
    if (file.size > maxBytes) move(item, "rejected", text.errorSize);
    else {
      move(item, "queued", text.noteQueued);
      queue.push(item);
    }
  }
  list.append(rows);
  panel.hidden = false;
  pump();
}

function move(item, state, note) {
  counts[item.state] -= 1;
  counts[state] += 1;
  item.state = state;
  item.note = note;
  if (state === "rejected") {
    progress(item, 0);
    bytes.total -= item.size;
  } else if (!["queued", "uploading"].includes(state)) {
    progress(item, item.size);
  }
  draw(item);
}

function progress(item, sent) {
  bytes.sent += sent - item.sent;
  item.sent = sent;
  draw(item);
}

function retry(failed) {
  for (const item of failed) {
    if (item.photo) {
      retryPhoto(item);
    } else {
      item.putOff = 0;
      progress(item, 0);
      move(item, "queued", text.noteQueued);
      queue.push(item);
    }
  }
  pump();
}

// While it waits or is being sent. It leaves no trace.
function cancel(item) {
  item.stop?.();
  if (queue.includes(item)) queue.splice(queue.indexOf(item), 1);
  items.splice(items.indexOf(item), 1);
  item.row.remove();
  counts[item.state] -= 1;
  progress(item, 0);
  bytes.total -= item.size;
  if (!items.length) panel.hidden = true;
  pump();
}

// It was uploaded, but could not be made searchable.
async function retryPhoto(item) {
  move(item, "processing", text.noteProcessing);
  try {
    const url = text.retryUrl.replace("/0/", `/${item.photo}/`);
    const response = await fetch(url, { method: "POST", headers: { "X-CSRFToken": csrfToken(), "HX-Request": "true" } });
    if (!response.ok) throw new Error(response.statusText);
    follow(item);
  } catch {
    move(item, "failed", text.errorServer);
  }
}

function follow(item) {
  byPhoto.set(item.photo, item);
  document.dispatchEvent(new CustomEvent("photo:watch", { detail: { id: item.photo } }));
}

function pump() {
  if (pausedUntil > Date.now()) return;
  while (queue.length && counts.uploading < AT_ONCE) send(queue.shift());
}

// One file

function csrfToken() {
  return JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
}

const headers = () => ({ "X-CSRFToken": csrfToken(), Accept: "application/json" });

async function send(item) {
  move(item, "uploading", "");
  let result;
  try {
    if (item.size >= RESUMABLE_BYTES) result = await sendInPieces(item);
    // 409: the server has no room for another unfinished one.
    if (!result || result.status === 409) result = await sendWhole(item);
  } catch (error) {
    if (!items.includes(item)) return; // cancelled
    const lost = error.answered ? text.errorServer : text.errorNetwork;
    move(item, "failed", (await isReadable(item.file)) ? lost : text.errorUnreadable);
    pump();
    return;
  }
  if (!items.includes(item)) return;
  answer(item, result);
  pump();
}

function sendInPieces(item) {
  const upload = new ResumableUpload(item.file, {
    url: text.resumableUrl,
    headers,
    onProgress(sent) {
      item.note = "";
      progress(item, sent);
    },
    onLost() {
      item.note = text.noteLost;
      draw(item);
    },
  });
  item.stop = () => upload.cancel();
  return upload.send();
}

function sendWhole(item) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", text.url);
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      // The body is a little longer than the file: its form wraps it.
      progress(item, event.total ? (item.size * event.loaded) / event.total : 0);
    });
    request.addEventListener("load", () => resolve({
      status: request.status,
      body: request.response,
      retryAfter: Number(request.getResponseHeader("Retry-After")),
    }));
    request.addEventListener("error", () => reject(new Error("lost")));
    request.addEventListener("abort", () => reject(new Error("cancelled")));
    item.stop = () => request.abort();
    const form = new FormData();
    form.append("file", item.file, item.file.name);
    request.send(form);
  });
}

function answer(item, { status, body, retryAfter }) {
  if (status === 201 || status === 200) {
    item.photo = body.id;
    if (body.duplicate) {
      move(item, "duplicate", text.noteDuplicate);
      // It may be back from the trash, or whole again.
      for (const event of ["photo:added", "photo:watch"]) {
        document.dispatchEvent(new CustomEvent(event, { detail: { id: body.id } }));
      }
    } else {
      move(item, "processing", text.noteProcessing);
      document.dispatchEvent(new CustomEvent("photo:added", { detail: { id: body.id } }));
      follow(item);
    }
  } else if (status === 429 || (status === 503 && item.putOff < MOST_PUT_OFF)) {
    // Too many at once, or nobody who can look at a picture right now.
    if (status === 503) item.putOff += 1;
    pauseFor(retryAfter || 10);
    progress(item, 0);
    move(item, "queued", text.noteQueued);
    queue.unshift(item);
  } else if (status === 413) {
    move(item, "rejected", text.errorSize);
  } else if (status === 401 || status === 403) {
    for (const left of [item, ...queue.splice(0)]) move(left, "failed", text.errorSignedOut);
  } else if (status === 400 && body?.errors?.file) {
    move(item, "rejected", body.errors.file.join(" "));
  } else {
    // 503 and 507 say what is away, or that there is no room.
    move(item, "failed", ([503, 507].includes(status) && body?.detail) || text.errorServer);
  }
}

function pauseFor(seconds) {
  pausedUntil = Date.now() + seconds * 1000;
  setTimeout(pump, seconds * 1000 + 50);
}

document.addEventListener("photo:state", ({ detail: photo }) => {
  const item = byPhoto.get(photo.id);
  if (!item) return;
  if (photo.status === "gone") move(item, "rejected", text.noteGone);
  else if (photo.status === "failed") move(item, "failed", photo.error);
  else if (photo.searchable) move(item, "searchable", text.noteSearchable);
  else return;
  byPhoto.delete(photo.id);
});

// Drawing: at most once a frame, and only what changed.

const changed = new Set();
let drawing = false;

function draw(item) {
  changed.add(item);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const each of changed) drawRow(each);
    changed.clear();
    drawPanel();
  });
}

function drawRow({ row, state, note, sent, size: whole, photo }) {
  row.dataset.state = state;
  const share = whole ? sent / whole : 0;
  row.querySelector("progress").value = share;
  const sending = state === "uploading";
  row.classList.toggle("is-lost", sending && Boolean(note));
  row.querySelector(".upload-note").textContent =
    note || (sending ? share.toLocaleString(language, { style: "percent" }) : "");
  const [cancelButton, retryButton] = row.querySelectorAll("button");
  cancelButton.hidden = !["queued", "uploading"].includes(state);
  retryButton.hidden = state !== "failed";
  if (photo) row.querySelector(".upload-name").href = text.photoUrl.replace("/0/", `/${photo}/`);
}

const isSending = () => counts.queued + counts.uploading > 0;

function drawPanel() {
  const problems = counts.rejected + counts.failed;
  const uploaded = counts.processing + counts.searchable;
  const values = { total: number(items.length - problems - counts.duplicate), done: number(counts.searchable) };
  if (isSending()) {
    const finished = items.length - counts.queued - counts.uploading;
    title.textContent = fill(text.textUploading, { done: number(finished), total: number(items.length) });
    detail.textContent = pausedUntil > Date.now() && !counts.uploading
      ? text.textWaiting
      : fill(text.textBytes, { done: size(bytes.sent), total: size(bytes.total) });
    total.max = bytes.total || 1;
    total.value = bytes.sent;
  } else {
    const facts = [
      uploaded && fill(counts.processing ? text.textProcessing : text.textDone, values),
      problems && fill(text.textProblems, { count: number(problems) }),
      counts.duplicate && fill(text.textKnown, { count: number(counts.duplicate) }),
    ].filter(Boolean);
    title.textContent = facts[0] ?? "";
    detail.textContent = facts.slice(1).join(" · ");
    total.max = uploaded || 1;
    total.value = uploaded ? counts.searchable : 1;
  }
  guardLeaving();
  retryAll.hidden = counts.failed < 2 || isSending();
  close.hidden = isSending();
  announce(fill(text.textSummary, {
    uploaded: number(uploaded), total: number(items.length),
    searchable: number(counts.searchable), problems: number(problems),
  }));
}

// A screen reader hears how it goes now and then, and at the end.
let announcing = null;
let summary = "";

function announce(latest) {
  summary = latest;
  const settled = !isSending() && !counts.processing;
  if (settled) {
    clearTimeout(announcing);
    announcing = null;
    announcer.textContent = summary;
  } else {
    announcing ??= setTimeout(() => {
      announcing = null;
      announcer.textContent = summary;
    }, ANNOUNCE_MS);
  }
}

collapse.addEventListener("click", () => {
  list.hidden = !list.hidden;
  collapse.setAttribute("aria-expanded", String(!list.hidden));
});

close.addEventListener("click", () => {
  panel.hidden = true;
  items = [];
  byPhoto.clear();
  list.replaceChildren();
  for (const state of STATES) counts[state] = 0;
  bytes.total = bytes.sent = 0;
});

retryAll.addEventListener("click", () => retry(items.filter((item) => item.state === "failed")));

// Listened to only while it is needed: it keeps some browsers from holding the page for Back.
const askFirst = (event) => event.preventDefault();

function guardLeaving() {
  if (isSending()) addEventListener("beforeunload", askFirst);
  else removeEventListener("beforeunload", askFirst);
}

// Choosing and dropping

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = "";
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-choose-files]")) input.click();
});

const drop = document.getElementById("drop");
// Dragging a picture of the page itself is no upload, though browsers call it a file.
let fromThisPage = false;
const bringsFiles = (event) => !fromThisPage && event.dataTransfer?.types.includes("Files");

document.addEventListener("dragstart", () => (fromThisPage = true));
document.addEventListener("dragend", () => (fromThisPage = false));

addEventListener("dragenter", (event) => {
  if (bringsFiles(event)) drop.hidden = false;
});
addEventListener("dragover", (event) => {
  if (bringsFiles(event)) event.preventDefault();
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.hidden = true;
});
addEventListener("drop", async (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  drop.hidden = true;
  // Entries can be asked for only now; reading them may take its time.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) add([...event.dataTransfer.files]);
  else add((await Promise.all(entries.map(filesIn))).flat());
});

// Hidden files are not meant by someone who drops a folder.
const isHidden = (name) => name.startsWith(".") || /^(thumbs\.db|desktop\.ini)$/i.test(name);

async function filesIn(entry) {
  try {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const found = [];
    // A reader gives a folder's entries in portions, the last of which is empty.
    for (;;) {
      const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!portion.length) break;
      found.push(...portion.filter((child) => !isHidden(child.name)));
    }
    found.sort((a, b) => a.name.localeCompare(b.name, language, { numeric: true }));
    const files = [];
    for (const child of found) files.push(...(await filesIn(child)));
    return files;
  } catch {
    return [];
  }
}
