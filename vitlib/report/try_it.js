// The page: state, what it shows, and where pictures come from.
const root = document.getElementById("try-it");
const find = (selector) => root.querySelector(selector);
const all = (selector) => [...root.querySelectorAll(selector)];
const { config, classes, samples, stages } = data;
const SIDE = config.image_size,
  ACROSS = SIDE / config.patch_size,
  PATCHES = ACROSS ** 2,
  TOKENS = PATCHES + 1;
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const whole = (number) => number.toLocaleString("en-US");
const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

// ---- the network ---------------------------------------------------------------------------------------------------

// Four bytes for five letters of base 85 (RFC 1924, with a comma for the <).
const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const digits = new Uint8Array(128);
[...LETTERS].forEach((letter, digit) => (digits[letter.charCodeAt(0)] = digit));
const part = (name) => {
  const text = find(`[data-part=${name}]`).textContent;
  const made = new DataView(new ArrayBuffer((text.length / 5) * 4));
  for (let i = 0, at = 0; i < text.length; i += 5, at += 4) {
    let number = 0;
    for (let j = i; j < i + 5; j += 1) number = number * 85 + digits[text.charCodeAt(j)];
    made.setUint32(at, number);
  }
  return new Uint8Array(made.buffer);
};
const tensors = {},
  integers = new Int16Array(part("weights").buffer);
let offset = 0;
for (const [name, size, scale] of data.tensors) {
  tensors[name] = Float32Array.from(integers.subarray(offset, offset + size), (weight) => weight * scale);
  offset += size;
}
const network = vit(config, tensors);
const everyPatch = Array.from({ length: PATCHES }, (_, patch) => patch);
root.network = (pixels, patches = everyPatch) => network(pixels, patches); // for the browser's console and the tests

// ---- the state: kept in the address --------------------------------------------------------------------------------

const thumbnails = part("pixels");
const pixelsOf = (sample) => thumbnails.slice(sample * SIDE * SIDE, (sample + 1) * SIDE * SIDE);
const state = {
  tab: "choose",
  sample: 0,
  pixels: pixelsOf(0),
  hidden: new Set(),
  layer: config.depth - 1,
  head: config.num_heads - 1,
  stage: -1,
};
const isEmpty = () => state.pixels.every((value) => value === state.pixels[0]);
let result = null,
  seen = {},
  shown = null; // of the last forward pass; `shown`: the layer and head under the pointer

const toAddress = () => {
  const address = new URLSearchParams();
  if (state.sample >= 0) address.set("image", samples[state.sample].index);
  else {
    const text = btoa(String.fromCharCode(...state.pixels));
    address.set("pixels", text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, ""));
  }
  if (state.hidden.size)
    address.set(
      "hidden",
      [...state.hidden]
        .map((patch) => patch + 1)
        .sort((a, b) => a - b)
        .join("."),
    );
  address.set("layer", state.layer + 1);
  address.set("head", state.head + 1);
  if (state.stage >= 0) address.set("step", state.stage + 1);
  return `#${address}`;
};
let waiting = 0;
const keep = () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", toAddress()), 250); // browsers limit how often
};

