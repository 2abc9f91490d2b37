// The search box: suggestions while somebody types, and pictures to search with. Also the address,
// which says how many results were shown, so that who comes back finds them again.

const box = document.getElementById("search-box");
const form = document.getElementById("search-form");
const input = document.getElementById("search-input");
const list = document.getElementById("search-suggestions");
const icons = [...document.getElementById("suggestion-icons").content.children];
const iconOf = { recent: icons[0], saved: icons[1], album: icons[2] };

// Suggestions: a combobox with a list (ARIA Authoring Practices, "Editable Combobox").

const WAIT_MS = 120;
let timer;
let asked;
let active = -1;

input.setAttribute("role", "combobox");
input.setAttribute("aria-autocomplete", "list");
input.setAttribute("aria-controls", list.id);
input.setAttribute("aria-expanded", "false");

function close() {
  clearTimeout(timer);
  asked?.abort();
  list.hidden = true;
  active = -1;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

function activate(index) {
  const options = [...list.children];
  options[active]?.setAttribute("aria-selected", "false");
  active = index;
  if (active < 0) {
    input.removeAttribute("aria-activedescendant");
    return;
  }
  options[active].setAttribute("aria-selected", "true");
  options[active].scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", options[active].id);
}

function choose(option) {
  input.value = option.dataset.query;
  close();
  form.requestSubmit();
}

function optionFor({ kind, label, query }, index) {
  const option = document.createElement("li");
  option.className = "suggestion";
  option.id = `suggestion-${index}`;
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  option.dataset.query = query;
  option.append(iconOf[kind].cloneNode(true));
  const name = document.createElement("span");
  name.textContent = label;
  option.append(name);
  if (query !== label) {
    const written = document.createElement("span");
    written.className = "muted";
    written.textContent = query;
    option.append(written);
  }
  return option;
}

async function suggest() {
  asked?.abort();
  asked = new AbortController();
  const typed = input.value;
  try {
    const url = `${box.dataset.suggestionsUrl}?${new URLSearchParams({ q: typed })}`;
    const response = await fetch(url, { signal: asked.signal, headers: { Accept: "application/json" } });
    if (!response.ok || response.redirected) return close();
    const { suggestions } = await response.json();
    if (input.value !== typed || document.activeElement !== input) return;
    active = -1;
    list.replaceChildren(...suggestions.map(optionFor));
    list.hidden = !suggestions.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    input.removeAttribute("aria-activedescendant");
  } catch (error) {
    if (error.name !== "AbortError") close();
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(suggest, WAIT_MS);
}

input.addEventListener("input", soon);
input.addEventListener("click", () => list.hidden && soon());
input.addEventListener("blur", close);
form.addEventListener("submit", close);
form.addEventListener("htmx:beforeRequest", close);

input.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Escape" && !list.hidden) {
    close();
    event.preventDefault();
    event.stopPropagation();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (list.hidden) {
      suggest();
      return;
    }
    // One place before the first is the box itself.
    const places = list.children.length + 1;
    const step = event.key === "ArrowDown" ? 1 : -1;
    activate(((active + 1 + step + places) % places) - 1);
  } else if (event.key === "Enter" && active >= 0) {
    event.preventDefault();
    choose(list.children[active]);
  }
});

// Before the box loses its focus, which closes the list.
list.addEventListener("pointerdown", (event) => event.preventDefault());
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role='option']");
  if (option) choose(option);
});

// Pictures: chosen, pasted into the box, or dropped on it.

const pictureForm = document.getElementById("picture-form");
const pictureInput = document.getElementById("picture-input");

function searchWith(file) {
  const transfer = new DataTransfer();
  transfer.items.add(file);
  pictureInput.files = transfer.files;
  send();
}

function send() {
  if (!pictureInput.files.length) return;
  form.classList.add("htmx-request");
  pictureForm.submit();
}

pictureInput.addEventListener("change", send);
addEventListener("pageshow", () => {
  form.classList.remove("htmx-request");
  pictureInput.value = "";
});

const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));

input.addEventListener("paste", (event) => {
  const file = pictureIn(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  searchWith(file);
});

function isOverBox(event) {
  const place = box.getBoundingClientRect();
  return (
    event.clientX >= place.left && event.clientX <= place.right &&
    event.clientY >= place.top - 8 && event.clientY <= place.bottom + 8
  );
}

// Captured, so that a picture dropped on the box is not uploaded (uploads.js listens to the page).
addEventListener("dragover", (event) => {
  const over = event.dataTransfer?.types.includes("Files") && isOverBox(event);
  box.toggleAttribute("data-drop", over);
}, { capture: true });
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) box.removeAttribute("data-drop");
}, { capture: true });
addEventListener("drop", (event) => {
  box.removeAttribute("data-drop");
  const file = pictureIn(event.dataTransfer);
  if (!file || !isOverBox(event)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  document.getElementById("drop").hidden = true;
  searchWith(file);
}, { capture: true });

// The address says how much was shown: who comes back finds the page as long as it was.

document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, successful } = event.detail;
  if (!successful || !elt.matches?.(".sentinel[data-shown]")) return;
  const url = new URL(location.href);
  url.searchParams.set("shown", elt.dataset.shown);
  history.replaceState(history.state, "", url);
});
