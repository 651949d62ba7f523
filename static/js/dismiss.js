// Messages can be dismissed.

for (const button of document.querySelectorAll("[data-dismiss]")) {
  button.hidden = false;
}

document.addEventListener("click", (event) => {
  event.target.closest("[data-dismiss]")?.closest(".notice").remove();
});
