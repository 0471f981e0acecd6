// The frame player: all frames of a recorded run are held by the browser, so that playing, stepping and
// scrubbing never wait for a server. `createPlayer` depends on no host; two adapters at the end mount it in Streamlit
// and in notebooks.

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const HOLD = 1500; // milliseconds on the last frame before autoplay starts over
const LONGEST_TICK = 250; // a tab that slept goes on from where it was
const ICONS = {
  start: "M5 4h3v16H5zM20 4v16L9 12z",
  back: "M17 4v16L6 12z",
  play: "M6 3l15 9L6 21z",
  pause: "M5 4h5v16H5zM14 4h5v16h-5z",
  forward: "M7 4l11 8L7 20z",
  end: "M16 4h3v16h-3zM4 4l11 8L4 20z",
};

// Strings become text nodes, never markup: titles and labels come from files and visitors.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// "φ_b" is written φ with a subscript b: Unicode has no such character.
function label(text) {
  const cut = text.indexOf("_");
  return make("span", {}, ...(cut < 0 ? [text] : [text.slice(0, cut), make("sub", {}, text.slice(cut + 1))]));
}

// The same in a sentence, wherever it names such a model.
const sentence = (text) => text.split(/(?<=φ)_(\w)/).map((part, at) => (at % 2 ? make("sub", {}, part) : part));

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const brief = (value) => String(Number(value.toPrecision(3)));
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// The better of black and white has a contrast of at least 4.58 on any colour, which is WCAG AA.
function inkOn(hex) {
  const [red, green, blue] = rgb(hex).map((value) =>
    value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

function colourBar(colours, low, high) {
  const ticks = [low, (low + high) / 2, high].map(brief);
  const bar = make("div", { class: "bar" });
  bar.style.background = `linear-gradient(to right, ${colours.filter((_, at) => at % 15 === 0).join(", ")})`;
  const name = `Colour scale from ${ticks[0]} to ${ticks[2]}`;
  return make("div", { class: "scale", role: "img", "aria-label": name },
    bar, make("div", { class: "ticks" }, ...ticks.map((tick) => make("span", {}, tick))));
}

function matrixPanel(panel) {
  const { title, size, labels, colours, low, high, digits, marked_row: marked } = panel;
  const values = floats(panel.values);
  const inks = colours.map(inkOn);
  const format = (value) => value.toFixed(digits).replace(/^-(?=[0.]+$)/, ""); // no "-0.00"
  const longest = values.reduce((length, value) =>
    Math.abs(value) >= 10 || value < 0 ? Math.max(length, format(value).length) : length, digits + 2);

  const cells = [];
  const header = (role, text) => make("div", { class: "label", role }, label(text));
  const rows = labels.map((name) => {
    const row = labels.map(() => make("div", { class: "cell", role: "cell" }, ""));
    cells.push(...row);
    return make("div", { class: "row", role: "row" }, header("rowheader", name), ...row);
  });
  const matrix = make("div", { class: "matrix", role: "table", "aria-label": title },
    make("div", { class: "row", role: "row" }, make("div", { class: "label", role: "columnheader" }),
      ...labels.map((name) => header("columnheader", name))),
    ...rows);
  if (marked !== null) {
    rows[marked].classList.add("marked");
    const outline = make("div", { class: "outline" });
    outline.style.gridArea = `${marked + 2} / 2 / auto / -1`;
    matrix.append(outline);
  }
  const node = make("figure", { class: "panel" },
    make("figcaption", {}, title), matrix, colourBar(colours, low, high));
  node.style.setProperty("--size", size);
  node.style.setProperty("--characters", longest);

  // Cells are changed in place, and only where colour or text differ: this is what keeps 60 frames a second.
  const entries = cells.map((cell) => ({ cell, text: cell.appendChild(new Text()), colour: null }));
  return {
    node,
    show(frame) {
      entries.forEach((entry, at) => {
        const value = values[frame * cells.length + at];
        const absent = Number.isNaN(value);
        // The same rounding as matplotlib, so that browser and printed figures agree.
        const colour = absent ? -1 : clamp(Math.floor(((value - low) / (high - low)) * 256), 0, 255);
        const text = absent ? "–" : format(value);
        if (entry.text.data !== text) entry.text.data = text;
        if (entry.colour === colour) return;
        entry.colour = colour;
        entry.cell.classList.toggle("absent", absent);
        entry.cell.style.backgroundColor = absent ? "" : colours[colour];
        entry.cell.style.color = absent ? "" : inks[colour];
      });
    },
  };
}

function imagePanel({ title, values: encoded, height, width, captions, colours, at }, steps, unit) {
  const values = bytes(encoded);
  const palette = colours.map(rgb);
  const canvases = captions.map((caption) =>
    make("canvas", { width, height, role: "img", "aria-label": caption }));
  const recorded = make("span", { class: "reading" });
  const node = make("figure", { class: "panel images" },
    make("figcaption", {}, title, recorded),
    make("div", { class: "gallery" }, ...captions.map((caption, index) =>
      make("figure", {}, canvases[index], make("figcaption", {}, caption)))),
    colourBar(colours, 0, 1));
  node.style.setProperty("--size", Math.min(captions.length, 10));

  let current = null;
  return {
    node,
    show(frame) {
      const set = at.findLastIndex((first) => first <= frame);
      if (set === current) return;
      current = set;
      recorded.textContent = set < 0 ? "not yet recorded" : `${unit} ${steps[at[set]]}`;
      canvases.forEach((canvas, index) => {
        canvas.classList.toggle("absent", set < 0);
        const context = canvas.getContext("2d");
        const image = context.createImageData(width, height);
        const offset = (set * canvases.length + index) * width * height;
        if (set >= 0) {
          for (let pixel = 0; pixel < width * height; pixel++) {
            image.data.set([...palette[values[offset + pixel]], 255], 4 * pixel);
          }
        }
        context.putImageData(image, 0, 0);
      });
    },
  };
}

function pointPanel({ title, values: encoded, labels, target }) {
  const values = floats(encoded);
  // One scale for both axes and all frames, so that shrinking can be seen.
  const ends = [0, 1].map((axis) => {
    const along = values.filter((_, at) => at % 2 === axis);
    return [Math.min(...along, target?.[axis] ?? Infinity), Math.max(...along, target?.[axis] ?? -Infinity)];
  });
  const width = 1.3 * Math.max(...ends.map(([low, high]) => high - low)) || 1;
  const [left, bottom] = ends.map(([low, high]) => (low + high - width) / 2);
  const place = (node, x, y) => {
    node.style.transform = `translate(${(100 * (x - left)) / width}cqw, ${100 - (100 * (y - bottom)) / width}cqw)`;
  };
  const at = (frame, index) => values.subarray(2 * (frame * labels.length + index)).slice(0, 2);

  const rings = labels.map(() => make("div", { class: "ring" }));
  const points = labels.map((name) => make("div", { class: "point" }, label(name)));
  rings.forEach((ring, index) => place(ring, ...at(0, index)));
  const cross = target === null ? [] : [make("div", { class: "cross" })];
  cross.forEach((node) => place(node, ...target));
  const node = make("figure", { class: "panel points" }, make("figcaption", {}, title),
    make("div", { class: "plane", role: "img", "aria-label": title }, ...rings, ...cross, ...points));
  return {
    node,
    show(frame) {
      points.forEach((point, index) => place(point, ...at(frame, index)));
    },
  };
}

// Round numbers (1, 2 or 5 times a power of ten) from at or below `low` to at or above `high`.
function roundTicks(low, high, parts) {
  const raw = (high - low) / parts || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * (1 - 1e-9));
  const first = Math.floor(low / step + 1e-9);
  const count = Math.max(Math.ceil(high / step - 1e-9) - first, 1);
  const decimals = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: count + 1 }, (_, at) => {
    const value = (first + at) * step;
    return { value, text: [value.toFixed(decimals)] };
  });
}