// Read the address; return a sentence about what is wrong with it.
const fromAddress = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name, most, otherwise) => {
    const value = given.has(name) ? Number(given.get(name)) : otherwise + 1;
    if (Number.isInteger(value) && value >= 1 && value <= most) return value - 1;
    wrong = `The address has ${name}=${given.get(name)}, but it must be 1 to ${most}.`;
    return otherwise;
  };
  let wrong = "";
  if (given.has("image")) {
    const sample = samples.findIndex(({ index }) => String(index) === given.get("image"));
    if (sample < 0)
      wrong = `The address has image=${given.get("image")}, which is none of the ${samples.length} test images here.`;
    else choose(sample);
  }
  if (given.has("pixels")) {
    try {
      const text = atob(given.get("pixels").replaceAll("-", "+").replaceAll("_", "/"));
      const pixels = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
      if (pixels.length !== SIDE * SIDE) throw new RangeError("another size");
      setPixels(pixels);
      state.tab = "draw";
    } catch {
      wrong = "The address holds a picture that is cut off: copy all of it.";
    }
  }
  state.layer = number("layer", config.depth, state.layer);
  state.head = number("head", config.num_heads, state.head);
  state.stage = given.has("step") ? number("step", stages.length, 0) : -1;
  const hidden = given.get("hidden")?.split(".").map(Number) ?? [];
  if (hidden.every((patch) => Number.isInteger(patch) && patch >= 1 && patch <= PATCHES)) {
    state.hidden = new Set(hidden.map((patch) => patch - 1));
  } else wrong = `The address has hidden=${given.get("hidden")}, but patches have the numbers 1 to ${PATCHES}.`;
  return wrong;
};

const complain = (sentence) => {
  find(".wrong").textContent = sentence;
  find(".wrong").hidden = !sentence;
};
const choose = (sample) => {
  Object.assign(state, { sample, pixels: pixelsOf(sample) });
};
const setPixels = (pixels) => {
  Object.assign(state, { sample: -1, pixels });
};

// ---- what is shown -------------------------------------------------------------------------------------------------

