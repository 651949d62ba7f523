// Selecting rows: all on the page, a range with Shift, all that match the filter. The
// ticks are plain checkboxes of the action form; a table that refreshes itself keeps them.

const counted = (n, form) =>
  `${n.toLocaleString("en")} ${n === 1 ? form.dataset.one : form.dataset.many}`;

class Selection {
  constructor(form) {
    this.form = form;
    this.ids = new Set();
    this.last = null;
    this.refresh();
  }

  get boxes() {
    return [...document.querySelectorAll(`[data-select][form="${this.form.id}"]`)];
  }

  get all() {
    return this.form.querySelector("[data-all-matching]");
  }

  get total() {
    const table = this.boxes[0]?.closest("[data-total]");
    return Number((table ?? this.form).dataset.total);
  }

  // After a swap: the boxes are new ones, what was ticked is still known by id.
  refresh() {
    for (const box of this.boxes) {
      if (this.ids.has(box.value)) box.checked = true;
    }
    this.last = null;
    this.show();
  }

  tick(box, withRange) {
    const boxes = this.boxes;
    if (withRange && this.last && boxes.includes(this.last)) {
      const ends = [boxes.indexOf(this.last), boxes.indexOf(box)];
      ends.sort((a, b) => a - b);
      for (const each of boxes.slice(ends[0], ends[1] + 1)) each.checked = box.checked;
    }
    this.last = box;
    if (this.all) this.all.checked = false;
    this.show();
  }

  tickAll(isTicked) {
    for (const box of this.boxes) box.checked = isTicked;
    if (this.all && !isTicked) this.all.checked = false;
    this.show();
  }

  show() {
    const boxes = this.boxes;
    const ticked = boxes.filter((box) => box.checked);
    this.ids = new Set(ticked.map((box) => box.value));
    const isAll = Boolean(this.all?.checked);
    const n = isAll ? this.total : ticked.length;

    const head = boxes[0]?.closest("table")?.querySelector("[data-select-all]");
    if (head) {
      head.hidden = false;
      head.checked = boxes.length > 0 && ticked.length === boxes.length;
      head.indeterminate = ticked.length > 0 && ticked.length < boxes.length;
    }
    const count = this.form.querySelector("[data-selected-count]");
    if (count) count.textContent = n ? `${n.toLocaleString("en")} selected` : "";
    const note = this.form.querySelector("[data-selected-note]");
    if (note) {
      note.textContent = n
        ? `For ${isAll ? "all " : ""}${counted(n, this.form)}`
        : `Tick ${this.form.dataset.many} first`;
      for (const button of this.form.querySelectorAll("button[data-label]")) {
        const label = button.querySelector(".menu-label");
        label.textContent = button.dataset.label + (n > 1 ? ` (${n.toLocaleString("en")})` : "");
        button.disabled = n === 0;
      }
    }
    this.offerAll(boxes, ticked, isAll);
  }

  // "All 50 on this page are selected. Select all 412 matching."
  offerAll(boxes, ticked, isAll) {
    const box = boxes[0]?.closest(".table-box");
    if (!box || !this.all) return;
    let banner = box.querySelector(".matching-banner");
    const isFull = boxes.length > 0 && ticked.length === boxes.length;
    if (!(isFull && this.total > boxes.length) && !isAll) {
      banner?.remove();
      return;
    }
    if (!banner) {
      banner = document.createElement("div");
      banner.className = "matching-banner";
      banner.setAttribute("role", "status");
      box.prepend(banner);
    }
    const text = document.createElement("span");
    const button = document.createElement("button");
    button.type = "button";
    if (isAll) {
      text.textContent = `All ${counted(this.total, this.form)} that match are selected. `;
      button.textContent = "Clear the selection";
      button.addEventListener("click", () => this.tickAll(false));
    } else {
      text.textContent = `All ${boxes.length} on this page are selected. `;
      button.textContent = `Select all ${this.total.toLocaleString("en")} matching`;
      button.addEventListener("click", () => {
        this.all.checked = true;
        this.show();
      });
    }
    banner.replaceChildren(text, button);
  }
}

const selections = new Map();

function setUp() {
  for (const form of document.querySelectorAll("[data-action-form]")) {
    if (!form.querySelector("[data-selected-note]")) continue;
    const known = selections.get(form.id);
    if (known?.form === form) known.refresh();
    else {
      const fresh = new Selection(form);
      if (known) {
        fresh.ids = known.ids;
        fresh.refresh();
      }
      selections.set(form.id, fresh);
    }
  }
}

document.addEventListener("click", (event) => {
  const box = event.target.closest("[data-select]");
  if (box) selections.get(box.getAttribute("form"))?.tick(box, event.shiftKey);
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-select-all]")) {
    const first = event.target.closest("table").querySelector("[data-select]");
    selections.get(first?.getAttribute("form"))?.tickAll(event.target.checked);
  } else if (event.target.matches("[data-all-matching]")) {
    selections.get(event.target.form.id)?.show();
  }
});

// A back button brings ticks back, after this script has run.
window.addEventListener("pageshow", setUp);
document.addEventListener("htmx:afterSettle", setUp);
setUp();
