
// ---- charts: time runs to the right and ends now

const AXIS = 18;
const HEAD = 14;
const SPANS = [60, 120, 300, 900].map((seconds) => seconds * 1000);
const STEPS = new Map([[60000, 15000], [120000, 30000], [300000, 60000], [900000, 180000]]);

// As much time as there is to show, rounded up.
const spanOf = (charts) => {
  const all = charts.at.length ? last(charts.at) - charts.at[0] + charts.took[0] : 0;
  return SPANS.find((span) => span >= all) ?? last(SPANS);
};
const placer = (charts, width, span = spanOf(charts)) => {
  const end = last(charts.at) ?? Date.now();
  return (ms) => width * (1 - (end - ms) / span);
};
// Runs of points without a gap.
const runs = (xs, ys) => {
  const found = [];
  let run = [];
  ys.forEach((y, at) => {
    if (y === null) {
      if (run.length) found.push(run);
      run = [];
    } else {
      run.push([xs[at], y]);
    }
  });
  if (run.length) found.push(run);
  return found;
};
const path = (points) => points.map(([x, y], at) => (at ? 'L' : 'M') + x.toFixed(1) + ' ' + y.toFixed(1)).join('');
// A round number no less than n.
const ceiling = (n) => {
  if (n <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map((step) => step * size).find((round) => round >= n);
};

const looked = new WeakMap();
// A chart is a slider through time for keyboards and screen readers: arrow keys tell each value.
const watchPointer = (box) => {
  const look = { at: null, keyed: false };
  looked.set(box, look);
  for (const [name, value] of Object.entries({ tabindex: '0', role: 'slider', 'aria-orientation': 'horizontal', 'aria-valuemin': '0' })) {
    box.setAttribute(name, value);
  }
  const go = (at, keyed) => {
    look.at = at;
    look.keyed = keyed;
    point(box);
  };
  box.addEventListener('pointermove', (event) => {
    if (!look.charts.at.length) return;
    const place = placer(look.charts, look.width);
    const x = event.clientX - box.getBoundingClientRect().left;
    const at = look.charts.at.findIndex((ms) => place(ms) >= x);
    go(at < 0 ? look.charts.at.length - 1 : at, false);
  });
  box.addEventListener('pointerleave', () => go(null, false));
  box.addEventListener('blur', () => go(null, false));
  box.addEventListener('focus', () => box.matches(':focus-visible') && go(look.charts.at.length - 1, true));
  box.addEventListener('keydown', (event) => {
    const end = look.charts.at.length - 1;
    const at = look.at ?? end;
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - 10, PageUp: at + 10, Home: 0, End: end }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(Math.min(end, Math.max(0, to)), true);
  });
};
const frame = (box, label, { charts, marks = [] }, told) => {
  const width = Math.max(box.clientWidth, 50);
  const height = Math.max(box.clientHeight, 40);
  if (!looked.has(box)) watchPointer(box);
  Object.assign(looked.get(box), { charts, told, width, height });
  const svg = draw('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' });
  setAttribute(box, 'aria-label', `${label}, over time`);
  axis(svg, charts, width, height);
  const place = placer(charts, width);
  let named = -Infinity;
  for (const mark of marks.filter(({ kind }) => kind !== 'start')) {
    const x = place(mark.at);
    if (x < 0 || x > width) continue;
    if (height > 100 && x - named > 44 && x < width - 44) {
      svg.append(draw('text', { class: 'what', x: x + 3, y: HEAD + 8 }, mark.kind));
      named = x;
    }
    svg.append(
      draw('line', { class: `mark ${mark.kind}`, x1: x, x2: x, y1: HEAD, y2: height - AXIS }),
      draw('path', { class: `flag ${mark.kind}`, d: `M${(x - 4).toFixed(1)} ${height - AXIS}h8l-4 -6Z` },
        draw('title', {}, `${clock(mark.at)} ${mark.kind}: ${mark.about}`)),
    );
  }
  box.replaceChildren(svg);
  return { svg, width, bottom: height - AXIS, place };
};
// Times of day, at round ones.
const axis = (svg, charts, width, height) => {
  const span = spanOf(charts);
  const step = STEPS.get(span) * (width < 420 ? 2 : 1);
  const place = placer(charts, width);
  const y = height - AXIS;
  svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: y, y2: y }));
  const end = last(charts.at) ?? Date.now();
  for (let ms = Math.ceil((end - span) / step) * step; ms <= end; ms += step) {
    const x = place(ms);
    if (x < 26 || x > width - 26) continue;
    svg.append(draw('line', { class: 'tick', x1: x, x2: x, y1: y, y2: y + 3 }),
      draw('text', { x, y: height - 3, 'text-anchor': 'middle' }, clock(ms, step % 60000 !== 0)));
  }
};
// What a chart says at the place that is looked at.
const point = (box) => {
  const { at, charts, told, width, height } = looked.get(box);
  box.querySelectorAll('.hair, .readout').forEach((old) => old.remove());
  const end = charts.at.length - 1;
  if (end < 0) return;
  const here = Math.min(at ?? end, end);
  const text = `${clock(charts.at[here])}  ${told(here)}`;
  setAttribute(box, 'aria-valuemax', String(end));
  setAttribute(box, 'aria-valuenow', String(here));
  setAttribute(box, 'aria-valuetext', text);
  if (at === null) return;
  const x = placer(charts, width)(charts.at[here]);
  box.firstChild.append(draw('line', { class: 'hair', x1: x, x2: x, y1: HEAD, y2: height - AXIS }));
  box.append(make('div', { class: 'readout', 'aria-hidden': 'true' }, text));
};
// Lines on one scale, the first of them with an area.
const curves = (box, label, state, lines, told, unit = short) => {
  const { charts } = state;
  const { svg, width, bottom, place } = frame(box, label, state, told);
  const top = ceiling(Math.max(0, ...lines.flat().filter((value) => value !== null)));
  const xs = charts.at.map(place);
  const y = (value) => bottom - (bottom - HEAD) * (value / top);
  svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: HEAD, y2: HEAD }));
  lines.forEach((values, index) => {
    for (const run of runs(xs, values)) {
      const points = run.map(([x, value]) => [x, y(value)]);
      const [first, end] = [points[0], last(points)];
      if (!index) svg.append(draw('path', { class: 'area', d: `${path(points)}L${end[0].toFixed(1)} ${bottom}L${first[0].toFixed(1)} ${bottom}Z` }));
      if (points.length === 1) svg.append(draw('circle', { class: 'dot', cx: first[0] - 2, cy: first[1], r: 2.5 }));
      else svg.append(draw('path', { class: `line k${index}`, d: path(points) }));
    }
  });
  svg.append(draw('text', { x: 0, y: HEAD - 3 }, unit(top)));
  point(box);
};
// Three percentiles, on a scale of powers of ten.
const percentiles = (box, state) => {
  const { charts } = state;
  const names = ['p50', 'p95', 'p99'];
  const told = (at) => names.map((name) => `${name} ${micros(charts[name][at])}`).join('  ');
  const { svg, width, bottom, place } = frame(box, 'latency percentiles', state, told);
  const all = names.flatMap((name) => charts[name]).filter((value) => value > 0);
  if (all.length) {
    const low = Math.floor(Math.log10(Math.min(...all)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...all))));
    const y = (value) => bottom - 4 - (bottom - 4 - HEAD) * ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low));
    const labels = [];
    for (let power = low; power <= high; power += 1) {
      const at = y(10 ** power);
      svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: at, y2: at }));
      labels.push(draw('text', { x: 0, y: at - 3 }, micros(10 ** power)));
    }
    const xs = charts.at.map(place);
    names.forEach((name, index) => {
      for (const run of runs(xs, charts[name])) {
        const points = run.map(([x, value]) => [x, y(value)]);
        if (points.length === 1) svg.append(draw('circle', { class: 'dot', cx: points[0][0] - 2, cy: points[0][1], r: 2.5 }));
        else svg.append(draw('path', { class: `line k${index}`, d: path(points) }));
      }
    });
    svg.append(...labels);
  }
  point(box);
};
// Layers upon each other, each stretch a column: of a common whole where `shares`, else on one scale.
const stack = (box, label, state, layers, told, shares) => {
  const { charts } = state;
  const { svg, width, bottom, place } = frame(box, label, state, told);
  const sums = charts.at.map((_, at) => layers.reduce((all, { values }) => all + values[at], 0));
  const top = shares ? 1 : ceiling(Math.max(0, ...sums));
  const height = bottom - HEAD;
  const below = sums.map(() => 0);
  if (!shares) svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: HEAD, y2: HEAD }));
  for (const { values, kind } of layers) {
    const columns = [];
    values.forEach((value, at) => {
      const share = shares ? (sums[at] ? value / sums[at] : 0) : value / top;
      if (share <= 0) return;
      const [from, to] = [below[at], below[at] + share];
      below[at] = to;
      const left = Math.max(0, place(charts.at[at] - charts.took[at]));
      const right = place(charts.at[at]);
      const [high, low] = [to, from].map((n) => (bottom - height * n).toFixed(1));
      columns.push(`M${left.toFixed(1)} ${high}H${right.toFixed(1)}V${low}H${left.toFixed(1)}Z`);
    });
    svg.append(draw('path', { class: `layer ${kind}`, d: columns.join('') }));
  }
  if (!shares) svg.append(draw('text', { x: 0, y: HEAD - 3 }, short(top) + ' /s'));
  point(box);
};
const spark = (charts, values) => {
  const [width, height] = [120, 18];
  const top = Math.max(1, ...values.filter((value) => value !== null));
  const svg = draw('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const xs = charts.at.map(placer(charts, width));
  for (const run of runs(xs, values)) {
    svg.append(draw('path', { class: 'line', d: path(run.map(([x, value]) => [x, height - 1 - (height - 3) * (value / top)])) }));
  }
  return svg;
};
const swatch = (kind) => draw('svg', { class: 'key', viewBox: '0 0 10 10', 'aria-hidden': 'true' }, draw('rect', { class: kind, width: 10, height: 10 }));