const paint = (canvas, pixels, shares = null) => {
  const image = new ImageData(SIDE, SIDE),
    largest = shares && Math.max(...shares.values(), 1e-9);
  for (let i = 0; i < SIDE * SIDE; i += 1) {
    const patch =
      Math.floor(Math.floor(i / SIDE) / config.patch_size) * ACROSS + Math.floor((i % SIDE) / config.patch_size);
    const orange = shares ? 0.9 * ((shares.get(patch) ?? 0) / largest) : 0,
      grey = pixels[i] * (shares ? 0.6 : 1);
    [255, 140, 0].forEach((colour, c) => (image.data[4 * i + c] = grey * (1 - orange) + colour * orange));
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
};

// The class token's attention by patch, and to itself.
const classAttention = (layer, head) => {
  const visible = everyPatch.filter((patch) => !state.hidden.has(patch)),
    N = visible.length + 1;
  const row = result.attention[layer].subarray(head * N * N, head * N * N + N);
  return { itself: row[0], shares: new Map(visible.map((patch, n) => [patch, row[n + 1]])) };
};

const showMap = (patch = null) => {
  const { layer, head } = shown ?? state,
    name = `Layer ${layer + 1}, head ${head + 1}`,
    canvas = find("[data-frame=map] canvas");
  find(".reading").textContent = "";
  if (!result) return paint(canvas, state.pixels);
  const { itself, shares } = classAttention(layer, head);
  paint(canvas, state.pixels, shares);
  const [most] = [...shares].reduce((best, next) => (next[1] > best[1] ? next : best), [-1, -1]);
  const at = patch ?? most;
  canvas.setAttribute("aria-label", `${name}: attention of the class token over the picture`);
  if (!shares.has(at))
    return (find(".reading").textContent =
      at < 0 ? `${name}: all goes to the class token.` : `Patch ${at + 1} is hidden.`);
  find(".reading").textContent =
    `${name}: ${percent(shares.get(at))} go to patch ${at + 1}` +
    `${patch === null ? ", the most" : ""}, ${percent(itself)} to the class token itself.`;
};

const point = (patch) => {
  for (const mark of all(".spot")) {
    mark.hidden = patch === null;
    const size = 100 / ACROSS,
      row = Math.floor(patch / ACROSS),
      column = patch % ACROSS;
    mark.style.cssText = `left: ${column * size}%; top: ${row * size}%; width: ${size}%; height: ${size}%`;
  }
  showMap(patch);
};

const showAnswer = (before, time) => {
  const bars = all(".bars li"),
    p = result?.probabilities ?? classes.map(() => 0);
  const answer = p.indexOf(Math.max(...p)),
    sample = samples[state.sample];
  bars.forEach((bar, label) => {
    bar.className = result && label === answer ? "first" : "";
    bar.querySelector(".value").style.width = percent(p[label]).replace("\u00a0", "");
    bar.lastChild.textContent = result ? percent(p[label]) : "";
    const mark = bar.querySelector(".before");
    mark.hidden = !before || Math.abs(before[label] - p[label]) < 0.005;
    if (before) mark.style.left = `${100 * before[label]}%`;
  });
  const name = element("b", {}, result ? classes[answer] : "Nothing to see");
  find(".answer").replaceChildren(name, result ? ` ${percent(p[answer])}` : "");
  const label = sample && classes[sample.label];
  const verdict = !result
    ? "The picture is a single shade of grey: draw something, or choose another."
    : sample
      ? `${sample.label === answer ? "Right" : "Wrong"}: the label is ${label}.`
      : "The network always names one of its ten classes.";
  const was = before
    ? ` With all patches: ${classes[before.indexOf(Math.max(...before))]}, ${percent(Math.max(...before))}.`
    : "";
  find(".verdict").textContent = verdict + was;
  find(".time").textContent = result ? `Computed here in ${time.toFixed(1)} ms.` : "";
  announce(result ? `${classes[answer]}, ${percent(p[answer])}. ${verdict}${was}` : verdict);
};

let speaking = 0;
const announce = (sentence) => {
  clearTimeout(speaking);
  speaking = setTimeout(() => (find(".said").textContent = sentence), 300); // once a drawing rests
};

const update = () => {
  const visible = everyPatch.filter((patch) => !state.hidden.has(patch)),
    start = performance.now();
  seen = {};
  result = isEmpty() ? null : network(state.pixels, visible, (name, values, width) => (seen[name] = { values, width }));
  const time = performance.now() - start;
  const before = result && state.hidden.size ? network(state.pixels, everyPatch).probabilities : null;
  paint(find("[data-frame=picture] canvas"), state.pixels);
  showAnswer(before && [...before], time);
  all(".cells button").forEach((cell, patch) => cell.setAttribute("aria-pressed", state.hidden.has(patch)));
  find("[data-do=show]").hidden = !state.hidden.size;
  find(".count").textContent = state.hidden.size
    ? `Hidden: ${state.hidden.size} of ${PATCHES} patches. The network gets ${visible.length + 1} tokens, not ${TOKENS}.`
    : strokes()
      ? ""
      : "Click a patch to hide it. The network then gets one token less; nothing takes its place.";
  all(".thumbs button").forEach((thumb, i) => thumb.setAttribute("aria-pressed", i === state.sample));
  for (const mini of all(".minis button")) {
    const [layer, head] = mini.dataset.map.split(",").map(Number);
    mini.setAttribute("aria-pressed", layer === state.layer && head === state.head);
    paint(
      mini.firstChild,
      result ? state.pixels.map(() => 0) : state.pixels,
      result && classAttention(layer, head).shares,
    );
  }
  showMap();
  showStage();
  keep();
};

const showTab = () => {
  for (const tab of all("[role=tab]")) {
    const open = tab.dataset.tab === state.tab;
    tab.setAttribute("aria-selected", open);
    tab.tabIndex = open ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !open;
  }
  const draws = state.tab === "draw",
    surface = find("[data-frame=picture] canvas");
  find(".cells").classList.toggle("away", strokes());
  surface.tabIndex = draws ? 0 : -1;
  surface.style.touchAction = draws ? "none" : "auto"; // elsewhere a finger scrolls the page
  surface.setAttribute("role", draws ? "application" : "img");
  surface.setAttribute(
    "aria-label",
    draws ? "Your drawing: arrow keys move the pen, space draws" : "The picture, 28 by 28 pixels",
  );
};

// ---- choose --------------------------------------------------------------------------------------------------------

// One stop of the keyboard for a group of buttons; the arrow keys go on from there.
const rove = (buttons, right, down, chosen = () => {}) => {
  const stop = (button) => buttons.forEach((other) => (other.tabIndex = other === button ? 0 : -1));
  stop(buttons[0]);
  buttons.forEach((button, i) => {
    button.addEventListener("focus", () => stop(button));
    button.addEventListener("keydown", (event) => {
      const steps = {
        ArrowRight: right,
        ArrowLeft: -right,
        ArrowDown: down,
        ArrowUp: -down,
        Home: -i,
        End: buttons.length - 1 - i,
      };
      const next = buttons[i + steps[event.key]];
      if (!next) return;
      event.preventDefault();
      next.focus();
      chosen(next);
    });
  });
};

const buildStrip = () => {
  const pick = (thumb) => {
    choose(Number(thumb.dataset.sample));
    state.hidden.clear();
    complain("");
    update();
  };
  for (const kind of new Set(samples.map((sample) => sample.kind))) {
    const thumbs = element("div", { class: "thumbs" });
    samples.forEach((sample, i) => {
      if (sample.kind !== kind) return;
      const name = `${classes[sample.label]}, test image ${whole(sample.index)}`;
      const thumb = element(
        "button",
        { "data-sample": i, "aria-label": name, title: name },
        element("canvas", { width: SIDE, height: SIDE }),
      );
      paint(thumb.firstChild, pixelsOf(i));
      thumb.addEventListener("click", () => pick(thumb));
      thumbs.append(thumb);
    });
    const title = kind[0].toUpperCase() + kind.slice(1);
    find(".strip").append(
      element("div", { role: "group", "aria-label": title }, element("p", { class: "small" }, title), thumbs),
    );
  }
  rove(all(".thumbs button"), 2, 1, pick);
};

// ---- draw ----------------------------------------------------------------------------------------------------------

let tool = "white",
  pen = null,
  lastSample = 0;
const GREY = 130; // of 255
const strokes = () => state.tab === "draw" && tool !== "hide";

// Draw a line of round dots between two places, in pixels of the picture.
const stroke = (from, to) => {
  const radius = Number(find("[data-width]").value) / 2,
    pixels = state.pixels.slice();
  const steps = Math.ceil(2 * Math.hypot(to.x - from.x, to.y - from.y)) || 1;
  for (let step = 1; step <= steps; step += 1) {
    const x = from.x + ((to.x - from.x) * step) / steps,
      y = from.y + ((to.y - from.y) * step) / steps;
    for (let i = 0; i < pixels.length; i += 1) {
      const away = Math.hypot((i % SIDE) + 0.5 - x, Math.floor(i / SIDE) + 0.5 - y);
      const cover = Math.max(0, Math.min(1, radius + 0.5 - away));
      if (tool === "eraser") pixels[i] = Math.min(pixels[i], 255 * (1 - cover));
      else if (tool === "white") pixels[i] = Math.max(pixels[i], 255 * cover);
      else pixels[i] += (GREY - pixels[i]) * cover;
    }
  }
  setPixels(pixels);
  update();
};

const buildDrawing = () => {
  const surface = find("[data-frame=picture] canvas");
  const place = (event) => {
    const box = surface.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
  };
  surface.addEventListener("pointerdown", (event) => {
    if (!strokes()) return;
    surface.setPointerCapture(event.pointerId);
    pen = place(event);
    stroke(pen, pen);
  });
  surface.addEventListener("pointermove", (event) => {
    if (!pen) return;
    const next = place(event);
    stroke(pen, next);
    pen = next;
  });
  for (const end of ["pointerup", "pointercancel"]) surface.addEventListener(end, () => (pen = null));
  const cursor = { x: SIDE / 2, y: SIDE / 2 };
  surface.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1], " ": [0, 0] }[
      event.key
    ];
    if (!move || state.tab !== "draw") return;
    event.preventDefault();
    cursor.x = Math.max(0.5, Math.min(SIDE - 0.5, cursor.x + move[0]));
    cursor.y = Math.max(0.5, Math.min(SIDE - 0.5, cursor.y + move[1]));
    if (event.key === " " && strokes()) stroke(cursor, cursor);
    const mark = find("[data-frame=picture] .spot");
    mark.hidden = false;
    const [left, top] = [cursor.x, cursor.y].map((at) => (100 * (at - 0.5)) / SIDE);
    mark.style.cssText = `left: ${left}%; top: ${top}%; width: ${100 / SIDE}%; height: ${100 / SIDE}%`;
  });
  surface.addEventListener("blur", () => point(null));
  for (const button of all("[data-tool]")) {
    button.addEventListener("click", () => {
      tool = button.dataset.tool;
      all("[data-tool]").forEach((other) => other.setAttribute("aria-pressed", other === button));
      showTab();
      update();
    });
  }
};

