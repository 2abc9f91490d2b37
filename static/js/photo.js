// One photo: its neighbours by keys and swipes, full screen, zoom, details, favourite, caption, albums.
// Going to a neighbour changes what is in <main> and nothing else, so that the full screen stays.

import { startAlbumDialog } from "./bulk.js";
import { STEP, startZoom } from "./zoom.js";
import { send, showToast } from "./toasts.js";

const main = document.getElementById("main");
const DETAILS_KEY = "details hidden";
const pages = new Map(); // neighbours that were fetched ahead
let viewer = null;
let zoom = null;
let parts = {};

const find = (id) => document.getElementById(id);

function start() {
  viewer = find("viewer");
  parts = Object.fromEntries(
    ["back", "newer", "older", "full-screen", "details", "download", "album"].map((name) => [name, find(`viewer-${name}`)]),
  );
  zoom = startZoom(viewer.querySelector(".stage"), { onSwipe: (direction) => go(direction > 0 ? parts.older : parts.newer) });
  showDetails(localStorage.getItem(DETAILS_KEY) === null);
  startPicture();
  startLinks();
  startForms();
}

// The picture

function startPicture() {
  const preview = viewer.querySelector(".preview");
  // Rounded to whole pixels, the placeholder may be a little larger than the picture.
  preview?.decode().then(() => viewer.querySelector(".stage .blur")?.remove(), () => {});
  preview?.decode().then(fetchAhead, fetchAhead);
}

// The neighbours are likely to be seen next.
function fetchAhead() {
  for (const link of [parts.older, parts.newer]) {
    if (!link) continue;
    if (link.dataset.preview) new Image().src = link.dataset.preview;
    if (!pages.has(link.href)) pages.set(link.href, fetchPage(link.href));
  }
}

async function fetchPage(url) {
  try {
    const response = await fetch(url, { headers: { Accept: "text/html" } });
    return response.ok && !response.redirected ? await response.text() : null;
  } catch {
    return null;
  }
}

// To a neighbour

let going = 0;

async function go(link) {
  if (!link) return;
  const turn = (going += 1);
  const url = link.href;
  const text = await (pages.get(url) ?? fetchPage(url));
  pages.delete(url);
  if (turn !== going || !viewer.isConnected) return;
  const page = text && new DOMParser().parseFromString(text, "text/html");
  const next = page?.getElementById("viewer");
  if (!next) {
    location.replace(url);
    return;
  }
  const focus = viewer.contains(document.activeElement) ? document.activeElement.id : null;
  // One entry in the history, so that Back leads to the grid.
  history.replaceState(history.state, "", url);
  document.title = page.title;
  viewer.replaceWith(document.adoptNode(next));
  pages.clear();
  start();
  window.htmx?.process(viewer);
  document.dispatchEvent(new CustomEvent("htmx:load"));
  if (focus) (find(focus) ?? main).focus({ preventScroll: true });
  const announcer = find("announcer");
  if (announcer) announcer.textContent = page.title;
}

function startLinks() {
  for (const link of [parts.newer, parts.older]) {
    link?.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      go(link);
    });
  }
  // Back to the place in the grid or the results where one was, if that is the page before.
  parts.back.addEventListener("click", (event) => {
    const here = window.navigation?.currentEntry?.index ?? 0;
    const before = here > 0 ? window.navigation.entries()[here - 1].url : null;
    if (!before || /\/photos\/\d+\/$/.test(new URL(before).pathname)) return;
    event.preventDefault();
    history.back();
  });
  parts["full-screen"]?.addEventListener("click", toggleFullScreen);
  parts.details?.addEventListener("click", () => toggleDetails());
}

// Full screen: the page without its frame. Where the browser has none, only the frame goes.

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (document.documentElement.requestFullscreen) document.documentElement.requestFullscreen().catch(() => setImmersive(true));
  else setImmersive(!document.body.classList.contains("immersive"));
}

