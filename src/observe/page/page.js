// Keeps the page up to date and draws its charts. Texts come from outside: they are set as text,
// never as markup.
'use strict';
(() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const SPAN = 15 * 60 * 1000;
  const LISTED = 6;
  const byId = (id) => document.getElementById(id);

  // ---- texts

  const grouped = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, '\u202f');
  const known = (n) => (n === null ? '–' : grouped(n));
  const short = (n) => {
    for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
      if (n >= size) {
        const scaled = n / (unit === 'k' ? 1000 : size);
        return (scaled < 10 ? scaled.toFixed(1) : String(Math.round(scaled))) + unit;
      }
    }
    return n >= 10 || Number.isInteger(n) ? grouped(n) : n.toFixed(1);
  };
  const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : grouped(n));
  const duration = (micros) => {
    if (micros === null || micros === undefined) return '–';
    if (micros < 1e6) return (micros < 1e4 ? (micros / 1000).toFixed(1) : Math.round(micros / 1000)) + ' ms';
    const seconds = micros / 1e6;
    if (seconds < 120) return seconds.toFixed(seconds < 10 ? 1 : 0) + ' s';
    return seconds < 7200 ? Math.round(seconds / 60) + ' min' : Math.round(seconds / 3600) + ' h';
  };
  const uptime = (seconds) => {
    const parts = [[86400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']];
    const first = parts.findIndex(([size]) => seconds >= size);
    return (first < 0 ? [[1, 's']] : parts.slice(first, first + 2))
      .map(([size, unit], at) => Math.floor((at ? seconds % parts[first][0] : seconds) / size) + unit).join(' ');
  };
  const offset = (n) => (n === null ? '–' : String(n));
  const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

  // ---- elements

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const set = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };
  const row = (head, ...cells) => make('tr', {}, make('th', { scope: 'row' }, ...[].concat(head)), ...cells);
  const number = (text) => make('td', { class: 'n' }, text);

  // ---- charts

  // The times of a chart: the last stretch ends at the right edge.
  const across = (charts, width) => {
    const end = charts.at[charts.at.length - 1];
    return charts.at.map((at) => width * (1 - (end - at) / SPAN));
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

  const hovering = new WeakMap();
  const frame = (box, label, charts, told) => {
    const width = Math.max(box.clientWidth, 50);
    const height = Math.max(box.clientHeight, 40);
    const svg = draw('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label });
    if (!hovering.has(box)) {
      box.addEventListener('pointermove', (event) => {
        hovering.get(box).x = event.clientX - box.getBoundingClientRect().left;
        point(box);
      });
      box.addEventListener('pointerleave', () => {
        hovering.get(box).x = null;
        point(box);
      });
      hovering.set(box, { x: null });
    }
    Object.assign(hovering.get(box), { charts, told, width, height });
    box.replaceChildren(svg);
    return { svg, width, height };
  };
  // What a chart says under the pointer.
  const point = (box) => {
    const { x, charts, told, width, height } = hovering.get(box);
    box.querySelectorAll('.hair, .readout').forEach((old) => old.remove());
    if (x === null || !charts.at.length) return;
    const xs = across(charts, width);
    let at = xs.findIndex((end) => end >= x);
    if (at < 0) at = xs.length - 1;
    box.firstChild.append(draw('line', { class: 'hair', x1: xs[at], x2: xs[at], y1: 0, y2: height }));
    box.append(make('div', { class: 'readout' }, `${clock(charts.at[at])}  ${told(at)}`));
  };

  const curve = (box, charts, label, values, told) => {
    const { svg, width, height } = frame(box, label, charts, told);
    const top = ceiling(Math.max(0, ...values.filter((value) => value !== null)));
    const xs = across(charts, width);
    const y = (value) => height - 1 - (height - 16) * (value / top);
    svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: y(top), y2: y(top) }));
    svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: y(0), y2: y(0) }));
    for (const run of runs(xs, values)) {
      const points = run.map(([x, value]) => [x, y(value)]);
      const [first, last] = [points[0], points[points.length - 1]];
      svg.append(draw('path', { class: 'area', d: `${path(points)}L${last[0]} ${y(0)}L${first[0]} ${y(0)}Z` }));
      svg.append(draw('path', { class: 'line', d: path(points) }));
    }
    svg.append(draw('text', { x: 0, y: 11 }, short(top)));
    point(box);
  };

  // Three percentiles, on a scale of powers of ten.
  const percentiles = (box, charts) => {
    const told = (at) => ['p50', 'p95', 'p99'].map((name) => `${name} ${duration(charts[name][at])}`).join('  ');
    const { svg, width, height } = frame(box, 'latency percentiles of the last 15 minutes', charts, told);
    const all = [...charts.p50, ...charts.p95, ...charts.p99].filter((value) => value > 0);
    if (!all.length) return;
    const low = Math.floor(Math.log10(Math.min(...all)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...all))));
    const y = (value) => height - 4 - (height - 20) * ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low));
    const labels = [];
    for (let power = low; power <= high; power += 1) {
      const at = y(10 ** power);
      svg.append(draw('line', { class: 'grid', x1: 0, x2: width, y1: at, y2: at }));
      labels.push(draw('text', { x: 0, y: at - 3 }, duration(10 ** power)));
    }
    const xs = across(charts, width);
    ['p50', 'p95', 'p99'].forEach((name, index) => {
      for (const run of runs(xs, charts[name])) {
        const points = run.map(([x, value]) => [x, y(value)]);
        svg.append(draw('path', { class: `line k${index}`, d: path(points) }));
      }
    });
    svg.append(...labels);
    point(box);
  };

  // Shares of a whole, the most frequent value at the bottom.
  const stack = (box, charts, shares) => {
    const layers = [...shares.counts, shares.other];
    const sums = charts.at.map((_, at) => layers.reduce((sum, layer) => sum + layer[at], 0));
    const told = (at) => shares.values
      .map((value, index) => `${shown(value)} ${percent(shares.counts[index][at], sums[at])}`).slice(0, 3).join('  ');
    const { svg, width, height } = frame(box, `shares of ${shares.name} in the last 15 minutes`, charts, told);
    const xs = across(charts, width);
    const below = sums.map(() => 0);
    layers.forEach((layer, index) => {
      const isRest = index === shares.counts.length;
      const stretches = [];
      layer.forEach((count, at) => {
        const bottom = below[at];
        below[at] += sums[at] ? count / sums[at] : 0;
        const left = at ? xs[at - 1] : Math.max(0, xs[at] - width * (charts.took[at] / SPAN));
        if (below[at] > bottom) {
          const [high, low] = [height * (1 - below[at]), height * (1 - bottom)].map((n) => n.toFixed(1));
          stretches.push(`M${left.toFixed(1)} ${high}H${xs[at].toFixed(1)}V${low}H${left.toFixed(1)}Z`);
        }
      });
      svg.append(draw('path', { class: isRest ? 'rest' : `s${index}`, d: stretches.join('') }));
    });
    point(box);
  };

  const spark = (charts, values, label) => {
    const [width, height] = [120, 18];
    const top = Math.max(1, ...values.filter((value) => value !== null));
    const svg = draw('svg', {
      class: 'spark', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label,
    });
    for (const run of runs(across(charts, width), values)) {
      svg.append(draw('path', { class: 'line', d: path(run.map(([x, value]) => [x, height - 1 - (height - 3) * (value / top)])) }));
    }
    return svg;
  };

  // ---- the parts of the page

  const percent = (count, all) => (all ? ((100 * count) / all).toFixed(1) + ' %' : '–');
  const shown = (value) => (value === '' ? '(empty)' : value);
  const last = (list) => (list.length ? list[list.length - 1] : null);
  const sum = (list) => list.reduce((all, one) => all + one, 0);

  const head = (state) => {
    const verdict = state.ready ? 'ready' : 'not ready';
    document.title = `login-pipeline: ${verdict}`;
    set(byId('verdict'), verdict);
    byId('verdict').className = `pill ${state.ready ? 'good' : 'bad'}`;
    set(byId('uptime'), uptime(state.uptime_seconds));
    byId('reasons').replaceChildren(...state.reasons.map((reason) => make('li', {}, reason)));
    const { group } = state;
    const generation = group && group.generation !== null ? `, generation ${group.generation}` : '';
    set(byId('group'), group
      ? `group ${group.id}, ${group.protocol}, ${group.state}${generation}, owner ${state.owner}` : 'no consumer group');
  };

  const tiles = (state) => {
    const { charts } = state;
    for (const tile of document.querySelectorAll('[data-tile]')) {
      const name = tile.dataset.tile;
      const rates = charts[name].map((gain, at) => (charts.took[at] ? (gain * 1000) / charts.took[at] : 0));
      set(tile.querySelector('[data-rate]'), rate(last(rates) || 0));
      set(tile.querySelector('[data-total]'), grouped(state.tally[name]));
      const title = tile.querySelector('h2').textContent;
      curve(tile.querySelector('.chart'), charts, `${title} per second, the last 15 minutes`, rates, (at) => `${rate(rates[at])} /s`);
    }
  };

  const latencyAndLag = ({ charts, lag }) => {
    for (const name of ['p50', 'p95', 'p99']) set(byId(name), duration(last(charts[name])));
    percentiles(document.querySelector('#latency .chart'), charts);
    set(byId('lag'), known(lag));
    curve(document.querySelector('#lag-card .chart'), charts, 'lag of the last 15 minutes', charts.lag, (at) => known(charts.lag[at]));
  };

  const partitions = ({ partitions: all, charts, owner, more_partitions: more }) => {
    byId('partitions').replaceChildren(...all.map((it) => {
      const lags = charts.lags[it.partition];
      return row(
        `${it.topic}/${it.partition}`,
        make('td', {}, make('span', { class: `state ${it.state}` }, it.state)),
        make('td', { class: 'owner', title: owner }, owner),
        number(known(it.lag)),
        make('td', {}, ...(lags ? [spark(charts, lags, `lag of partition ${it.partition}`)] : [])),
        number(offset(it.position)), number(offset(it.committed)), number(offset(it.high_watermark)),
        number(grouped(it.in_flight_bytes)),
      );
    }));
    set(byId('more'), more ? `and ${more} more: see status` : '');
  };

  // The most frequent within the fifteen minutes first: they are counted since the start.
  const ordered = ({ name, values, counts, other }) => {
    const order = values.map((_, at) => at).sort((a, b) => sum(counts[b]) - sum(counts[a]));
    return { name, values: order.map((at) => values[at]), counts: order.map((at) => counts[at]), other };
  };
  const distributions = ({ charts }) => {
    for (const shares of charts.distributions.map(ordered)) {
      const card = document.querySelector(`[data-dimension="${CSS.escape(shares.name)}"]`);
      if (!card) continue;
      stack(card.querySelector('.chart'), charts, shares);
      const sums = shares.counts.map(sum);
      const rest = sum(shares.other);
      const all = sum(sums) + rest;
      const line = (name, key, count) => row(
        [draw('svg', { class: 'key', viewBox: '0 0 10 10', 'aria-hidden': 'true' }, draw('rect', { class: key, width: 10, height: 10 })), name],
        number(percent(count, all)),
      );
      set(card.querySelector('[data-share]'), 'in 15 min');
      card.querySelector('tbody').replaceChildren(
        ...shares.values.map((value, at) => line(shown(value), `s${at}`, sums[at])),
        ...(rest ? [line('all others', 'rest', rest)] : []),
      );
    }
  };

  const deadLetters = ({ charts, tally }) => {
    const reasons = Object.entries(tally.errors).sort(([, a], [, b]) => b - a);
    byId('dead-letters').replaceChildren(...reasons.map(([reason, count]) => {
      const gains = charts.errors[reason] || [];
      const rates = gains.map((gain, at) => gain / (charts.took[at] || 1));
      const top = Math.max(...rates, 0) || 1;
      return row(reason, make('td', { class: 'reason-chart' }, spark(charts, rates.map((one) => one / top), `${reason} in the last 15 minutes`)),
        number(grouped(sum(gains))), number(grouped(count)));
    }));
    if (!reasons.length) byId('dead-letters').append(make('tr', {}, make('td', { colspan: 4 }, 'none')));
  };

  const errors = ({ partitions: all }) => {
    const failed = all.filter((it) => it.last_error).sort((a, b) => (a.last_error.at < b.last_error.at ? 1 : -1));
    byId('errors').replaceChildren(...failed.slice(0, LISTED).map(({ partition, last_error: error }) => make('li', {},
      make('time', {}, error.at), ' ', make('b', {}, `partition ${partition}`), ' ', make('i', {}, error.class), ' ', error.message)));
    if (!failed.length) byId('errors').append(make('li', {}, 'none'));
  };

  const show = (state) => {
    for (const part of [head, tiles, latencyAndLag, partitions, distributions, deadLetters, errors]) part(state);
  };

  // ---- the stream

  let state = null;
  let heard = 0;
  let source = null;

  // A stream ends each minute and is opened again by the browser; one that was refused, by us.
  const listen = () => {
    if (source) source.close();
    source = new EventSource('events');
    source.onmessage = (event) => {
      state = JSON.parse(event.data);
      heard = Date.now();
      set(byId('link'), 'live');
      show(state);
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED && !document.hidden) setTimeout(listen, 5000);
    };
  };
  // Nothing is fetched for a page that nobody looks at.
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) listen();
    else if (source) source.close();
  });
  setInterval(() => {
    const silent = Math.round((Date.now() - heard) / 1000);
    if (heard && silent > 8) set(byId('link'), `no word for ${silent} s`);
  }, 2000);
  let resized = 0;
  addEventListener('resize', () => {
    cancelAnimationFrame(resized);
    resized = requestAnimationFrame(() => state && show(state));
  });

  document.documentElement.classList.add('js');
  listen();
})();