// ---- load ----------------------------------------------------------------------------------------------------------

const MOST_BYTES = 64e6,
  MOST_PIXELS = 64e6,
  WORKING = 448; // pixels: the longer side before the picture is reduced to 28
let loaded = null; // { name, width, height, grey, w, h }: the picture in grey, w by h pixels

const unreadable = (file) =>
  new Error(`${file.name} cannot be read as a picture: choose a PNG, JPEG, GIF or WebP file.`);
const readImage = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader(),
      image = new Image();
    image.onload = () => resolve(image);
    image.onerror = reader.onerror = () => reject(unreadable(file));
    reader.onload = () => (image.src = reader.result); // the page's policy allows data:, not blob:
    reader.readAsDataURL(file);
  });

// The picture in grey, on white where it is transparent, its longer side at most WORKING pixels.
const toGrey = (image) => {
  const scale = Math.min(1, WORKING / Math.max(image.naturalWidth, image.naturalHeight));
  const [w, h] = [image.naturalWidth, image.naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = find(".seen canvas"),
    pen2d = Object.assign(canvas, { width: w, height: h }).getContext("2d", { willReadFrequently: true });
  Object.assign(pen2d, { fillStyle: "#fff", imageSmoothingQuality: "high" });
  pen2d.fillRect(0, 0, w, h);
  pen2d.drawImage(image, 0, 0, w, h);
  const rgb = pen2d.getImageData(0, 0, w, h).data;
  return {
    w,
    h,
    grey: Float32Array.from(
      { length: w * h },
      (_, i) => 0.299 * rgb[4 * i] + 0.587 * rgb[4 * i + 1] + 0.114 * rgb[4 * i + 2],
    ),
  };
};

// Make the picture one of Fashion-MNIST's kind: the ground black, the garment as large as the frame, centred.
const reduce = ({ grey, w, h }, inverted) => {
  const edge = [...grey.keys()].filter((i) => i < w || i >= w * (h - 1) || i % w === 0 || i % w === w - 1);
  const ground = edge.map((i) => grey[i]).sort((a, b) => a - b)[edge.length >> 1];
  const inverts = inverted ?? ground > 127;
  const light = grey.map((value) =>
    Math.max(
      0,
      255 * (inverts ? (ground - value) / Math.max(ground, 1) : (value - ground) / Math.max(255 - ground, 1)),
    ),
  );
  const garment = [...light.keys()].filter((i) => light[i] > 25); // a tenth
  if (!garment.length) return { inverts, pixels: new Uint8Array(SIDE * SIDE), box: [w, h] };
  const span = (places) =>
    places.reduce(([low, high], at) => [Math.min(low, at), Math.max(high, at + 1)], [Infinity, 0]);
  const [left, right] = span(garment.map((i) => i % w)),
    [top, bottom] = span(garment.map((i) => Math.floor(i / w)));
  const scale = SIDE / Math.max(right - left, bottom - top),
    sums = new Float64Array(SIDE * SIDE),
    counts = new Float64Array(SIDE * SIDE);
  const FINE = Math.max(1, Math.ceil(2 * scale)); // samples along a pixel, so that each of the 28 x 28 gets some
  for (let y = top * FINE; y < bottom * FINE; y += 1) {
    for (let x = left * FINE; x < right * FINE; x += 1) {
      const column = Math.floor(SIDE / 2 + ((x + 0.5) / FINE - (left + right) / 2) * scale);
      const row = Math.floor(SIDE / 2 + ((y + 0.5) / FINE - (top + bottom) / 2) * scale),
        at = row * SIDE + column;
      sums[at] += light[Math.floor(y / FINE) * w + Math.floor(x / FINE)];
      counts[at] += 1;
    }
  }
  return {
    inverts,
    pixels: Uint8Array.from(sums, (sum, i) => Math.round(sum / Math.max(counts[i], 1))),
    box: [right - left, bottom - top],
  };
};

const showLoaded = (inverted) => {
  const { inverts, pixels } = reduce(loaded, inverted),
    button = find("[data-do=invert]");
  setPixels(pixels);
  state.hidden.clear();
  all(".seen canvas").forEach((canvas) => (canvas.hidden = false));
  paint(all(".seen canvas")[1], pixels);
  button.disabled = false;
  button.setAttribute("aria-pressed", inverts);
  const inverting = !inverts ? "" : inverted === undefined ? "inverted because its edge is light, " : "inverted, ";
  find(".seen p").textContent =
    `${loaded.name}, ${whole(loaded.width)} × ${whole(loaded.height)} pixels: turned grey, ${inverting}` +
    `cut to the garment, and reduced to ${SIDE} × ${SIDE}.`;
  update();
};

const load = async (file) => {
  if (!file) return;
  complain("");
  try {
    if (file.size > MOST_BYTES)
      throw new Error(
        `${file.name} has ${Math.round(file.size / 1e6)} MB: choose a file of at most ${MOST_BYTES / 1e6} MB.`,
      );
    const image = await readImage(file),
      { naturalWidth: width, naturalHeight: height } = image;
    if (!width || !height)
      throw new Error(`${file.name} states no size in pixels: choose a PNG, JPEG, GIF or WebP file.`);
    if (width * height > MOST_PIXELS) {
      throw new Error(
        `${file.name} has ${whole(width)} × ${whole(height)} pixels: choose at most ${MOST_PIXELS / 1e6} million.`,
      );
    }
    await image.decode().catch(() => {
      throw unreadable(file); // a damaged picture; one that is cut off shows what is there
    });
    loaded = { name: file.name, width, height, ...toGrey(image) };
    showLoaded();
  } catch (error) {
    complain(error.message);
  }
};

const buildLoading = () => {
  find("input[type=file]").addEventListener("change", (event) => load(event.target.files[0]));
  for (const kind of ["dragover", "drop"]) {
    root.addEventListener(kind, (event) => {
      event.preventDefault();
      if (kind === "dragover" || !event.dataTransfer.files.length) return;
      state.tab = "load";
      showTab();
      load(event.dataTransfer.files[0]);
    });
  }
};

// ---- patches and maps ----------------------------------------------------------------------------------------------

const buildPatches = () => {
  const cells = find(".cells");
  root.style.setProperty("--across", ACROSS);
  root.style.setProperty("--heads", config.num_heads);
  for (const patch of everyPatch) {
    const name = `Hide patch ${patch + 1}: row ${Math.floor(patch / ACROSS) + 1}, column ${(patch % ACROSS) + 1}`;
    const cell = element("button", { "aria-label": name, "aria-pressed": "false" });
    cell.addEventListener("click", () => {
      if (!state.hidden.delete(patch)) state.hidden.add(patch);
      update();
      point(patch);
    });
    cell.addEventListener("focus", () => cell.matches(":focus-visible") && point(patch));
    cell.addEventListener("blur", () => point(null));
    cells.append(cell);
  }
  rove(all(".cells button"), 1, ACROSS);
  for (const frame of all(".frame")) {
    frame.addEventListener("pointermove", (event) => {
      const box = frame.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) =>
        Math.floor(share * ACROSS),
      );
      if (!(frame.dataset.frame === "picture" && strokes()) && x >= 0 && x < ACROSS && y >= 0 && y < ACROSS)
        point(y * ACROSS + x);
    });
    frame.addEventListener("pointerleave", () => point(null));
  }
};

