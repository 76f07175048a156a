// Squares, pictures and points that know more than they show say it on hover, tap and focus, in a line under their figure.
// One of them is a stop of the keyboard; the arrow keys go on from there.
(() => {
  "use strict";
  for (const group of document.querySelectorAll("article .closer")) {
    const items = [...group.querySelectorAll("[data-detail]")];
    const line = document.createElement("p");
    line.className = "detail";
    line.setAttribute("role", "status");
    line.textContent = group.dataset.hint;
    group.after(line);
    group.querySelector("table")?.setAttribute("role", "grid");
    for (const item of items) {
      if (item.tagName !== "TD") item.setAttribute("role", "button");
      if (!item.textContent) item.setAttribute("aria-label", item.dataset.detail); // a spot over a point of a picture
    }

    let shown = items[0];
    const show = (item) => {
      shown.classList.remove("shown");
      item.classList.add("shown");
      shown = item;
      line.textContent = item.dataset.detail;
    };
    const stop = (item) => items.forEach((other) => (other.tabIndex = other === item ? 0 : -1));
    stop(shown);

    // the item in the nearest row above or below, as the eye would find it
    const beside = (item, sign) => {
      const place = (element) => element.getBoundingClientRect();
      const here = place(item);
      const away = (other) => 100 * sign * (place(other).top - here.top) + Math.abs(place(other).left - here.left);
      const further = items.filter((other) => sign * (place(other).top - here.top) > 1);
      return further.reduce((best, other) => (away(other) < away(best) ? other : best), further[0] ?? item);
    };
    const keys = {
      ArrowRight: (item) => items[items.indexOf(item) + 1],
      ArrowLeft: (item) => items[items.indexOf(item) - 1],
      ArrowDown: (item) => beside(item, 1),
      ArrowUp: (item) => beside(item, -1),
      Home: () => items[0],
      End: () => items.at(-1),
    };
    // points may lie over each other: of a figure's points the nearest answers
    const nearest = ({ clientX, clientY }) => {
      const away = (item) => {
        const { x, y, width, height } = item.getBoundingClientRect();
        return Math.hypot(x + width / 2 - clientX, y + height / 2 - clientY);
      };
      return items.reduce((best, item) => (away(item) < away(best) ? item : best));
    };
    const scattered = group.classList.contains("points");
    for (const kind of ["pointermove", "focusin", "click"]) {
      group.addEventListener(kind, (event) => {
        const item = event.target.closest("[data-detail]") ?? (scattered ? nearest(event) : null);
        if (!item) return;
        show(item);
        if (kind !== "pointermove") stop(item);
        if (kind === "click") item.focus({ preventScroll: true }); // the keys go on from here
      });
    }
    group.addEventListener("keydown", (event) => {
      const item = event.target.closest("[data-detail]");
      const next = item && keys[event.key]?.(item);
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
  }
})();
