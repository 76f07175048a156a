// What is wider than its box scrolls, so the keyboard has to reach it; what fits is no stop on the way.
(() => {
  "use strict";
  const boxes = ".pst-scrollable-table-container, .what-if .scroll, article pre, article div.math, article .cell_output";
  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", mark);
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, true);
})();
