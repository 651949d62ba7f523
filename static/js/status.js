// When the console stops answering, the page says so instead of staying green.

function lost() {
  const box = document.querySelector("#freshness");
  if (!box) return;
  box.dataset.freshness = "lost";
  box.querySelector("time")?.remove();
  box.querySelector(".freshness-words").textContent = "no answer from the console";
}

for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => {
    if (event.target.id === "freshness") lost();
  });
}
