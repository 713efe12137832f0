// Sorts and filters the leaderboard, draws the charts and the pictures. Reads nothing but the page it stands in.
"use strict";

const read = (id) => {
  const held = document.getElementById(id);
  return held ? JSON.parse(held.textContent) : null;
};
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const listen = (control, action) => {
  for (const event of ["input", "change"]) control.addEventListener(event, action);
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- tables -------------------------------------------------------------------------------------------------------

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => sortBy(table, heads, column));
  });
}

function sortBy(table, heads, column) {
  const head = heads[column];
  const first = head.dataset.first === "descending" ? "descending" : "ascending";
  const other = first === "descending" ? "ascending" : "descending";
  const direction = head.getAttribute("aria-sort") === first ? other : first;
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const isText = head.classList.contains("text");
  const value = (row) => {
    const { dataset, textContent } = row.cells[column];
    return isText ? textContent : Number(dataset.sort ?? parseFloat(textContent));
  };
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (isText) return sign * x.localeCompare(y, "en", { numeric: true });
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y); // without a value: last
    return sign * (x - y);
  });
  table.tBodies[0].append(...rows);
}

function filterable(controls, table, count) {
  const filters = [...controls.querySelectorAll("[data-filter]")];
  const apply = () => {
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const fits = filters.every((filter) => {
        const wanted = filter.value.trim().toLowerCase();
        if (!wanted) return true;
        const has = (row.dataset[filter.dataset.filter] || "").toLowerCase();
        return filter.type === "search" ? has.includes(wanted) : has === wanted;
      });
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
  };
  filters.forEach((filter) => listen(filter, apply));
  controls.querySelectorAll("[data-toggle]").forEach((box) => {
    const set = () => table.classList.toggle(box.dataset.toggle, box.checked !== (box.dataset.when === "off"));
    box.addEventListener("change", set);
    set();
  });
  apply();
}

// ---- charts -------------------------------------------------------------------------------------------------------

const views = [];
const page = { shown: null, focus: "", params: {} };

function look() {
  const [ink, soft, line, accent, reference] = ["--ink", "--soft", "--line", "--accent", "--reference"].map(colour);
  const font = getComputedStyle(document.body).fontFamily;
  const category = [0, 1, 2, 3, 4, 5].map((i) => colour(`--c${i}`));
  return {
    background: null,
    font,
    view: { stroke: null },
    range: { category },
    axis: {
      labelColor: soft, titleColor: soft, domainColor: line, tickColor: line, gridColor: line, gridOpacity: 0.8,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, titlePadding: 8, domain: false, ticks: false, labelPadding: 6, labelFlush: false,
    },
    axisY: { labelLimit: 150 },
    text: { color: ink, fontSize: 12 },
    style: {
      accent: { color: accent },
      ink: { color: ink },
      reference: { color: reference, strokeWidth: 1.5 },
    },
  };
}

// The values of a column: as they are, or as distinct ones and where each stands, place by place or in runs.
function valuesOf(column) {
  if (Array.isArray(column)) return column;
  if (column.at) return column.at.map((place) => column.values[place]);
  const found = [];
  for (let i = 0; i < column.runs.length; i += 2) found.push(...Array(column.runs[i + 1]).fill(column.values[column.runs[i]]));
  return found;
}

function rowsOf(columns) {
  const values = Object.entries(columns).map(([name, column]) => [name, valuesOf(column)]);
  return Array.from({ length: values.length ? values[0][1].length : 0 }, (_, i) => Object.fromEntries(values.map(([name, all]) => [name, all[i]])));
}

function specification(id) {
  const spec = read(id);
  const datasets = Object.entries(spec.datasets).map(([name, columns]) => [name, rowsOf(columns)]);
  return { ...spec, datasets: Object.fromEntries(datasets), config: look() };
}

async function drawCharts() {
  views.splice(0).forEach((view) => view.finalize());
  for (const figure of document.querySelectorAll(".chart[data-spec]")) {
    const spec = specification(figure.dataset.spec);
    const result = await vegaEmbed(figure.querySelector(".plot"), spec, {
      actions: false, renderer: "svg", tooltip: { theme: "custom" },
    });
    const { view } = result;
    views.push(Object.assign(result, { key: figure.dataset.spec }));
    const known = page.params[figure.dataset.spec] || {};
    for (const [param, value] of Object.entries(known)) view.signal(param, value);
    tell(view, "shown", page.shown);
    tell(view, "focus", page.focus);
    await view.runAsync();
  }
  document.body.dataset.charts = "drawn";
}

function tell(view, name, value) {
  if (value === null) return;
  try {
    view.signal(name, value);
  } catch {
    return; // this chart does not listen to it
  }
}

