// Keyboard shortcuts: "/" searches, "?" lists them, data-shortcut="a" on a link or button
// of the page clicks it, arrows move between the rows of a table with data-rows.

const help = document.querySelector("#help");

function isTyping(target) {
  return target.closest?.(
    "textarea, select, [contenteditable], input:not([type=checkbox], [type=radio])",
  );
}

function labelOf(element) {
  return (
    element.dataset.label ??
    element.getAttribute("aria-label") ??
    element.textContent.trim().replace(/\s+/g, " ")
  );
}

function showHelp() {
  const list = help.querySelector("[data-page-keys]");
  const rows = [...document.querySelectorAll("[data-shortcut]")].map((element) => {
    const row = document.createElement("div");
    const key = document.createElement("dt");
    const mark = document.createElement("kbd");
    const text = document.createElement("dd");
    mark.textContent = element.dataset.shortcut;
    text.textContent = labelOf(element);
    key.append(mark);
    row.append(key, text);
    return row;
  });
  list.replaceChildren(...rows);
  help.querySelector("[data-page-keys-title]").hidden = rows.length === 0;
  help.showModal();
}

// The menu says itself why an entry cannot be chosen: "Tick alerts first".
function showWhyNot(entry) {
  const menu = entry.closest("details[data-menu]");
  if (!menu) return;
  menu.open = true;
  menu.querySelector("summary").focus();
}

function handleOf(row) {
  return row.querySelector("[data-select]") ?? row.querySelector("a[href]");
}

// With Shift the rows that are passed are ticked.
function tickRow(row) {
  const box = row?.querySelector("[data-select]");
  if (box && !box.checked) box.click();
}

function moveRow(key, target, isTicking) {
  const current = target.closest?.("[data-rows] tbody tr");
  const table = current?.closest("[data-rows]") ?? document.querySelector("[data-rows]");
  if (!table) return false;
  const rows = [...table.querySelectorAll("tbody tr")].filter(handleOf);
  if (rows.length === 0) return false;
  const at = current ? rows.indexOf(current) : -1;
  const next = key === "ArrowDown" ? Math.min(at + 1, rows.length - 1) : Math.max(at - 1, 0);
  if (isTicking) {
    tickRow(current);
    tickRow(rows[next]);
  }
  handleOf(rows[next]).focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (isTyping(event.target) || help?.open) return;
  const inMenu = event.target.closest?.("details[data-menu][open]");
  if (event.key === "/") {
    const box = document.querySelector("[data-search]");
    if (box) {
      event.preventDefault();
      box.focus();
      box.select();
    }
  } else if (event.key === "?" && help) {
    event.preventDefault();
    showHelp();
  } else if (["ArrowDown", "ArrowUp"].includes(event.key) && !inMenu) {
    if (moveRow(event.key, event.target, event.shiftKey)) event.preventDefault();
  } else if (event.key === "Enter" && event.target.matches("[data-select]")) {
    event.preventDefault();
    event.target.closest("tr").querySelector("a[href]")?.click();
  } else {
    const named = [...document.querySelectorAll("[data-shortcut]")].filter(
      (each) => each.dataset.shortcut === event.key,
    );
    const chosen = named.find((each) => !each.disabled);
    if (chosen ?? named[0]) event.preventDefault();
    if (chosen) {
      chosen.click();
    } else if (named[0]) {
      showWhyNot(named[0]);
    }
  }
});

for (const button of document.querySelectorAll("[data-help]")) {
  button.hidden = false;
  button.addEventListener("click", showHelp);
}
