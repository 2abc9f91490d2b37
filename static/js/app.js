// What every page has: notices, the search box, menus, dialogs, and the rules for htmx.

import { showToast } from "./toasts.js";

const announcer = document.getElementById("announcer");
const searchInput = document.getElementById("search-input");

document.addEventListener("click", (event) => {
  event.target.closest("[data-dismiss]")?.parentElement.remove();
});

// Menus close as people expect.

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}

document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("focusin", (event) => closeMenus(event.target.closest("details.menu")));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const menu = document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
      event.preventDefault();
    }
  }
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && searchInput) {
    if (event.target.closest("input, textarea, select, [contenteditable], dialog[open]")) return;
    event.preventDefault();
    searchInput.focus();
    searchInput.select();
  }
});

// The help sheet.

document.addEventListener("keydown", (event) => {
  if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable], dialog[open]")) return;
  const help = document.getElementById("help");
  if (!help) return;
  event.preventDefault();
  help.showModal();
});

// Dialogs: a button that closes, and a click beside them.

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close-dialog]")) event.target.closest("dialog").close();
  else if (event.target.matches("dialog[open]") && isBeside(event)) event.target.close();
});

function isBeside({ target, clientX, clientY }) {
  const { left, right, top, bottom } = target.getBoundingClientRect();
  return (clientX || clientY) && (clientX < left || clientX > right || clientY < top || clientY > bottom);
}

// Copying an address.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    document.execCommand("copy"); // without HTTPS there is no other way
  }
  showToast(button.dataset.copied);
});

// `command="show-modal"` for browsers that do not know it yet.

if (!("commandForElement" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[command='show-modal']");
    if (button) document.getElementById(button.getAttribute("commandfor")).showModal();
  });
}

// Addresses without what was left empty.

document.addEventListener("htmx:configRequest", (event) => {
  const { elt, parameters } = event.detail;
  if (elt.id !== "search-form") return;
  for (const name of Object.keys(parameters)) if (!parameters[name]) delete parameters[name];
});

// htmx swaps fragments only. A whole page in answer to a fragment's request means that the person is
// signed out, or that the server failed.

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (!/^\s*<!doctype/i.test(xhr.response)) return;
  event.detail.shouldSwap = false;
  if (xhr.status < 400) location.assign(requestConfig.verb === "get" ? requestConfig.path : location.href);
});

function requestFailed(event) {
  const { elt, xhr } = event.detail;
  if (elt.matches(".sentinel")) elt.dataset.failed = "";
  else if (!xhr?.response || /^\s*<!doctype/i.test(xhr.response)) showToast(announcer.dataset.failed, "error");
}

document.addEventListener("htmx:responseError", requestFailed);
document.addEventListener("htmx:sendError", requestFailed);
document.addEventListener("htmx:timeout", requestFailed);

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "main") return;
  document.body.classList.remove("viewing");
  document.querySelector(".navigation [aria-current]")?.removeAttribute("aria-current");
  const found = document.querySelector("#main [data-announce], #main [role='alert']");
  if (found) announcer.textContent = found.dataset.announce ?? found.textContent.trim();
  // On a touch screen the keyboard would cover what was found.
  if (matchMedia("(hover: none)").matches) searchInput.blur();
});