const buildMaps = () => {
  const minis = find(".minis");
  minis.append(
    element("span", {}, "head"),
    ...Array.from({ length: config.num_heads }, (_, head) => element("span", {}, head + 1)),
  );
  for (let layer = 0; layer < config.depth; layer += 1) {
    minis.append(element("span", {}, `layer ${layer + 1}`));
    for (let head = 0; head < config.num_heads; head += 1) {
      const name = `Layer ${layer + 1}, head ${head + 1}`;
      const mini = element(
        "button",
        { "data-map": `${layer},${head}`, "aria-label": name, title: name },
        element("canvas", { width: SIDE, height: SIDE }),
      );
      const preview = (now) => {
        shown = now;
        showMap();
      };
      mini.addEventListener("pointerenter", () => preview({ layer, head }));
      mini.addEventListener("pointerleave", () => preview(null));
      mini.addEventListener("click", () => {
        Object.assign(state, { layer, head });
        update();
        announce(find(".reading").textContent);
      });
      minis.append(mini);
    }
  }
  rove(all(".minis button"), 1, config.num_heads, (mini) => mini.click());
};

// ---- explain -------------------------------------------------------------------------------------------------------

const showStage = () => {
  const open = state.stage >= 0,
    stage = stages[state.stage];
  find("[data-do=explain]").setAttribute("aria-expanded", open);
  find(".walk").hidden = !open;
  if (!open) return;
  all(".walk ol button").forEach((button, i) =>
    i === state.stage ? button.setAttribute("aria-current", "step") : button.removeAttribute("aria-current"),
  );
  find("[data-do=back]").disabled = state.stage === 0;
  find("[data-do=next]").disabled = state.stage === stages.length - 1;
  const inLayer = stage.times > 1,
    macs = stage.macs ? `${whole(stage.macs)} MACs` : "No MACs";
  find(".shape").textContent = `${stage.before} → ${stage.after}`;
  find(".macs").textContent =
    inLayer && stage.macs ? `${macs} a layer, ${whole(stage.macs * stage.times)} in all ${stage.times}` : macs;
  find(".sentence").textContent = stage.sentence;
  const name = inLayer ? `${stage.result} ${state.layer + 1}` : stage.result,
    canvas = find(".step canvas");
  const N = PATCHES - state.hidden.size + 1;
  const { values, width } =
    stage.result === "attention" && result
      ? { values: result.attention[state.layer].subarray(state.head * N * N, (state.head + 1) * N * N), width: N }
      : (seen[name] ?? { values: new Float32Array(1), width: 1 });
  if (stage.result === "cut" && result) drawPatches(canvas, values);
  else drawMatrix(canvas, values, width);
  const where =
    stage.result === "attention"
      ? `layer ${state.layer + 1}, head ${state.head + 1}`
      : inLayer
        ? `layer ${state.layer + 1}`
        : "this picture";
  canvas.setAttribute("aria-label", `${stage.title}: ${values.length / width} by ${width} values, ${where}`);
  find(".legend").textContent =
    `The ${values.length / width} × ${width} values, ${where}: orange is positive, blue negative.`;
};