function tellAll(name, value) {
  page[name] = value;
  views.forEach(({ view }) => {
    tell(view, name, value);
    view.runAsync();
  });
}

function choices() {
  document.querySelectorAll("select[data-param]").forEach((select) => {
    const set = () => {
      const key = select.closest(".chart").dataset.spec;
      (page.params[key] ||= {})[select.dataset.param] = select.value;
      views.filter((each) => each.key === key).forEach(({ view }) => view.signal(select.dataset.param, select.value).runAsync());
    };
    select.addEventListener("change", set);
  });
}

function chooser(box, onChange) {
  const boxes = [...box.querySelectorAll("input[type=checkbox]")];
  const chosen = () => boxes.filter((each) => each.checked).map((each) => each.value);
  const change = () => {
    tellAll("shown", chosen());
    onChange(chosen());
  };
  boxes.forEach((each) => {
    each.addEventListener("change", change);
    const label = each.closest("label");
    for (const event of ["pointerenter", "focusin"]) label.addEventListener(event, () => tellAll("focus", each.checked ? each.value : ""));
    for (const event of ["pointerleave", "focusout"]) label.addEventListener(event, () => tellAll("focus", ""));
  });
  box.querySelectorAll("button[data-check]").forEach((button) =>
    button.addEventListener("click", () => {
      const n = button.dataset.check === "all" ? boxes.length : Number(button.dataset.check);
      boxes.forEach((each, i) => { each.checked = i < n; });
      change();
    })
  );
  page.shown = chosen();
  onChange(chosen());
}

// ---- pictures -----------------------------------------------------------------------------------------------------

const LESION = "#56b4e9"; // stands out on grey and on the colours of scores
const FLAGGED = "#ffffff";
// Black, purple, orange, pale yellow: lightness grows evenly, so that it reads without colour too.
const STOPS = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];
const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const at = (level / 255) * (STOPS.length - 1);
  const i = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[i].map((value, k) => Math.round(value + (at - i) * (STOPS[i + 1][k] - value)));
});

// Reads the grey levels of an image of data, a box at a time.
async function greys(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const cut = (x, y, width, height) => {
    const { data } = context.getImageData(x, y, width, height);
    return Uint8Array.from({ length: width * height }, (_, k) => data[4 * k]);
  };
  return { cut, width: canvas.width, height: canvas.height };
}

async function unpack(held) {
  const slices = await Promise.all(held.slices.map(async (uri) => {
    const { cut, width, height: both } = await greys(uri);
    const height = both / 2;
    return { width, height, input: cut(0, 0, width, height), lesion: cut(0, height, width, height) };
  }));
  return Promise.all(held.pictures.map(async (picture) => {
    const { cut } = await greys(picture.scores);
    const { width, height } = slices[picture.slices[0]];
    const seen = picture.slices.map((at, i) => ({ ...slices[at], scores: cut(i * width, 0, width, height) }));
    return { ...picture, width, height, slices: seen };
  }));
}

// The first grey level that is above a threshold; null where the picture cannot tell, as all levels lie on one side.
function firstLevel(picture, threshold) {
  const step = (picture.highest - picture.lowest) / 255;
  if (!(step > 0)) return null;
  const level = Math.floor((threshold - picture.lowest) / step) + 1;
  return level < 1 || threshold < picture.lowest + step / 2 ? null : level;
}

function outline(context, mask, width, height, scale, style, dash = []) {
  context.beginPath();
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask(y * width + x);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(x, y)) continue;
      const [l, t, r, b] = [x * scale, y * scale, (x + 1) * scale, (y + 1) * scale];
      if (!inside(x - 1, y)) { context.moveTo(l, t); context.lineTo(l, b); }
      if (!inside(x + 1, y)) { context.moveTo(r, t); context.lineTo(r, b); }
      if (!inside(x, y - 1)) { context.moveTo(l, t); context.lineTo(r, t); }
      if (!inside(x, y + 1)) { context.moveTo(l, b); context.lineTo(r, b); }
    }
  }
  context.strokeStyle = style;
  context.lineWidth = Math.max(1.5, scale * 0.55);
  context.setLineDash(dash);
  context.stroke();
}

