// Choosing photos of a timeline: by the check marks, with Shift for ranges, by days, by the keyboard, and
// by a long press on a touch screen.

const LONG_PRESS_MS = 450;
const MOVED_PX = 12;

export function startSelection(timeline) {
  const { grid } = timeline;
  const chosen = new Set();
  const listeners = [];
  let anchor = -1; // where a range starts
  const chooseOnClick = grid.dataset.click === "choose";

  const selection = {
    get size() {
      return chosen.size;
    },
    ids: () => [...chosen],
    has: (id) => chosen.has(id),
    onChange: (listener) => listeners.push(listener),
    clear() {
      chosen.clear();
      anchor = -1;
      changed();
    },
    // After a refresh: what is gone is not chosen any more; `ids` are those that still exist.
    keepTo(ids) {
      if (ids) for (const id of chosen) if (!ids.has(id)) chosen.delete(id);
      anchor = -1;
      changed();
    },
    async extend(from, to) {
      if (anchor < 0) anchor = from;
      await choose(anchor, to);
    },
    toggle,
  };

  function changed() {
    grid.classList.toggle("choosing", chosen.size > 0);
    timeline.markAll();
    for (const listener of listeners) listener();
  }

  function toggle(position, wanted) {
    const id = timeline.idAt(position);
    if (id === undefined) return;
    if (wanted ?? !chosen.has(id)) chosen.add(id);
    else chosen.delete(id);
    anchor = position;
    changed();
  }

  async function choose(from, to) {
    const start = Math.min(from, to);
    for (const id of await timeline.idsBetween(start, Math.abs(from - to) + 1)) chosen.add(id);
    changed();
  }

  async function chooseDay(index) {
    const { first, count } = timeline.dayAt(index);
    const ids = await timeline.idsBetween(first, count);
    const all = ids.every((id) => chosen.has(id));
    for (const id of ids) {
      if (all) chosen.delete(id);
      else chosen.add(id);
    }
    anchor = first;
    changed();
  }

  const positionOf = (element) => Number(element.closest(".tile").dataset.position);

  grid.addEventListener("click", (event) => {
    const day = event.target.closest(".day-check");
    if (day) {
      chooseDay(Number(day.closest(".day").dataset.day));
      return;
    }
    const check = event.target.closest(".tile-check");
    const link = event.target.closest(".tile-link");
    if (!check && !link) return;
    if (suppressClick) {
      suppressClick = false;
      event.preventDefault();
      return;
    }
    if (link && (event.ctrlKey || event.metaKey)) return; // a new tab
    const choosing = chosen.size > 0 || chooseOnClick;
    if (!check && !choosing && !event.shiftKey) return;
    // Enter opens the photo also while some are chosen: x chooses.
    if (link && event.detail === 0 && !chooseOnClick) return;
    event.preventDefault();
    if (event.shiftKey && anchor >= 0) choose(anchor, positionOf(event.target));
    else toggle(positionOf(event.target));
  });

  // A long press

  let press = null;
  let suppressClick = false;

  grid.addEventListener("pointerdown", (event) => {
    suppressClick = false;
    const link = event.target.closest(".tile-link");
    if (event.pointerType !== "touch" || !link) return;
    const { clientX, clientY } = event;
    const timer = setTimeout(() => {
      press = null;
      suppressClick = true;
      toggle(positionOf(link));
      navigator.vibrate?.(15);
    }, LONG_PRESS_MS);
    press = { timer, clientX, clientY };
  });
  const endPress = () => {
    clearTimeout(press?.timer);
    press = null;
  };
  grid.addEventListener("pointermove", (event) => {
    if (press && Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) > MOVED_PX) endPress();
  });
  for (const end of ["pointerup", "pointercancel"]) grid.addEventListener(end, endPress);
  grid.addEventListener("contextmenu", (event) => {
    if (event.pointerType === "touch" && event.target.closest(".tile-link")) event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (!grid.isConnected || event.defaultPrevented || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog, details")) return;
    const position = timeline.focusedPosition();
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a") {
      if (!timeline.total()) return;
      event.preventDefault();
      anchor = 0;
      choose(0, timeline.total() - 1);
    } else if (event.ctrlKey || event.metaKey) {
      return;
    } else if (event.key === "x" && position >= 0) {
      event.preventDefault();
      toggle(position);
    } else if (event.key === "Escape" && chosen.size) {
      event.preventDefault();
      selection.clear();
    }
  });

  return selection;
}
