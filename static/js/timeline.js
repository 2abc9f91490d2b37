// The timeline: thousands of photos by day, of which only those near the window are in the document.
// Where each photo goes is known from the outline in the page (see gallery/timeline.py); what its tile
// shows is asked for by position, a piece at a time.

import { startBulk } from "./bulk.js";
import { firstWhere, layOut, measures } from "./layout.js";
import { startScrubber } from "./scrubber.js";
import { startSelection } from "./selection.js";
import { send } from "./toasts.js";

const PIECE = 100; // tiles that are asked for at once
const REQUESTS = 3;
// Beyond this speed (px/ms) pictures are not asked for before the scrolling slows down.
const FAST = 4;
const SETTLED_MS = 90;
const REFRESH_MS = 700;

const grid = document.getElementById("photo-grid");
const text = grid.dataset;
const language = document.documentElement.lang;
const tileTemplate = document.getElementById("tile-template").content.firstElementChild;
const dayTemplate = document.getElementById("day-template").content.firstElementChild;
const parts = {
  tile: tileTemplate.cloneNode(false),
  link: tileTemplate.querySelector(".tile-link").cloneNode(false),
  blank: tileTemplate.querySelector(".tile-blank"),
  processing: tileTemplate.querySelector(".tile-badge-processing"),
  waiting: tileTemplate.querySelector(".tile-badge-waiting"),
  favourite: tileTemplate.querySelector(".tile-favourite"),
  check: tileTemplate.querySelector(".tile-check"),
  problem: tileTemplate.querySelector(".tile-problem"),
};

const started = JSON.parse(document.getElementById("timeline-data").textContent);
let days = started.days;
let layout = layOut([], measures(0));
let items = []; // by position; holes where nothing is known yet
let positions = new Map(); // of the photos that are known
const shownDays = new Map(); // by day's index: { element, list, tiles }
const shownTiles = new Map(); // by position
const shownMonths = new Map();
let pinned = -1; // the position that has the focus: it stays in the document
let gridTop = 0;

function take(start, newItems) {
  newItems.forEach((item, offset) => {
    items[start + offset] = item;
    positions.set(item.id, start + offset);
  });
}

// Dates in words

const dayFormat = new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
const wholeDayFormat = new Intl.DateTimeFormat(language, { dateStyle: "full", timeZone: "UTC" });
const monthFormat = new Intl.DateTimeFormat(language, { month: "long", year: "numeric", timeZone: "UTC" });
const dayName = (day) => dayFormat.format(new Date(`${day}T00:00:00Z`));
const monthName = (month) => monthFormat.format(new Date(`${month}-01T00:00:00Z`));

// Which part is in view

function measure() {
  const width = Math.floor(grid.getBoundingClientRect().width);
  if (width === layout.width && layout.measured === days) return;
  const kept = anchor();
  layout = layOut(days, measures(width));
  Object.assign(layout, { width, measured: days });
  grid.style.height = `${layout.height}px`;
  gridTop = Math.round(grid.getBoundingClientRect().top + scrollY);
  for (const day of [...shownDays.keys()]) removeDay(day);
  for (const [month, element] of shownMonths) {
    element.remove();
    shownMonths.delete(month);
  }
  if (kept) restore(kept);
  scrubber?.setLayout(layout, { gridTop, monthName });
  render();
}

// The photo at the top of the window, and how far it is from there.
function anchor() {
  if (!layout.total || !layout.measured || scrollY < gridTop) return null;
  const at = scrollY - gridTop;
  const position = Math.min(layout.total - 1, firstTile(at));
  return { id: items[position]?.id, position, offset: layout.tops[position] - at };
}

function restore({ id, position, offset }) {
  const at = positions.get(id) ?? Math.min(position, layout.total - 1);
  if (at >= 0) scrollTo(scrollX, Math.max(0, gridTop + layout.tops[at] - offset));
}

const dayOf = (position) => firstWhere(0, layout.days.length, (day) => layout.days[day].first > position) - 1;

// The first position whose tile ends below `y`. Within a line of several days, tiles end at one height.
function firstTile(y) {
  return firstWhere(0, layout.total, (i) => layout.tops[i] + layout.heights[i] > y);
}

let lastTop = 0;
let lastTime = 0;
let speed = 0;
let settled = null;
let scheduled = false;