function tile(picture, i, { map, level, flagged }) {
  const { width, height } = picture;
  const slice = picture.slices[i];
  const scale = Math.max(1, Math.ceil(256 / Math.max(width, height)));
  const small = make("canvas", { width, height });
  const pixels = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    let [r, g, b] = map ? PALETTE[slice.scores[k]] : Array(3).fill(slice.input[k]);
    if (!map && flagged && level !== null && slice.scores[k] >= level) [r, g, b] = [(r + 230) / 2, (g + 159) / 2, b / 2];
    pixels.data.set([r, g, b, 255], 4 * k);
  }
  small.getContext("2d").putImageData(pixels, 0, 0);
  const what = map ? `score map of ${picture.method}` : "slice with its lesion outlined";
  const canvas = make("canvas", { width: width * scale, height: height * scale, role: "img", "aria-label": `${what}, ${picture.subjects[i]}` });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, width * scale, height * scale);
  if (map && level !== null && level !== undefined) outline(context, (k) => slice.scores[k] >= level, width, height, scale, FLAGGED, [scale, scale]);
  outline(context, (k) => slice.lesion[k] === 255, width, height, scale, LESION);
  return canvas;
}

function captioned(canvas, picture, i, mark = "") {
  const value = picture.auprc[i] === null ? "" : `AUPRC ${picture.auprc[i].toFixed(2)}`;
  return make("figure", { class: "tile" }, canvas, make("figcaption", { title: picture.subjects[i] }, mark + value));
}

function galleryOf(box, pictures) {
  const slider = document.getElementById("threshold");
  const output = document.getElementById("threshold-says");
  const arrange = document.getElementById("arrange");
  const overlay = document.getElementById("overlay");
  const rates = pictures[0].thresholds.map((each) => each.rate);
  slider.max = rates.length;
  let chosen = null;
  const draw = () => {
    const rate = Number(slider.value) ? rates[Number(slider.value) - 1] : null;
    output.textContent = rate === null ? "none" : `flag what ${+(100 * rate).toPrecision(3)} % of healthy pixels exceed`;
    slider.setAttribute("aria-valuetext", output.textContent);
    const own = arrange.value === "own";
    box.classList.toggle("own", own);
    const visible = pictures.filter((each) => chosen === null || chosen.includes(each.method));
    const lines = visible.map((picture) => lineOf(picture, own, rate));
    if (!own && visible.length) {
      const first = pictures[0];
      const cells = first.slices.slice(0, first.shared).map((_, i) => make("figure", { class: "tile" }, tile(first, i, { map: false })));
      lines.unshift(line("the slice", "lesion outlined", cells));
    }
    box.replaceChildren(...(lines.length ? lines : [make("p", { class: "missing" }, "No picture of the methods chosen above.")]));
    box.dataset.drawn = String(visible.length);
  };
  const lineOf = (picture, own, rate) => {
    const at = picture.thresholds.find((each) => each.rate === rate);
    const level = at ? firstLevel(picture, at.threshold) : null;
    const says = at && level === null ? "this threshold is below the picture's first step" : at && at.missing ? `uncertain: ${at.missing}` : "";
    const view = (i) => tile(picture, i, { map: !overlay.checked, level, flagged: true });
    if (own) {
      const pair = (i) => make("div", { class: "pair" }, tile(picture, i, { map: false }), view(i));
      return line(picture.method, says, picture.own.map(([mark, i]) => captioned(pair(i), picture, i, `${mark}: `)));
    }
    const shared = picture.subjects.slice(0, picture.shared);
    const same = picture.shared === pictures[0].shared && shared.every((subject, i) => subject === pictures[0].subjects[i]);
    if (!same) return line(picture.method, "its picture has other slices: arrange by method", []);
    const cells = shared.map((_, i) => captioned(view(i), picture, i));
    return line(picture.method, says, cells);
  };
  const line = (name, says, cells) => {
    const head = make("div", { class: "name" }, name);
    if (says) head.append(make("small", {}, says));
    const row = make("div", { class: "line" }, head, ...cells);
    row.style.setProperty("--n", Math.max(1, cells.length));
    return row;
  };
  [slider, arrange, overlay].forEach((control) => listen(control, draw));
  return (names) => { chosen = names; draw(); };
}

async function peeks() {
  for (const box of document.querySelectorAll(".peek[data-picture]")) {
    const [picture] = await unpack(read(box.dataset.picture));
    const order = [...picture.slices.keys()].slice(0, 3);
    box.replaceChildren(...order.flatMap((i) => [tile(picture, i, { map: false }), tile(picture, i, { map: true })]));
  }
}

// ---- the page -----------------------------------------------------------------------------------------------------

async function start() {
  document.querySelectorAll("table.board").forEach(sortable);
  const controls = document.getElementById("filters");
  if (controls) filterable(controls, document.getElementById("board"), document.getElementById("count"));
  await peeks();
  let show = () => {};
  const pictures = read("pictures");
  if (pictures) show = galleryOf(document.getElementById("gallery"), await unpack(pictures));
  const box = document.getElementById("chooser");
  if (box) chooser(box, show);
  choices();
  if (document.querySelector(".chart[data-spec]")) {
    await drawCharts();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  }
  document.body.dataset.ready = "yes";
}
start();