function decadeTicks(low, high) {
  const first = Math.floor(low + 1e-9);
  const stride = Math.max(Math.ceil((high - first) / 4), 1);
  const count = Math.max(Math.ceil((high - first) / stride - 1e-9), 1);
  return Array.from({ length: count + 1 }, (_, at) => {
    const value = first + at * stride;
    const text = Math.abs(value) <= 2 ? [brief(10 ** value)] : ["10", make("sup", {}, String(value))];
    return { value, text };
  });
}

function curvePanel({ title, log, reference, ...first }, steps, unit) {
  const scale = log ? (value) => (value > 0 ? Math.log10(value) : NaN) : (value) => value;
  const lines = [first, ...first.others].map(({ name, values: encoded }, index) => {
    const values = floats(encoded);
    return { name, values, heights: Array.from(values, scale), style: `line line-${index}` };
  });
  const finite = [...lines.flatMap(({ heights }) => heights), ...(reference === null ? [] : [scale(reference)])]
    .filter(Number.isFinite);
  const [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  const ticks = log ? decadeTicks(low, high) : roundTicks(low, high, 3);
  const [bottom, top] = [ticks[0].value, ticks.at(-1).value];
  const [begin, last] = [steps[0], steps.at(-1)];
  const x = (step) => (100 * (step - begin)) / (last - begin || 1);
  const y = (value) => (100 * (top - value)) / (top - bottom);

  const path = (heights) => {
    let pen = "M";
    let commands = "";
    heights.forEach((value, at) => {
      commands += Number.isFinite(value) ? `${pen}${x(steps[at])} ${y(value)}` : "";
      pen = Number.isFinite(value) ? "L" : "M";
    });
    return commands;
  };
  const level = (name, value) => draw("line", { class: name, x1: 0, x2: 100, y1: y(value), y2: y(value) });
  const picture = draw("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    ...ticks.map(({ value }) => level("grid", value)),
    ...(reference === null ? [] : [level("reference", scale(reference))]),
    // The line that the title names lies on top of the others.
    ...[...lines].reverse().map(({ heights, style }) => draw("path", { class: style, d: path(heights) })));

  const place = (name, side, percent, text) => {
    const tick = make("span", { class: `tick ${name}` }, ...text);
    tick.style[side] = `${percent}%`;
    return tick;
  };
  const across = roundTicks(begin, last, 5).filter(({ value }) => value >= begin && value <= last);
  const cursor = make("div", { class: "cursor" });
  for (const line of lines) {
    line.dot = make("div", { class: "dot" });
    line.value = make("span", {});
    const swatch = draw("svg", { class: "swatch", viewBox: "0 0 28 6", "aria-hidden": "true" },
      draw("line", { class: line.style, x1: 0, x2: 28, y1: 3, y2: 3 }));
    line.reading = make("span", { class: "reading" }, ...(line.name ? [swatch, `${line.name} `] : []), line.value);
  }
  const node = make("figure", { class: "curve" },
    make("figcaption", {}, title, make("span", {}, ...lines.map(({ reading }) => reading))),
    make("div", { class: "plot" }, picture, cursor, ...lines.map(({ dot }) => dot),
      ...ticks.map(({ value, text }) => place("beside", "top", y(value), text)),
      ...across.map(({ value, text }) => place("below", "left", x(value), text)),
      make("span", { class: "tick axis" }, unit)));
  return {
    node,
    show(frame) {
      const left = `translateX(${x(steps[frame])}cqw)`;
      cursor.style.transform = left;
      for (const { dot, value, values, heights } of lines) {
        const present = Number.isFinite(heights[frame]);
        dot.hidden = !present;
        if (present) dot.style.transform = `${left} translateY(${y(heights[frame])}cqh)`;
        value.textContent = Number.isNaN(values[frame]) ? "–" : brief(values[frame]);
      }
    },
  };
}

const PANELS = { matrix: matrixPanel, images: imagePanel, points: pointPanel };

// Draws the player into `root`. `onFrame(frame)` is called when the reader settles on a frame: on pause,
// after a step, on release of the slider; never while the player plays or the slider moves.
export function createPlayer(root, data, { onFrame }) {
  const listening = new AbortController();
  const on = (node, type, listener) => node.addEventListener(type, listener, { signal: listening.signal });
  let views = [];
  let last = 0;
  let frame = null; // the frame on show
  let position = 0; // the same, with the fraction of time spent on it
  let settled = data.frame; // the frame last reported to the host, or set by it
  let speed = 1;
  let waited = 0; // milliseconds on the last frame
  let previous = 0; // time of the last tick
  let request = null; // the next animation frame, while playing

  function button(icon, name, press) {
    const node = make("button", { type: "button", "aria-label": name, title: name },
      draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, draw("path", { d: ICONS[icon] })));
    on(node, "click", press);
    return node;
  }
  const stepTo = (place) => () => { go(place()); settle(); };
  const toggle = button("play", "Play", () => (request === null ? play() : pause()));
  const moves = [
    button("start", "To the first frame", stepTo(() => 0)),
    button("back", "One frame back", stepTo(() => frame - 1)),
    toggle,
    button("forward", "One frame forward", stepTo(() => frame + 1)),
    button("end", "To the last frame", stepTo(() => last)),
  ];
  const slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "Frame" });
  const choice = make("select", { "aria-label": "Speed", title: "Speed" }, ...SPEEDS.map((value) =>
    make("option", { value, ...(value === speed ? { selected: "" } : {}) }, `${value}×`)));
  const status = make("div", { class: "status" });
  const picture = make("div", { class: "picture" });
  const controls = make("div", { class: "controls" }, make("div", { class: "moves" }, ...moves), choice, slider, status);
  const player = make("section",
    { class: "frame-player", role: "group", "aria-label": "Frame player", tabindex: -1 }, controls, picture);

  on(slider, "input", () => go(slider.valueAsNumber));
  on(slider, "change", settle);
  on(choice, "change", () => { speed = Number(choice.value); });

  const keys = {
    " ": (repeated) => repeated || toggle.click(),
    ArrowLeft: () => go(frame - 1),
    ArrowRight: () => go(frame + 1),
    Home: () => go(0),
    End: () => go(last),
  };
  on(player, "keydown", (event) => {
    const act = keys[event.key];
    // A list needs its own keys, and the space bar presses the button that has the focus.
    const native = event.target === choice || (event.key === " " && event.target.closest("button"));
    if (!act || native || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    act(event.repeat);
  });
  // A key that is held down makes many steps but one report.
  on(player, "keyup", settle);
  on(player, "focusout", settle);

  function settle() {
    if (request !== null || frame === settled) return;
    settled = frame;
    onFrame(frame);
  }

  const statusAt = (at) => `${data.unit} ${data.steps[at]} · frame ${at + 1} of ${last + 1}`;

  function show(next) {
    if (next === frame) return;
    frame = next;
    for (const view of views) view.show(frame);
    slider.value = frame;
    status.textContent = statusAt(frame);
    slider.setAttribute("aria-valuetext", status.textContent);
  }

  function setPlaying(playing) {
    if (request !== null) cancelAnimationFrame(request);
    request = playing ? requestAnimationFrame(tick) : null;
    const name = playing ? "Pause" : "Play";
    toggle.title = name;
    toggle.setAttribute("aria-label", name);
    toggle.querySelector("path").setAttribute("d", ICONS[playing ? "pause" : "play"]);
  }

  function go(next) {
    setPlaying(false);
    position = clamp(next, 0, last);
    show(position);
  }

  function play() {
    if (last === 0) return;
    if (frame === last) go(0);
    waited = 0;
    previous = performance.now();
    setPlaying(true);
  }

  function pause() {
    setPlaying(false);
    settle();
  }

  function tick(now) {
    request = requestAnimationFrame(tick);
    const elapsed = clamp(now - previous, 0, LONGEST_TICK);
    previous = now;
    if (frame < last) {
      position = Math.min(position + (elapsed / 1000) * data.frames_per_second * speed, last);
      waited = 0;
    } else if (!data.autoplay) {
      return pause();
    } else if ((waited += elapsed) >= HOLD) {
      position = 0;
    }
    show(Math.floor(position));
  }

  // New data replaces the picture; the controls, the focus and the position stay.
  function update(next) {
    const jumped = next.frame !== data.frame || next.jump !== data.jump;
    data = next;
    last = data.steps.length - 1;
    const panels = data.panels.map((panel) => PANELS[panel.kind](panel, data.steps, data.unit));
    const curves = data.curves.map((curve) => curvePanel(curve, data.steps, data.unit));
    views = [...panels, ...curves];
    const row = (name, parts) => make("div", { class: name }, ...parts.map(({ node }) => node));
    picture.replaceChildren(
      row("panels", panels),
      ...(data.legend ? [make("p", { class: "legend" }, ...sentence(data.legend))] : []),
      ...(curves.length ? [row("curves", curves)] : []));
    slider.max = last;
    status.dataset.longest = statusAt(last);
    controls.hidden = last === 0; // a single frame, as of a run that trains now, leaves nothing to play
    if (jumped) {
      setPlaying(false);
      position = settled = data.frame;
    }
    position = Math.min(position, last);
    frame = null;
    show(Math.floor(position));
  }

  root.append(player);
  position = data.frame;
  update(data);
  if (data.autoplay && !matchMedia("(prefers-reduced-motion: reduce)").matches) play();

  return {
    update,
    // The host asks for a frame. If the player has just reported that frame, the reader is there already.
    ask(next) {
      if (next === settled) return;
      settled = next;
      go(next);
    },
    destroy() {
      setPlaying(false);
      listening.abort();
      player.remove();
    },
  };
}