function onScroll() {
  const now = performance.now();
  if (now > lastTime) speed = Math.abs(scrollY - lastTop) / Math.max(1, now - lastTime);
  [lastTop, lastTime] = [scrollY, now];
  clearTimeout(settled);
  settled = setTimeout(() => {
    speed = 0;
    render();
  }, SETTLED_MS);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render();
  });
}

function render() {
  if (!grid.isConnected || !layout.measured) return;
  const view = innerHeight;
  const ahead = Math.max(400, view * 0.6);
  const from = scrollY - gridTop - ahead;
  const to = scrollY - gridTop + view + ahead;
  const first = firstTile(from);
  const end = firstWhere(first, layout.total, (i) => layout.tops[i] >= to);

  for (const [position, tile] of shownTiles) {
    if ((position < first || position >= end) && position !== pinned) removeTile(position, tile);
  }
  for (const [day, { tiles }] of shownDays) if (!tiles.size) removeDay(day);
  showMonths(from, to);

  let day = first < end ? dayOf(first) : -1;
  for (let position = first; position < end; position += 1) {
    while (position >= layout.days[day].first + layout.days[day].count) day += 1;
    if (!shownTiles.has(position)) addTile(position, day);
  }
  if (speed < FAST) {
    loadPictures();
    wanted = [first, end];
    request();
  }
  scrubber?.setScroll(scrollY);
}

// Months and days

function showMonths(from, to) {
  layout.months.forEach(({ month, top }, at) => {
    const near = top > from - 200 && top < to;
    const element = shownMonths.get(month);
    if (near && !element) {
      const heading = document.createElement("h2");
      heading.className = "month";
      heading.textContent = monthName(month);
      heading.style.top = `${top}px`;
      shownMonths.set(month, heading);
      const later = layout.months.slice(at + 1).find((other) => shownMonths.has(other.month));
      const following = dayElementFrom(layout.months[at].first) ?? (later ? shownMonths.get(later.month) : null);
      grid.insertBefore(heading, following);
    } else if (!near && element) {
      element.remove();
      shownMonths.delete(month);
    }
  });
}

// The first day in the document that starts at that position or later.
function dayElementFrom(position) {
  let found = null;
  for (const [day, { element }] of shownDays) {
    if (layout.days[day].first >= position && (found === null || day < found.day)) found = { day, element };
  }
  return found?.element ?? null;
}

function addDay(index) {
  const { day, left, top, width, height, first } = layout.days[index];
  const element = dayTemplate.cloneNode(true);
  element.dataset.day = index;
  const heading = element.querySelector("h3");
  heading.textContent = dayName(day);
  heading.title = wholeDayFormat.format(new Date(`${day}T00:00:00Z`));
  element.querySelector(".day-check .visually-hidden")?.append(heading.textContent);
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  const shown = { element, list: element.querySelector("ul"), tiles: new Map() };
  shownDays.set(index, shown);
  const nextMonth = layout.months.find((month) => month.first > first && shownMonths.has(month.month));
  const nextDay = dayElementFrom(first + 1);
  const monthFirst = nextMonth && (!nextDay || nextMonth.first <= layout.days[Number(nextDay.dataset.day)].first);
  grid.insertBefore(element, monthFirst ? shownMonths.get(nextMonth.month) : nextDay);
  return shown;
}

function removeDay(index) {
  const { element, tiles } = shownDays.get(index);
  for (const position of tiles.keys()) shownTiles.delete(position);
  element.remove();
  shownDays.delete(index);
}

// Tiles

function addTile(position, day = dayOf(position)) {
  const shown = shownDays.get(day) ?? addDay(day);
  const tile = parts.tile.cloneNode(false);
  const { left, top } = layout.days[day];
  Object.assign(tile.style, {
    left: `${layout.lefts[position] - left}px`,
    top: `${layout.tops[position] - top}px`,
    width: `${layout.widths[position]}px`,
    height: `${layout.heights[position]}px`,
  });
  tile.setAttribute("aria-setsize", layout.total);
  tile.setAttribute("aria-posinset", position + 1);
  tile.dataset.position = position;
  if (items[position]) fill(tile, items[position]);
  let following = null;
  for (const [other, element] of shown.tiles) {
    if (other > position && (following === null || other < following.position)) following = { position: other, element };
  }
  shown.list.insertBefore(tile, following?.element ?? null);
  shown.tiles.set(position, tile);
  shownTiles.set(position, tile);
}

