// Changes the theme without loading the page again; the form's POST keeps the choice.

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const button = event.submitter;
  if (!form.matches("[data-theme-form]") || !button) return;
  event.preventDefault();
  const data = new FormData(form, button);
  document.documentElement.dataset.bsTheme = data.get("theme");
  for (const each of form.querySelectorAll("[name=theme]")) {
    if (each === button) each.setAttribute("aria-current", "true");
    else each.removeAttribute("aria-current");
  }
  form.closest("details").open = false;
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: data,
      headers: { Accept: "application/json" },
    });
    if (!answer.ok) throw new Error(String(answer.status));
  } catch {
    // Not kept: let the server say why, as it would without this script.
    const theme = document.createElement("input");
    theme.type = "hidden";
    theme.name = "theme";
    theme.value = data.get("theme");
    form.append(theme);
    form.submit();
  }
});
