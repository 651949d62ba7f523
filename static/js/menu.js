// Menus are <details data-menu>: they open and close by themselves. This adds Escape,
// a click elsewhere, only one open at a time, and arrow keys.

const OPEN = "details[data-menu][open]";

function close(menu, { refocus = false } = {}) {
  menu.open = false;
  if (refocus) menu.querySelector("summary").focus();
}

function entries(menu) {
  return [
    ...menu.querySelectorAll("a, button:not(:disabled), input:not([type=hidden])"),
  ].filter((entry) => entry.checkVisibility());
}

function move(menu, key) {
  const list = entries(menu);
  if (list.length === 0) return;
  const at = list.indexOf(document.activeElement);
  const next = {
    ArrowDown: at + 1,
    ArrowUp: at < 0 ? list.length - 1 : at - 1,
    Home: 0,
    End: list.length - 1,
  }[key];
  list[(next + list.length) % list.length].focus();
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(OPEN)) {
    if (!menu.contains(event.target)) close(menu);
  }
});

document.addEventListener("keydown", (event) => {
  const menu = document.activeElement?.closest(OPEN) ?? document.querySelector(OPEN);
  if (!menu || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    close(menu, { refocus: menu.contains(document.activeElement) });
  } else if (
    ["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key) &&
    menu.contains(document.activeElement)
  ) {
    event.preventDefault();
    move(menu, event.key);
  }
});

document.addEventListener("focusout", (event) => {
  const menu = event.target.closest?.(OPEN);
  // Without a related target the window lost the focus, or a click is under way.
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) close(menu);
});