function removeTile(position, tile) {
  tile.remove();
  shownTiles.delete(position);
  shownDays.get(dayOf(position))?.tiles.delete(position);
}

const addressOf = (url, id) => url.replace("/0/", `/${id}/`);

function photoUrl(id) {
  const query = text.query && text.click !== "choose" ? `?${text.query}` : "";
  return addressOf(text.photoUrl, id) + query;
}

function fill(tile, item) {
  const hadFocus = tile.contains(document.activeElement);
  Object.assign(tile.dataset, { photoId: item.id, status: item.status, searchable: item.searchable });
  tile.style.backgroundImage = item.placeholder ? `url("${item.placeholder}")` : "";
  const link = parts.link.cloneNode(false);
  link.href = photoUrl(item.id);
  if (item.shown) {
    const image = new Image();
    image.className = "thumbnail";
    image.alt = item.alt;
    image.decoding = "async";
    image.draggable = false;
    image.dataset.src = addressOf(text.thumbnailUrl, item.id);
    link.append(image);
  } else {
    const blank = parts.blank.cloneNode(true);
    blank.lastElementChild.textContent = item.name;
    link.append(blank);
  }
  if (item.status === "processing") link.append(parts.processing.cloneNode(true));
  else if (item.status === "ready" && !item.searchable && parts.problem) link.append(parts.waiting.cloneNode(true));
  if (item.favourite && parts.problem) link.append(parts.favourite.cloneNode(true));
  tile.replaceChildren(link);
  if (parts.check) {
    const check = parts.check.cloneNode(true);
    check.querySelector(".visually-hidden").append(item.name);
    tile.append(check);
  }
  if (item.status === "failed" && parts.problem) {
    const problem = parts.problem.cloneNode(true);
    problem.querySelector("p").textContent = problem.querySelector("p").title = item.error;
    problem.querySelector("[data-retry]").hidden = !item.retryable;
    tile.append(problem);
  }
  mark(tile, item.id);
  if (hadFocus) link.focus({ preventScroll: true });
  if (item.status === "processing" || (item.status === "ready" && !item.searchable)) {
    document.dispatchEvent(new CustomEvent("photo:watch", { detail: { id: item.id } }));
  }
}

function mark(tile, id) {
  const chosen = selection?.has(id) ?? false;
  tile.classList.toggle("chosen", chosen);
  tile.querySelector(".tile-check")?.setAttribute("aria-pressed", chosen);
}

function loadPictures() {
  for (const image of grid.querySelectorAll("img[data-src]")) {
    image.src = image.dataset.src;
    delete image.dataset.src;
  }
}

// Asking for pieces

let wanted = [0, 0];
const asked = new Set();
let version = 0;

function request() {
  const [first, end] = wanted;
  for (let piece = Math.floor(first / PIECE); piece * PIECE < end; piece += 1) {
    if (asked.size >= REQUESTS) return;
    if (!asked.has(piece) && !isWhole(piece)) ask(piece);
  }
}

function isWhole(piece) {
  const end = Math.min(layout.total, (piece + 1) * PIECE);
  for (let position = piece * PIECE; position < end; position += 1) if (!items[position]) return false;
  return true;
}

const withSet = (url, parameters) => `${url}?${new URLSearchParams(parameters)}${text.query ? `&${text.query}` : ""}`;

async function ask(piece) {
  const asking = version;
  asked.add(piece);
  let answer = null;
  try {
    answer = await getJson(withSet(text.tilesUrl, { start: piece * PIECE, count: PIECE }));
  } catch {
    // No connection: whoever scrolls on asks again.
  }
  asked.delete(piece);
  if (!answer || asking !== version || !grid.isConnected) return;
  take(answer.start, answer.items);
  for (let position = answer.start; position < answer.start + answer.items.length; position += 1) {
    const tile = shownTiles.get(position);
    if (tile && !tile.dataset.photoId) fill(tile, items[position]);
  }
  if (answer.total !== layout.total) refreshSoon();
  if (speed < FAST) loadPictures();
  request();
}

async function getJson(url) {
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  if (response.redirected || !response.ok) throw new Error(response.statusText);
  return response.json();
}

// After a change: the outline and the tiles in view anew, everything where it was.

let refreshing = null;
let refreshWanted = false;

