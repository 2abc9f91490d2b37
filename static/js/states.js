// Watches photos that are being worked on. Whoever wants to know dispatches "photo:watch" with an id
// and listens for "photo:state", as the timeline does.

const FAST_MS = 1000;
const SLOW_MS = 5000;
// With no change for this long, polling slows down.
const PATIENCE_MS = 30_000;
const MOST_IDS = 200;

const { statesUrl } = document.body.dataset;
const watched = new Set();
let timer = null;
let lastChange = 0;

const isSettled = ({ status, searchable }) => status === "failed" || (status === "ready" && searchable);

function watch(id) {
  if (watched.has(Number(id))) return;
  watched.add(Number(id));
  lastChange = Date.now();
  schedule(FAST_MS);
}

function schedule(delay) {
  if (watched.size && !document.hidden) timer ??= setTimeout(poll, delay);
}

async function poll() {
  // The oldest first: they are worked on first.
  const ids = [...watched].sort((a, b) => a - b).slice(0, MOST_IDS);
  let signedOut = false;
  try {
    const response = await fetch(`${statesUrl}?ids=${ids}`, { headers: { Accept: "application/json" } });
    signedOut = response.redirected;
    if (response.ok && !signedOut) take(ids, await response.json());
  } catch {
    // No connection at the moment: the next round will tell.
  }
  timer = null;
  if (!signedOut) schedule(Date.now() - lastChange < PATIENCE_MS ? FAST_MS : SLOW_MS);
}

function take(ids, { photos, unsearchable, failed }) {
  const gone = new Set(ids);
  for (const photo of photos) {
    gone.delete(photo.id);
    update(photo);
  }
  for (const id of gone) {
    watched.delete(id);
    announce({ id, status: "gone", searchable: false, error: "" });
  }
  showNumber("unsearchable", unsearchable);
  showNumber("failed", failed);
}

const known = new Map();

function update(photo) {
  const signature = `${photo.status} ${photo.searchable}`;
  if (known.get(photo.id) !== signature) {
    known.set(photo.id, signature);
    lastChange = Date.now();
    announce(photo);
  }
  if (isSettled(photo)) watched.delete(photo.id);
  const page = document.querySelector(`.viewer[data-photo-id="${photo.id}"]`);
  if (!page) return;
  page.dataset.searchable = photo.searchable;
  if (page.dataset.status !== photo.status) location.reload();
}

function announce(photo) {
  document.dispatchEvent(new CustomEvent("photo:state", { detail: photo }));
}

function showNumber(id, count) {
  const notice = document.getElementById(id);
  if (!notice) return;
  const language = document.documentElement.lang;
  const text = new Intl.PluralRules(language).select(count) === "one" ? notice.dataset.one : notice.dataset.other;
  notice.hidden = count === 0;
  notice.querySelector("span").textContent = text.replace("{n}", count.toLocaleString(language));
}

document.addEventListener("photo:watch", (event) => watch(event.detail.id));

function watchPage(root) {
  for (const { dataset } of root.querySelectorAll("[data-photo-id][data-status]")) {
    if (!isSettled({ status: dataset.status, searchable: dataset.searchable === "true" })) watch(dataset.photoId);
  }
}

watchPage(document);
// Whatever htmx brought in: more tiles, or a tile after "Retry".
document.addEventListener("htmx:load", () => watchPage(document));
document.addEventListener("visibilitychange", () => schedule(0));
