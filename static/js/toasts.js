// Notices. Good news goes away by itself; what went wrong stays until it is dismissed.

const TOAST_MS = 6000;
const toasts = document.getElementById("toasts");

function fade(toast) {
  let timer;
  const start = () => (timer = setTimeout(() => toast.remove(), TOAST_MS));
  for (const enter of ["pointerenter", "focusin"]) toast.addEventListener(enter, () => clearTimeout(timer));
  for (const leave of ["pointerleave", "focusout"]) toast.addEventListener(leave, start);
  start();
}

// `action` is a button, { text, run }, or a link, { text, href }.
export function showToast(text, level = "info", action = null) {
  const toast = document.getElementById("toast-template").content.firstElementChild.cloneNode(true);
  toast.dataset.level = level;
  toast.querySelector("p").textContent = text;
  const button = toast.querySelector(".toast-action");
  if (action) {
    button.hidden = false;
    button.textContent = action.text;
    button.addEventListener("click", () => {
      toast.remove();
      if (action.href) location.assign(action.href);
      else action.run();
    });
  }
  toasts.append(toast);
  if (level !== "error") fade(toast);
}

for (const toast of toasts?.children ?? []) {
  if (!["error", "warning"].includes(toast.dataset.level)) fade(toast);
}

// Asks the server to change something; `fields` become a form. Returns the JSON of the answer, or null
// after having said what went wrong, in a notice or by `onError`.
export async function send(url, fields = {}, onError = (message) => showToast(message, "error")) {
  const announcer = document.getElementById("announcer");
  const token = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "X-CSRFToken": token, Accept: "application/json" },
      body: new URLSearchParams(fields),
    });
    if (response.redirected) location.reload(); // signed out
    if (response.status === 204) return {};
    const answer = await response.json();
    if (response.ok) return answer;
    onError(answer.message ?? announcer.dataset.failed);
  } catch {
    onError(announcer.dataset.failed);
  }
  return null;
}