function refreshSoon() {
  refreshWanted = true;
  refreshing ??= setTimeout(refresh, REFRESH_MS);
}

async function refresh() {
  if (!text.daysUrl || !grid.isConnected) return;
  clearTimeout(refreshing);
  refreshing = 1; // no second one meanwhile
  refreshWanted = false;
  const start = Math.max(0, wanted[0] - 20);
  const focused = items[pinned]?.id;
  try {
    const [outline, answer] = await Promise.all([
      getJson(withSet(text.daysUrl, {})),
      getJson(withSet(text.tilesUrl, { start, count: 2 * PIECE })),
    ]);
    const kept = anchor();
    const known = new Map([...shownTiles.values()].map((tile) => [tile.dataset.photoId, tile]));
    version += 1;
    days = outline.days;
    [items, positions] = [[], new Map()];
    take(answer.start, answer.items);
    const hadFocus = grid.contains(document.activeElement);
    pinned = -1;
    drawAgain(kept, known);
    if (hadFocus) focusTile(positions.get(focused) ?? Math.min(kept?.position ?? 0, layout.total - 1));
  } catch {
    // Left as it was.
  }
  refreshing = null;
  if (refreshWanted) refreshSoon();
}

function drawAgain(kept, known) {
  for (const day of [...shownDays.keys()]) removeDay(day);
  for (const element of shownMonths.values()) element.remove();
  shownMonths.clear();
  layout = layOut(days, measures(layout.width));
  Object.assign(layout, { width: Math.floor(grid.getBoundingClientRect().width), measured: days });
  grid.style.height = `${layout.height}px`;
  if (kept) restore(kept);
  scrubber?.setLayout(layout, { gridTop, monthName });
  render();
  // A picture that is there already is not shown anew.
  for (const tile of shownTiles.values()) {
    const before = known.get(tile.dataset.photoId)?.querySelector("img.thumbnail:not([data-src])");
    const image = tile.querySelector("img.thumbnail");
    if (before && image) image.replaceWith(before);
  }
  const count = document.getElementById("total");
  if (count) {
    count.dataset.count = layout.total;
    count.textContent = layout.total.toLocaleString(language);
  }
  document.getElementById("empty").hidden = layout.total > 0;
  selection?.keepTo(null);
}

document.addEventListener("photo:added", refreshSoon);
document.addEventListener("photo:state", ({ detail: photo }) => {
  const position = positions.get(photo.id);
  if (position === undefined) return;
  const item = items[position];
  if (photo.status === "gone" || (photo.status === "ready" && item.status !== "ready")) refreshSoon();
  else if (photo.status !== item.status || photo.searchable !== item.searchable) {
    const { status, searchable, error, retryable } = photo;
    Object.assign(item, { status, searchable, error, retryable });
    const tile = shownTiles.get(position);
    if (tile) {
      fill(tile, item);
      loadPictures();
    }
  }
});

grid.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-retry]");
  if (!button) return;
  const id = Number(button.closest(".tile").dataset.photoId);
  if (await send(addressOf(text.retryUrl, id))) refresh();
});

// Moving from tile to tile by the keyboard

function focusTile(position) {
  if (position < 0 || position >= layout.total) return;
  pinned = position;
  const top = gridTop + layout.tops[position];
  const bottom = top + layout.heights[position];
  const head = (document.querySelector(".header")?.offsetHeight ?? 0) + 48;
  if (top < scrollY + head) scrollTo(scrollX, top - head);
  else if (bottom > scrollY + innerHeight - 72) scrollTo(scrollX, bottom - innerHeight + 72);
  render();
  if (!shownTiles.has(position)) addTile(position);
  const tile = shownTiles.get(position);
  const link = tile.querySelector(".tile-link");
  if (link) link.focus({ preventScroll: true });
  else {
    // Its piece is still on the way.
    tile.tabIndex = -1;
    tile.focus({ preventScroll: true });
  }
}

grid.addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  pinned = tile ? Number(tile.dataset.position) : -1;
});

// The tile above or below that is nearest in the middle.
function beside(position, step) {
  const { tops, lefts, widths, total } = layout;
  const middle = lefts[position] + widths[position] / 2;
  let at = position + step;
  while (at >= 0 && at < total && tops[at] === tops[position]) at += step;
  if (at < 0 || at >= total) return position;
  let best = at;
  for (let other = at; other >= 0 && other < total && tops[other] === tops[at]; other += step) {
    const distance = (tile) => Math.abs(lefts[tile] + widths[tile] / 2 - middle);
    if (distance(other) < distance(best)) best = other;
  }
  return best;
}

