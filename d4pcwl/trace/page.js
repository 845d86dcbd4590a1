"use strict";
// Where the mouse is, all charts have a line, and the one below it tells its values.
(function () {
  const told = document.createElement("div"), cursor = document.createElement("div");
  told.id = "told";
  cursor.id = "cursor";
  document.body.append(told);
  function hide() {
    told.style.display = cursor.style.display = "none";
  }
  document.addEventListener("pointermove", function (event) {
    const plot = event.target.closest ? event.target.closest(".plot[data-told]") : null;
    if (!plot) return hide();
    const charts = plot.closest(".charts"), box = plot.getBoundingClientRect();
    const outer = charts.getBoundingClientRect(), until = Number(charts.dataset.until);
    const share = Math.min(0.9999, Math.max(0, (event.clientX - box.left) / box.width));
    const lines = [plot.dataset.label, "at " + (share * until).toPrecision(3) + " s"];
    for (const series of plot.dataset.told.split("\n")) {
      const values = series.split("\t"), name = values.shift();
      const value = values[Math.floor(share * values.length)];
      if (value) lines.push(name + " " + value);
    }
    told.replaceChildren(...lines.map(function (line, number) {
      const part = document.createElement(number ? "div" : "b");
      part.textContent = line;
      return part;
    }));
    charts.append(cursor);
    cursor.style.cssText = "display:block;top:0;bottom:0;left:" + (event.clientX - outer.left) + "px";
    told.style.display = "block";
    const right = event.clientX + 16 + told.offsetWidth > innerWidth;
    told.style.left = Math.max(4, event.clientX + (right ? -16 - told.offsetWidth : 16)) + "px";
    told.style.top = Math.min(innerHeight - told.offsetHeight - 4, event.clientY + 16) + "px";
  });
  document.addEventListener("pointerleave", hide);
  // What is folded away is printed, too.
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
})();
