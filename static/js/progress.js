// Says what runs while an action on many rows is under way: how many, and for how long.

const PATIENCE_MS = 300;

function told(form, button) {
  const text = form.dataset.progress;
  if (text) return text;
  return button?.querySelector(".menu-label")?.textContent.trim() ?? "";
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-action-form], [data-progress]")) return;
  const text = told(form, event.submitter);
  if (!text) return;
  const began = Date.now();
  const box = document.createElement("p");
  box.className = "progress-note";
  box.setAttribute("role", "status");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Under way");
  const words = document.createElement("span");
  const seconds = document.createElement("span");
  seconds.setAttribute("aria-hidden", "true");
  box.append(bar, words, seconds);
  document.body.append(box);
  setTimeout(() => {
    words.textContent = `${text}…`;
    box.dataset.shown = "true";
  }, PATIENCE_MS);
  setInterval(() => {
    seconds.textContent = ` ${Math.floor((Date.now() - began) / 1000)} s`;
  }, 1000);
});

// The back button brings the page back as it was left.
window.addEventListener("pageshow", () => {
  for (const box of document.querySelectorAll(".progress-note")) box.remove();
});