function neighbour(position, key) {
  const back = document.documentElement.dir === "rtl" ? "ArrowRight" : "ArrowLeft";
  if (key === "ArrowUp") return beside(position, -1);
  if (key === "ArrowDown") return beside(position, 1);
  return position + (key === back ? -1 : 1);
}

export function focusedPosition() {
  const tile = document.activeElement?.closest?.(".tile");
  return tile && grid.contains(tile) ? Number(tile.dataset.position) : -1;
}

document.addEventListener("keydown", (event) => {
  if (!grid.isConnected || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, dialog, .scrubber, details, .bulk")) return;
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return;
  const position = focusedPosition();
  const sideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
  if (position < 0) {
    if (!sideways || !layout.total) return;
    event.preventDefault();
    focusTile(Math.min(layout.total - 1, firstTile(Math.max(0, scrollY - gridTop + 60))));
    return;
  }
  event.preventDefault();
  const next = neighbour(position, event.key);
  if (next < 0 || next >= layout.total) return;
  if (event.shiftKey) selection?.extend(position, next);
  focusTile(next);
});

// Choosing

const timeline = {
  grid,
  refresh,
  focusedPosition,
  idAt: (position) => items[position]?.id,
  itemOf: (id) => items[positions.get(id)],
  positionOf: (id) => positions.get(id),
  total: () => layout.total,
  dayAt: (index) => layout.days[index],
  async idsBetween(start, count) {
    const known = items.slice(start, start + count).filter(Boolean);
    if (known.length === count) return known.map((item) => item.id);
    return (await getJson(withSet(text.keysUrl, { start, count }))).ids;
  },
  change(ids, values) {
    for (const id of ids) {
      const position = positions.get(id);
      if (position === undefined) continue;
      Object.assign(items[position], values);
      const tile = shownTiles.get(position);
      if (tile) fill(tile, items[position]);
    }
    loadPictures();
  },
  markAll() {
    for (const tile of shownTiles.values()) if (tile.dataset.photoId) mark(tile, Number(tile.dataset.photoId));
    for (const [index, { element }] of shownDays) {
      const { first, count } = layout.days[index];
      const whole = items.slice(first, first + count).every((item) => item && selection.has(item.id));
      element.querySelector(".day-check")?.setAttribute("aria-pressed", whole && selection.size > 0);
    }
  },
};

const selection = parts.check ? startSelection(timeline) : null;
const bulk = selection ? startBulk(timeline, selection) : null;
const scrubber = startScrubber(document.getElementById("scrubber"));

// Coming back: to the same place, with what has changed meanwhile.

const placeKey = `timeline ${location.pathname}`;
history.scrollRestoration = "manual";
addEventListener("pagehide", () => {
  if (grid.isConnected) sessionStorage.setItem(placeKey, JSON.stringify(anchor()));
});
addEventListener("pageshow", (event) => {
  if (event.persisted) refresh();
});

take(0, started.items);
measure();
const [entry] = performance.getEntriesByType("navigation");
if (["back_forward", "reload"].includes(entry?.type)) {
  const place = JSON.parse(sessionStorage.getItem(placeKey) ?? "null");
  if (place) restore({ ...place, id: undefined });
  render();
  // The way back may show the page as it was once, from the browser's cache.
  if (entry.type === "back_forward") {
    const before = layout.total;
    refresh().then(() => place && layout.total !== before && restore(place));
  }
}
performance.mark("timeline-shown");
addEventListener("scroll", onScroll, { passive: true });
new ResizeObserver(measure).observe(grid);

// What is above the grid can change its height, such as a notice that goes: the photos stay in place.
const above = new ResizeObserver(() => {
  if (!grid.isConnected) return;
  const top = Math.round(grid.getBoundingClientRect().top + scrollY);
  const moved = top - gridTop;
  if (!moved) return;
  const within = scrollY > gridTop;
  gridTop = top;
  if (within) scrollBy(0, moved);
  scrubber.setLayout(layout, { gridTop, monthName });
  render();
});
for (const element of grid.parentElement.children) if (element !== grid) above.observe(element);