const drawMatrix = (canvas, values, width) => {
  const height = values.length / width,
    image = new ImageData(width, height),
    largest = Math.max(...values.map(Math.abs)) || 1;
  values.forEach((value, i) => {
    const colour = value > 0 ? [213, 94, 0] : [0, 114, 178];
    image.data.set([...colour, 255 * Math.min(1, Math.sqrt(Math.abs(value) / largest))], 4 * i);
  });
  Object.assign(canvas, { width, height }).getContext("2d").putImageData(image, 0, 0);
  const zoom = Math.max(2, Math.min(Math.floor(220 / height), Math.floor(440 / width), 14));
  canvas.style.cssText = `width: ${width * zoom}px; aspect-ratio: ${width} / ${height}`;
};

// The patches where they were, a pixel apart.
const drawPatches = (canvas, values) => {
  const P = config.patch_size,
    width = ACROSS * (P + 1) - 1,
    apart = new Float32Array(width * width);
  everyPatch
    .filter((patch) => !state.hidden.has(patch))
    .forEach((patch, n) => {
      const corner = (P + 1) * (Math.floor(patch / ACROSS) * width + (patch % ACROSS));
      for (let i = 0; i < P * P; i += 1) apart[corner + Math.floor(i / P) * width + (i % P)] = values[n * P * P + i];
    });
  drawMatrix(canvas, apart, width);
};

