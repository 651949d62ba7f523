// Keeps <time data-elapsed> ticking. The server's clock counts: the page says when it
// was made by what its times showed, so that a wrong clock here changes nothing.

const skew = (() => {
  const made = performance.timeOrigin;
  const date = document.querySelector("meta[name=console-now]")?.content;
  return date ? Date.parse(date) - made : 0;
})();

function words(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

function tick() {
  if (document.hidden) return;
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-elapsed]")) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    const text = words((now - at) / 1000) + (time.dataset.suffix ?? "");
    if (time.textContent !== text) time.textContent = text;
  }
}

tick();
setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);
