// A line over time, drawn as SVG as wide as there is room. Where nothing is known there is a gap, and no line.

import { h, s, fill, text } from './dom.js';
import { clock } from './format.js';

const HEIGHT = 132;
const LEFT = 46;
// A character of the axis is no wider, in its font of 11 pixels; and what is between its text and the line.
const CHARACTER = 7;
const APART = 6;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;

// Steps that are round as times.
export const TIMES = [
  0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 86400,
  172800, 432000, 864000,
];

// A card with a title, the latest value in large, and the line. `show` turns a value into text; `about` says what it is;
// `tick` one on the axis; `least` is the least that the top stands for; `sizes` are steps to choose from, else 1, 2 and 5 with any zeros.
export function chart({ title, about, show, tick = show, least = 1, sizes }) {
  const now = h('strong', { class: 'now' });
  const peak = h('span', { class: 'peak' });
  const plot = h('div', { class: 'plot', tabindex: 0, role: 'img' });
  const tip = h('div', { class: 'tip', hidden: true, 'aria-live': 'off' });
  const element = h(
    'section',
    { class: 'card chart' },
    h('header', {}, h('h2', { title: about }, title), now, peak),
    h('div', { class: 'plot-box' }, plot, tip),
  );
  let data = null;
  let drawn = null;

  const redraw = () => {
    if (!data || !plot.clientWidth) return;
    drawn = draw(plot, data, tick, least, sizes);
  };
  new ResizeObserver(redraw).observe(plot);

  const point = (index) => {
    if (!drawn) return;
    drawn.at = Math.max(0, Math.min(drawn.points.length - 1, index));
    const found = drawn.points[drawn.at];
    drawn.cursor.setAttribute('x1', found.x);
    drawn.cursor.setAttribute('x2', found.x);
    drawn.cursor.setAttribute('visibility', 'visible');
    text(tip, `${found.value === null ? 'unknown' : show(found.value)} at ${clock(found.time, true)}`);
    tip.hidden = false;
    // From one edge to the other without leaving the card.
    tip.style.left = `${Math.min(Math.max(found.x - tip.offsetWidth / 2, 0), plot.clientWidth - tip.offsetWidth)}px`;
  };
  const leave = () => {
    tip.hidden = true;
    drawn?.cursor.setAttribute('visibility', 'hidden');
  };
  plot.addEventListener('pointermove', (event) => {
    if (!drawn) return;
    const x = event.clientX - plot.getBoundingClientRect().left;
    const { left, points } = drawn;
    point(Math.round(((x - left) / (plot.clientWidth - left - RIGHT)) * (points.length - 1)));
  });
  plot.addEventListener('pointerleave', leave);
  plot.addEventListener('blur', leave);
  plot.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined || !drawn) return;
    event.preventDefault();
    point((drawn.at ?? drawn.points.length - 1) + step);
    tip.setAttribute('aria-live', 'polite');
  });

  return {
    element,
    // Values from the oldest to the latest, `every` seconds apart, the last one of the time `until` in milliseconds.
    update(values, every, until, current) {
      data = { values, every, until };
      const known = values.filter((value) => value !== null && value !== undefined);
      const latest = current ?? known.at(-1) ?? null;
      // What is so now may not have been measured yet, and is as high all the same.
      const highest = latest === null ? null : Math.max(latest, ...known);
      text(now, latest === null ? '–' : show(latest));
      text(peak, highest === null ? '' : `highest ${show(highest)}`);
      plot.setAttribute(
        'aria-label',
        latest === null
          ? `${title}: nothing known yet`
          : `${title}: ${show(latest)} now, ${show(highest)} at most. Arrow keys go through the values.`,
      );
      const at = tip.hidden ? null : drawn?.at;
      redraw();
      // Who points at a value goes on pointing.
      if (at !== null && at !== undefined) point(at);
    },
    // No line, for this reason; the latest value may be known all the same.
    nothing(why, current) {
      data = drawn = null;
      text(now, current === undefined ? '–' : show(current));
      text(peak, '');
      plot.removeAttribute('aria-label');
      fill(plot, h('p', { class: 'hint' }, why));
    },
  };
}

