// Which count is this? The search of vitlib/counting/search.py, on the terms of vitlib/counting/terms.py as data.
// Counts are BigInts, since a large network's exceed 2^53. Sizes are the values of the symbols, such as { N: 50n }.
const whichCount = (() => {
  // ---- printed numbers, as in vitlib/printed.py --------------------------------------------------------------------

  const UNITS = { "": 0, k: 3, m: 6, g: 9, b: 9, t: 12 }; // powers of ten
  const DIGITS = [ // thousands separated alike, or not at all
    "[1-9]\\d{0,2}(?:,\\d{3})+(?:\\.\\d+)?", "[1-9]\\d{0,2}(?:[ '’_]\\d{3})+", "[1-9]\\d{0,2}(?:\\.\\d{3}){2,}",
    "\\d+(?:\\.\\d*)?(?:e[+-]?\\d{1,2})?",
  ].join("|");
  const NUMBER = new RegExp(`^(${DIGITS})(?:\\s?([kmgbt]))?(?:\\s?(?:macs?|flops?|params?|parameters))?$`, "i");
  const LIMIT = 10n ** 18n;

  // a number as printed: whether a count, divided by `divisor`, rounds to it; and its value, if it is printed in full
  const read = (text) => {
    const spaced = text.replace(/(?<=\d)[\u00a0\u2009\u202f](?=\d{3}\b)/g, "").replace(/[^\S\n]+/g, " ").trim();
    const found = spaced.replace(/(?<=\d) ?million\b/g, "M").match(NUMBER);
    const refuse = (wanted) => { throw new RangeError(`The number is “${text}”, but must be ${wanted}.`); };
    if (!found) refuse("one such as 9983872, 9,983,872 or 9.98M");
    const digits = found[1].split(".").length > 2 ? found[1].replaceAll(".", "") : found[1];
    const [, whole, decimals = "", exponent = "0"] = digits.match(/^([\d, '’_]+)(?:\.(\d*))?(?:e(.*))?$/i);
    const unit = found[2] ?? "";
    const power = Number(exponent) + UNITS[unit.toLowerCase()];
    const last = power - decimals.length; // of the last digit
    const place = (n) => 10n ** BigInt(Math.max(n, 0));
    const value = 2n * BigInt(whole.replace(/\D/g, "") + decimals) * place(last), over = 2n * place(-last);
    const tolerance = decimals || power > 0 ? place(last) : 0n; // half of the last digit, also over `over`
    if (value > LIMIT * over) refuse(`at most ${show(LIMIT)}`);
    const exact = 2n * tolerance < over && value % over === 0n ? value / over : null;
    const fits = (count, divisor = 1n) => {
      if (exact !== null) return count === exact * divisor;
      const off = value * divisor - count * over;
      return (off < 0n ? -off : off) <= tolerance * divisor;
    };
    return { exact, fits };
  };

  // ---- what is counted ---------------------------------------------------------------------------------------------

  const show = (count) => count.toLocaleString("en-US");
  const evaluate = (sum, sizes) => sum.reduce((total, product) =>
    total + product.reduce((all, factor) => all * (sizes[factor] ?? BigInt(factor)), 1n), 0n);

  // a target for the sizes of a network: the exact count, and what each term adds to it, plain and under each swap
  const prepare = (target, sizes) => {
    const values = target.layer ? { ...sizes, L: 1n } : sizes;
    const under = ({ text, slip, symbols }) => {
      const swapped = { ...values };
      for (const [symbol, sum] of Object.entries(symbols)) swapped[symbol] = evaluate(sum, values);
      const terms = target.terms.map((term) => {
        const parts = term.parts.map(({ sum, ...part }) => ({ ...part, change: evaluate(sum, swapped) }));
        return { ...term, parts, change: parts.reduce((total, part) => total + part.change, 0n) };
      });
      return { text, slip, terms, count: evaluate(target.count, swapped) };
    };
    const plain = under({ symbols: {} });
    return {
      ...target, plain, fill: (text) => text.replace(/\{(\w)\}/g, (_, symbol) => show(sizes[symbol])),
      exchanged: target.swaps.map(under).filter((swap) => swap.count !== plain.count),
      scales: target.scales.map((scale) => ({ ...scale, factor: evaluate(scale.factor, sizes) })),
    };
  };

  // A choice is [plain or exchanged, terms of it, scale or nothing].
  const total = ([base, terms]) => terms.reduce((count, term) => count + term.change, base.count);
  // a count times a scale, as numerator and denominator
  const times = (count, scale) => {
    if (!scale) return [count, 1n];
    return scale.divides ? [count, scale.factor] : [count * scale.factor, 1n];
  };
  const explanation = (target, [base, terms, scale]) => {
    const { plain, fill } = target, steps = [];
    if (base !== plain) steps.push({ text: fill(base.text), change: base.count - plain.count, slip: base.slip });
    for (const part of terms.flatMap((term) => term.parts)) steps.push({ ...part, text: fill(part.text) });
    if (scale) {
      const count = total([base, terms]), [scaled, over] = times(count, scale);
      steps.push({ text: fill(scale.text), change: scaled - count * over, over, slip: scale.slip });
    }
    const tools = terms.length === 1 && base === plain && !scale ? terms[0].tools : [];
    return { target, exact: plain.count, steps, tools };
  };

  // ---- the search: each level yields explanations ------------------------------------------------------------------

  function* pairs(list) {
    for (let i = 0; i < list.length; i += 1) for (let j = i + 1; j < list.length; j += 1) yield [list[i], list[j]];
  }
  function* threes(list) {
    for (let i = 0; i < list.length; i += 1) for (const pair of pairs(list.slice(i + 1))) yield [list[i], ...pair];
  }
  function* fitting(claim, target, choices) {
    for (const choice of choices) {
      if (claim.fits(...times(total(choice), choice[2]))) yield explanation(target, choice);
    }
  }

  function* none(claim, target) {
    if (claim.fits(target.plain.count)) yield explanation(target, [target.plain, []]);
  }

  function* one(claim, target) {
    const { plain, exchanged, scales } = target;
    yield* fitting(claim, target, (function* () {
      for (const term of plain.terms) yield [plain, [term]];
      for (const swap of exchanged) yield [swap, []];
      for (const scale of scales) yield [plain, [], scale];
      for (const term of tools(target)) for (const scale of scales) if (!scale.slip) yield [plain, [term], scale];
    })());
    yield* batches(claim, target, []);
  }

  // one more step, from the count of some terms to the number
  function* withLast(claim, target, terms, step) {
    const count = total([target.plain, terms]), last = claim.exact === null ? null : step(count);
    if (!last) return;
    const found = explanation(target, [target.plain, terms]);
    yield { ...found, steps: [...found.steps, { ...last, change: claim.exact - count }] };
  }
  const tools = (target) => target.plain.terms.filter((term) => term.tools.length);

  const batches = (claim, target, terms) => withLast(claim, target, terms, (count) => {
    if (target.kind !== "macs" || target.layer || count <= 0n || claim.exact % count !== 0n) return null;
    const images = claim.exact / count;
    return images >= 2n && images <= 4096n ? { text: `counts a batch of ${show(images)} images`, slip: false } : null;
  });

  function* digits(claim, target) {
    for (const terms of [[], ...tools(target).map((term) => [term])]) {
      yield* withLast(claim, target, terms, (count) => {
        const text = typingError(String(claim.exact), String(count));
        return text && { text: `${text} of ${show(count)}`, slip: true };
      });
    }
  }
  const typingError = (written, right) => {
    if (written === right || Math.min(written.length, right.length) < 3) return "";
    if (written.length === right.length) {
      const wrong = [...written].flatMap((digit, i) => digit === right[i] ? [] : [i]), i = wrong[0];
      if (wrong.length === 1) return "has one wrong digit";
      const neighbours = wrong.length === 2 && wrong[1] === i + 1;
      return neighbours && written[i] === right[i + 1] && written[i + 1] === right[i] ? "swaps two digits" : "";
    }
    const [shorter, longer] = [written, right].sort((a, b) => a.length - b.length);
    if (![...longer].some((_, i) => longer.slice(0, i) + longer.slice(i + 1) === shorter)) return "";
    return shorter === written ? "misses a digit" : "has a digit too many";
  };

  function* two(claim, target) {
    const { plain, exchanged, scales } = target;
    // two slips do not change the same row
    const apart = ([a, b]) => !(a.slip && b.slip && a.rows.some((row) => b.rows.includes(row)));
    yield* fitting(claim, target, (function* () {
      for (const pair of pairs(plain.terms)) if (apart(pair)) yield [plain, pair];
      for (const swap of exchanged) for (const term of swap.terms) yield [swap, [term]];
      for (const term of plain.terms) {
        for (const scale of scales) if (scale.slip || !term.tools.length) yield [plain, [term], scale];
      }
      for (const swap of exchanged) for (const scale of scales) yield [swap, [], scale];
    })());
    for (const term of tools(target)) yield* batches(claim, target, [term]);
  }

  function* three(claim, target) {
    const { plain, exchanged, scales } = target;
    const conventions = (base) => base.terms.filter((term) => !term.slip);
    const slips = plain.terms.filter((term) => term.slip);
    yield* fitting(claim, target, (function* () {
      for (const terms of threes(conventions(plain))) yield [plain, terms];
      for (const pair of pairs(conventions(plain))) for (const slip of slips) yield [plain, [...pair, slip]];
      for (const swap of exchanged) for (const pair of pairs(conventions(swap))) yield [swap, pair];
      for (const scale of scales) {
        for (const pair of pairs(conventions(plain))) yield [plain, pair, scale];
        if (scale.slip) continue;
        for (const term of conventions(plain)) for (const slip of slips) yield [plain, [term, slip], scale];
        for (const swap of exchanged) for (const term of conventions(swap)) yield [swap, [term], scale];
      }
    })());
  }

  // the smallest explanations of a number, conventions first; a rounded number gets one term at most
  const explain = (claim, targets) => {
    const slips = ({ steps }) => steps.filter((step) => step.slip).length;
    for (const level of claim.exact === null ? [none, one] : [none, one, digits, two, three]) {
      const found = targets.flatMap((target) => [...level(claim, target)]);
      if (found.length) return found.sort((a, b) => slips(a) - slips(b));
    }
    return [];
  };

  return { read, prepare, explain };
})();