const buildStages = () => {
  stages.forEach((stage, i) => {
    const button = element("button", {}, `${i + 1} ${stage.title}`);
    button.addEventListener("click", () => goTo(i));
    find(".walk ol").append(element("li", {}, button));
  });
  find(".total").replaceChildren(
    "All steps together: ",
    element("b", {}, whole(data.macs)),
    ` MACs for a picture with all ${PATCHES} patches, as derived on `,
    element("a", { href: "04_encoder_cost.html" }, "The cost of an encoder layer"),
    ".",
  );
};
const goTo = (stage) => {
  state.stage = stage;
  update();
  announce(
    `${stages[stage].title}. ${find(".shape").textContent}. ${find(".macs").textContent}. ${stages[stage].sentence}`,
  );
};

// ---- together ------------------------------------------------------------------------------------------------------

const actions = {
  explain: () => {
    if (state.stage >= 0) {
      state.stage = -1;
      return update();
    }
    goTo(0);
    return find(".walk").scrollIntoView({ block: "nearest", behavior: "smooth" });
  },
  back: () => goTo(state.stage - 1),
  next: () => goTo(state.stage + 1),
  show: () => {
    state.hidden.clear();
    update();
    find(".cells button[tabindex='0']").focus();
  },
  clear: () => {
    setPixels(new Uint8Array(SIDE * SIDE));
    state.hidden.clear();
    update();
  },
  copy: () => {
    setPixels(pixelsOf(lastSample));
    update();
  },
  invert: () => showLoaded(find("[data-do=invert]").getAttribute("aria-pressed") !== "true"),
};
const open = (tab) => {
  if (state.sample >= 0) lastSample = state.sample;
  state.tab = tab;
  complain("");
  if (tab === "choose" && state.sample < 0) choose(lastSample);
  if (tab === "draw" && state.sample >= 0) actions.clear();
  if (tab === "load" && loaded) showLoaded();
  showTab();
  update();
};

classes.forEach((name) => {
  const track = element(
    "span",
    { class: "track" },
    element("span", { class: "value" }),
    element("span", { class: "before", hidden: "" }),
  );
  find(".bars").append(element("li", {}, element("span", {}, name), track, element("span")));
});
buildStrip();
buildDrawing();
buildLoading();
buildPatches();
buildMaps();
buildStages();
for (const [name, action] of Object.entries(actions)) find(`[data-do=${name}]`).addEventListener("click", action);
for (const tab of all("[role=tab]")) tab.addEventListener("click", () => open(tab.dataset.tab));
rove(all("[role=tab]"), 1, 0, (tab) => open(tab.dataset.tab));
const start = () => {
  complain(fromAddress());
  showTab();
  update();
};
addEventListener("hashchange", start);
find(".tool").hidden = false;
start();