function draw(plot, { values, every, until }, tick, least, sizes) {
  const width = plot.clientWidth;
  const { top, steps } = scale(Math.max(least, ...values.map((value) => value ?? 0)), sizes);
  const labels = steps.map(tick);
  const left = Math.max(LEFT, Math.max(...labels.map((label) => label.length)) * CHARACTER + APART);
  const room = { x: left, y: TOP, width: width - left - RIGHT, height: HEIGHT - TOP - BOTTOM };
  const points = thin(values, Math.max(2, Math.floor(room.width))).map(({ value, index }) => ({
    value,
    time: until - (values.length - 1 - index) * every * 1000,
  }));
  const first = until - (values.length - 1) * every * 1000;
  const span = Math.max(1, until - first);
  for (const point of points) {
    point.x = round(room.x + ((point.time - first) / span) * room.width);
    point.y = point.value === null ? null : round(room.y + room.height * (1 - point.value / top));
  }
  const ground = room.y + room.height;
  const lines = [];
  const areas = [];
  for (const run of runs(points)) {
    const along = run.map((point) => `${point.x} ${point.y}`).join('L');
    // A value with nothing known to either side is a dot: a line of no length with round ends.
    lines.push(`M${along}${run.length === 1 ? 'h0' : ''}`);
    areas.push(`M${run[0].x} ${ground}L${along}L${run.at(-1).x} ${ground}Z`);
  }
  const cursor = s('line', { class: 'cursor', y1: room.y, y2: ground, x1: 0, x2: 0, visibility: 'hidden' });
  fill(
    plot,
    s(
      'svg',
      { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, 'aria-hidden': 'true' },
      steps.map((step, index) => {
        const y = round(room.y + room.height * (1 - step / top));
        return [
          s('line', { class: step === 0 ? 'ground' : 'grid', x1: room.x, x2: width - RIGHT, y1: y, y2: y }),
          s('text', { class: 'tick', x: left - APART, y: y + 3.5, 'text-anchor': 'end' }, labels[index]),
        ];
      }),
      times(first, until, room.width).map((time) => {
        const x = round(room.x + ((time - first) / span) * room.width);
        return s('text', { class: 'tick', x, y: HEIGHT - 4, 'text-anchor': 'middle' }, clock(time));
      }),
      areas.length ? s('path', { class: 'area', d: areas.join('') }) : null,
      lines.length ? s('path', { class: 'line', d: lines.join('') }) : null,
      cursor,
    ),
  );
  return { points, left, cursor, at: null };
}

const round = (value) => Math.round(value * 10) / 10;

// No more values than there are pixels: of neighbours the highest stays, so that a short peak is seen.
function thin(values, most) {
  const group = Math.max(1, Math.ceil(values.length / most));
  const kept = [];
  for (let start = 0; start < values.length; start += group) {
    let best = { value: null, index: Math.min(start + group, values.length) - 1 };
    for (let index = start; index < Math.min(start + group, values.length); index += 1) {
      const value = values[index] ?? null;
      if (value !== null && (best.value === null || value > best.value)) best = { value, index };
    }
    kept.push(best);
  }
  return kept;
}

// Neighbours that are known.
function runs(points) {
  const found = [];
  let run = [];
  for (const point of [...points, { value: null }]) {
    if (point.value !== null) {
      run.push(point);
    } else if (run.length) {
      found.push(run);
      run = [];
    }
  }
  return found;
}

// A top that is a round number, and the values at which there is a line.
function scale(highest, sizes) {
  const rough = highest / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step =
    (sizes ?? [1, 2, 5, 10].map((factor) => factor * power)).find((size) => size >= rough) ?? rough;
  const number = Math.max(1, Math.ceil(highest / step - 1e-9));
  return { top: step * number, steps: Array.from({ length: number + 1 }, (_, index) => index * step) };
}

// Round times between two, as many as can be read.
function times(first, until, width) {
  const most = Math.max(2, Math.floor(width / 72));
  const minute = 60000;
  const sizes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720].map((minutes) => minutes * minute);
  const size = sizes.find((candidate) => (until - first) / candidate <= most) ?? 1440 * minute;
  // Round where the reader is, which may be half an hour off UTC.
  const offset = new Date(until).getTimezoneOffset() * minute;
  const found = [];
  for (let time = Math.ceil((first - offset) / size) * size + offset; time <= until; time += size) {
    if (((time - first) / (until - first)) * width > 14 && ((until - time) / (until - first)) * width > 14)
      found.push(time);
  }
  return found;
}