const hosts = new WeakMap();

// Streamlit calls this again, with the same element, whenever data or theme change.
function inStreamlit({ parentElement, data, setStateValue }) {
  const host = hosts.get(parentElement) ?? {};
  hosts.set(parentElement, host);
  const call = Symbol("call");
  host.call = call;
  // `jump` says which of the server's requests the reader has seen, so that the server can recognise an older report.
  host.report = (index) => setStateValue("frame", { index, jump: data.jump });
  if (host.player) host.player.update(data);
  else host.player = createPlayer(parentElement, data, { onFrame: (frame) => host.report(frame) });
  if (parentElement.host) parentElement.host.dataset.drawn = ""; // for the page's style sheet, which cannot look inside
  // Streamlit may run the clean-up of an overtaken call after the newer call has drawn.
  return () => {
    if (host.call !== call) return;
    host.player.destroy();
    hosts.delete(parentElement);
  };
}

// anywidget calls this once for every output cell that shows the widget; its views share the model.
function inNotebook({ model, el }) {
  const data = { ...model.get("payload"), frame: model.get("frame") };
  const player = createPlayer(el, data, {
    onFrame(frame) {
      model.set("frame", frame);
      model.save_changes();
    },
  });
  const follow = () => player.ask(model.get("frame"));
  model.on("change:frame", follow);
  el.style.paddingInline = "6px"; // an output cell cuts off what stands out, as a marked row's outline does
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the keys for its own
  return () => {
    model.off("change:frame", follow);
    player.destroy();
  };
}

// Both hosts import the default export and call it: Streamlit with what to show, anywidget with nothing, for a widget.
export default (component) => (component ? inStreamlit(component) : { render: inNotebook });
