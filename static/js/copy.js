// Shows the copy buttons where the browser lets a page copy, and copies.

function reveal(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("[data-copy][hidden]")) {
    button.hidden = false;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const label = button.getAttribute("aria-label");
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.setAttribute("aria-label", "Copied");
    button.title = "Copied";
  } catch {
    button.title = "The browser did not allow copying";
  }
  setTimeout(() => {
    button.setAttribute("aria-label", label);
    button.removeAttribute("title");
  }, 2000);
});

reveal(document);
document.addEventListener("htmx:afterSettle", (event) => reveal(event.target));
