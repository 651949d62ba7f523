// Keeps what a person did in a part of the page that refreshes itself: what has the
// focus, which <details> are open, how far a box was scrolled. While text is marked in
// the part it waits a little, so that a path or an id can be copied.

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
const PATIENCE_MS = 15_000;

let markedAt = 0;
const kept = new WeakMap();

document.addEventListener("selectionchange", () => {
  markedAt = Date.now();
});

function isMarkedIn(part) {
  const selection = document.getSelection();
  return (
    Date.now() - markedAt < PATIENCE_MS &&
    selection !== null &&
    !selection.isCollapsed &&
    selection.toString().trim() !== "" &&
    part.contains(selection.anchorNode)
  );
}

// What an element is found by in the new part: its id, or what it is and says.
function nameOf(element) {
  if (element.tagName === "SUMMARY" && element.parentElement.id) {
    return `SUMMARY ${element.parentElement.id}`;
  }
  const says =
    element.getAttribute("href") ??
    element.getAttribute("aria-label") ??
    element.textContent.trim();
  return element.id || `${element.tagName} ${says}`;
}

function named(part, selector, name) {
  return [...part.querySelectorAll(selector)].find((each) => nameOf(each) === name);
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (!part?.matches?.("[hx-trigger*='every']")) return;
  if (isMarkedIn(part)) {
    event.detail.shouldSwap = false;
    return;
  }
  const active = document.activeElement;
  kept.set(part, {
    focus: active && active !== part && part.contains(active) ? nameOf(active) : null,
    open: [...part.querySelectorAll("details[open][id]")].map((each) => each.id),
    scrolled: [...part.querySelectorAll("[role=region][aria-label]")]
      .filter((each) => each.scrollTop || each.scrollLeft)
      .map((each) => [nameOf(each), each.scrollTop, each.scrollLeft]),
  });
});

document.addEventListener("htmx:afterSwap", (event) => {
  const part = event.detail.target;
  const was = kept.get(part);
  if (!was) return;
  kept.delete(part);
  for (const id of was.open) {
    const details = part.querySelector(`details[id="${CSS.escape(id)}"]`);
    if (details) details.open = true;
  }
  for (const [name, top, left] of was.scrolled) {
    const box = named(part, "[role=region][aria-label]", name);
    if (box) {
      box.scrollTop = top;
      box.scrollLeft = left;
    }
  }
  if (was.focus !== null && !part.contains(document.activeElement)) {
    named(part, FOCUSABLE, was.focus)?.focus({ preventScroll: true });
  }
});