function setImmersive(wanted) {
  document.body.classList.toggle("immersive", wanted);
  zoom?.reset();
}

document.addEventListener("fullscreenchange", () => setImmersive(Boolean(document.fullscreenElement)));

// Details

function showDetails(wanted) {
  viewer.classList.toggle("without-facts", !wanted);
  parts.details?.setAttribute("aria-pressed", wanted);
}

function toggleDetails() {
  const wanted = viewer.classList.contains("without-facts");
  if (wanted) localStorage.removeItem(DETAILS_KEY);
  else localStorage.setItem(DETAILS_KEY, "1");
  showDetails(wanted);
  zoom.reset();
}

// Favourite, caption, albums

function startForms() {
  const favourite = find("favourite-form");
  favourite?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = favourite.elements.favourite;
    const button = favourite.querySelector("button");
    const wanted = field.value;
    if (!(await send(favourite.action, { favourite: wanted }))) return;
    button.setAttribute("aria-pressed", wanted);
    field.value = wanted === "true" ? "false" : "true";
    find("announcer").textContent = wanted === "true" ? favourite.dataset.on : favourite.dataset.off;
  });

  const caption = find("caption-form");
  if (caption) startCaption(caption);

  if (parts.album) {
    const open = startAlbumDialog(find("album-dialog"), parts.album.dataset);
    parts.album.addEventListener("click", () => {
      open([viewer.dataset.photoId], (answer) => {
        showToast(answer.message, "info", { text: answer.link, href: answer.url });
        addChip(answer);
      });
    });
  }
}

function addChip({ url, link }) {
  const list = viewer.querySelector(".album-chips");
  if ([...list.querySelectorAll("a")].some((chip) => new URL(chip.href).pathname === url)) return;
  const item = document.createElement("li");
  const chip = document.createElement("a");
  chip.className = "chip";
  chip.href = url;
  const text = document.createElement("span");
  text.textContent = link;
  chip.append(text);
  item.append(chip);
  list.insertBefore(item, list.lastElementChild);
}

function startCaption(form) {
  const field = form.elements.caption;
  let saved = field.value;
  const grow = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
    form.classList.toggle("changed", field.value !== saved);
  };
  const save = async () => {
    if (field.value === saved) return;
    const value = field.value;
    if (!(await send(form.action, { caption: value }))) return;
    saved = value;
    grow();
    find("announcer").textContent = form.dataset.saved;
  };
  field.addEventListener("input", grow);
  field.addEventListener("blur", save);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      field.value = saved;
      grow();
      field.blur();
      event.preventDefault();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      field.blur();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  grow();
}

// Keys

document.addEventListener("keydown", (event) => {
  if (!viewer.isConnected || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || event.target.closest("input, textarea, select")) return;
  const rightToLeft = document.documentElement.dir === "rtl";
  const act = {
    Escape: () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else if (document.body.classList.contains("immersive")) setImmersive(false);
      else if (zoom.scale > 1) zoom.reset();
      else parts.back.click();
    },
    ArrowLeft: () => go(rightToLeft ? parts.older : parts.newer),
    ArrowRight: () => go(rightToLeft ? parts.newer : parts.older),
    f: () => parts["full-screen"] && toggleFullScreen(),
    i: () => parts.details && toggleDetails(),
    s: () => find("favourite-form")?.requestSubmit(),
    ".": () => find("favourite-form")?.requestSubmit(),
    d: () => parts.download.click(),
    "+": () => zoom.by(STEP),
    "=": () => zoom.by(STEP),
    "-": () => zoom.by(1 / STEP),
    0: () => zoom.reset(),
    Delete: () => find("trash-form")?.requestSubmit(),
    "#": () => find("trash-form")?.requestSubmit(),
  }[event.key];
  if (!act || (event.shiftKey && /^[A-Z]|Arrow/.test(event.key))) return;
  event.preventDefault();
  act();
});

start();
