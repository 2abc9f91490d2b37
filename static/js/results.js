// Choosing among the results of a search, as in the timeline. A search swaps the page's main part, so
// that this starts anew with each.

import { startBulk } from "./bulk.js";
import { startSelection } from "./selection.js";

const tilesOf = (grid) => [...grid.querySelectorAll(":scope > .tile")];
const idOf = (tile) => Number(tile.dataset.photoId);

function adapter(grid) {
  let selection = null;
  const tileOf = (id) => grid.querySelector(`:scope > .tile[data-photo-id="${id}"]`);
  return {
    grid,
    follow(started) {
      selection = started;
    },
    // The page anew, as long as it was: its address says how many are shown.
    refresh: () => htmx.ajax("GET", location.pathname + location.search, { target: "#main", swap: "innerHTML" }),
    total: () => tilesOf(grid).length,
    idAt: (position) => tilesOf(grid).map(idOf)[position],
    idsBetween: (start, count) => tilesOf(grid).slice(start, start + count).map(idOf),
    itemOf: (id) => ({ favourite: tileOf(id)?.hasAttribute("data-favourite") }),
    focusedPosition: () => tilesOf(grid).indexOf(document.activeElement?.closest?.(".tile")),
    change(ids, { favourite }) {
      for (const id of ids) tileOf(id)?.toggleAttribute("data-favourite", favourite);
    },
    markAll() {
      for (const tile of tilesOf(grid)) {
        const chosen = selection?.has(idOf(tile)) ?? false;
        tile.classList.toggle("chosen", chosen);
        tile.querySelector(".tile-check").setAttribute("aria-pressed", chosen);
      }
    },
  };
}

let started = null;

function start() {
  const grid = document.querySelector(".grid-results");
  if (!grid) return;
  tilesOf(grid).forEach((tile, position) => {
    tile.dataset.position = position;
  });
  if (grid === started) return;
  started = grid;
  const results = adapter(grid);
  const selection = startSelection(results);
  results.follow(selection);
  startBulk(results, selection);
}

document.addEventListener("htmx:afterSettle", start);
start();
