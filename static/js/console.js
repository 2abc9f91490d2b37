// Keeps the search console's sections up to date while somebody looks at it. What the person has
// open, focused or marked stays as it is.

const EVERY_MS = 2000;

const sections = [...document.querySelectorAll("[data-section]")];
const dialog = document.getElementById("console-dialog");
const stale = document.getElementById("console-stale");
const announcer = document.getElementById("console-announcer");

// One round after the other: a slow server is not asked faster than it answers.

let timer = null;
const underWay = new Set();

function schedule() {
  clearTimeout(timer);
  timer = document.hidden || underWay.size ? null : setTimeout(refresh, EVERY_MS);
}

function refresh() {
  for (const section of sections) {
    underWay.add(section);
    htmx.trigger(section, "console:refresh");
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) schedule();
  else if (!underWay.size) refresh();
});

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!underWay.delete(detail.elt)) return;
  const answered = detail.successful;
  if (!answered) stale.textContent = stale.dataset.text;
  else if (stale.textContent) stale.textContent = "";
  if (!underWay.size) schedule();
});

// A press of the pointer must end on what it began on.

let pressed = false;
document.addEventListener("pointerdown", () => (pressed = true));
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => (pressed = false));

function isBeingMarked(section) {
  const selection = getSelection();
  return !selection.isCollapsed && section.contains(selection.anchorNode);
}

const shown = new Map();
const open = new Map();

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr, elt } = event.detail;
  if (/^\s*<!doctype/i.test(xhr.response)) {
    // Signed out, or not allowed any more: the page itself says so.
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  if (!sections.includes(elt) || target !== elt) return;
  if (pressed || shown.get(target) === xhr.response || isBeingMarked(target)) {
    event.detail.shouldSwap = false;
    return;
  }
  shown.set(target, xhr.response);
  open.set(target, [...target.querySelectorAll("details[open]")].map(({ id }) => id));
});

// htmx itself gives the focus back to an element of the same id.
document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => {
  if (target === dialog) {
    dialog.showModal();
    return;
  }
  for (const id of open.get(target) ?? []) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
  if (target.id === "console-generations") announce(target);
});

// What a generation has become is said, its progress is not.

function states(section) {
  return [...section.querySelectorAll("[data-announce]")].map(({ dataset }) => dataset.announce);
}

let said = states(document.getElementById("console-generations"));

function announce(section) {
  const now = states(section);
  const news = now.filter((state) => !said.includes(state));
  said = now;
  if (news.length) announcer.textContent = news.join(" ");
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

schedule();
