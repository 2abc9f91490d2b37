// The bar that appears when photos are chosen, and the keys that do the same with the one in focus.

import { send, showToast } from "./toasts.js";

export function startBulk(timeline, selection) {
  const bar = document.getElementById("bulk");
  const text = bar.dataset;
  const count = bar.querySelector(".bulk-count");
  const albumDialog = document.getElementById("album-dialog");
  const language = document.documentElement.lang;
  let acted = []; // what a dialog is about

  const hasTrash = Boolean(bar.querySelector("[data-bulk='trash']"));
  const urlOf = (action) => text.url.replace("/trash/", `/${action}/`);

  selection.onChange(() => {
    const n = selection.size;
    bar.hidden = n === 0;
    document.body.classList.toggle("bulk-open", n > 0);
    const form = new Intl.PluralRules(language).select(n) === "one" ? text.one : text.other;
    count.textContent = n ? form.replace("{n}", n.toLocaleString(language)) : "";
    for (const button of bar.querySelectorAll("[data-bulk='cover']")) button.hidden = n !== 1;
  });

  async function perform(action, ids, fields = {}) {
    const answer = await send(urlOf(action), { ids: ids.join(","), ...fields });
    if (!answer) return null;
    return answer;
  }

  async function act(action, ids) {
    const answer = await perform(action, ids, text.album ? { album: text.album } : {});
    if (!answer) return;
    const back = { trash: "restore", restore: "trash", favourite: "unfavourite", unfavourite: "favourite" }[action];
    const undo = { text: text.undo, run: () => perform(back, ids).then(() => timeline.refresh()) };
    showToast(answer.message, "info", back ? undo : null);
    selection.clear();
    timeline.refresh();
  }

  function run(action, ids) {
    if (action === "clear") selection.clear();
    else if (action === "album") chooseAlbum(ids);
    else if (action === "share") openShare(ids);
    else if (action === "download") submit("bulk-download", "ids", ids);
    else if (action === "cover") submit("bulk-cover", "photo", ids);
    else if (action === "delete") {
      acted = ids;
      document.getElementById("delete-dialog").showModal();
    } else act(action, ids);
  }

  function submit(id, name, ids) {
    const form = document.getElementById(id);
    form.elements[name].value = ids.join(",");
    form.submit();
  }

  function openShare(ids) {
    const dialog = document.getElementById("share-photos");
    dialog.querySelector("[name='ids']").value = ids.join(",");
    dialog.showModal();
  }

  bar.addEventListener("click", (event) => {
    const button = event.target.closest("[data-bulk]");
    if (button) run(button.dataset.bulk, selection.ids());
  });

  document.querySelector("[data-bulk='delete-confirmed']")?.addEventListener("click", (event) => {
    event.target.closest("dialog").close();
    act("delete", acted);
  });

  async function chooseAlbum(ids) {
    await openAlbumDialog(ids, (answer) => {
      selection.clear();
      showToast(answer.message, "info", { text: answer.link, href: answer.url });
    });
  }

  const openAlbumDialog = albumDialog ? startAlbumDialog(albumDialog, text) : null;

  document.addEventListener("keydown", (event) => {
    if (!timeline.grid.isConnected || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog, details")) return;
    const focused = timeline.idAt(timeline.focusedPosition());
    const ids = selection.size ? selection.ids() : focused === undefined ? [] : [focused];
    if (!ids.length || !hasTrash) return;
    if (event.key === "s" || event.key === ".") {
      event.preventDefault();
      const wanted = !ids.every((id) => timeline.itemOf(id)?.favourite);
      perform(wanted ? "favourite" : "unfavourite", ids).then((answer) => {
        if (!answer) return;
        showToast(answer.message);
        timeline.change(ids, { favourite: wanted });
      });
    } else if (event.key === "Delete" || event.key === "#") {
      event.preventDefault();
      act("trash", ids);
    }
  });

  return { run };
}

// The dialog that asks for an album; used by the bar and by a photo's page. Returns the function that
// opens it for some photos and calls `done` with the server's answer.
export function startAlbumDialog(dialog, { url, choicesUrl }) {
  const choices = dialog.querySelector("#album-choices");
  const form = dialog.querySelector("form#new-album");
  const error = dialog.querySelector("#album-dialog-error");
  const addUrl = url.replace("/trash/", "/add-to-album/");
  let ids = [];
  let done = () => {};

  async function add(fields) {
    const answer = await send(addUrl, { ids: ids.join(","), ...fields }, (message) => {
      error.textContent = message;
      error.hidden = false;
    });
    if (!answer) return;
    dialog.close();
    done(answer);
  }

  choices.addEventListener("click", (event) => {
    const button = event.target.closest("[data-album]");
    if (button) add({ album: button.dataset.album });
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    add({ title: form.elements.title.value });
  });

  return async (wanted, whenDone) => {
    [ids, done] = [wanted, whenDone];
    error.hidden = true;
    form.reset();
    choices.replaceChildren();
    dialog.showModal();
    const response = await fetch(choicesUrl);
    if (response.ok && !response.redirected) choices.innerHTML = await response.text();
  };
}
