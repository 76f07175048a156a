// What is wider than its box scrolls, so the keyboard has to reach it; what fits is no stop on the way.
(() => {
  "use strict";
  const boxes = ".pst-scrollable-table-container, .what-if .scroll, article pre, article div.math, article .cell_output";
  const mark = () => {
    const all = [...document.querySelectorAll(boxes)];
    const scrolls = all.map((b) => b.scrollWidth > b.clientWidth + 1 || b.scrollHeight > b.clientHeight + 1);
    all.forEach((box, i) => (scrolls[i] ? (box.tabIndex = 0) : box.removeAttribute("tabindex"))); // all read, then written
  };
  addEventListener("load", mark);
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, true);
})();

// The theme's buttons, whose own handlers stand in attributes, which the pages' policy does not allow.
(() => {
  "use strict";
  const actions = { ".btn-download-pdf-button": () => print(), ".btn-fullscreen-button": () => toggleFullScreen() };
  for (const [buttons, action] of Object.entries(actions)) {
    document.querySelectorAll(buttons).forEach((button) => button.addEventListener("click", action));
  }
})();
