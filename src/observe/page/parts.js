
// ---- the parts of the page

const LISTED = 6;
const SHOWN = 20;
const COLOURS = 8;

const head = (state) => {
  const { verdict, group, reasons } = state;
  document.title = `${verdict.word}: login-pipeline`;
  byId('verdict').className = `verdict ${verdict.tone}${state.states.paused ? ' paused' : ''}`;
  set(byId('word'), verdict.word);
  reconcile(byId('findings'), verdict.findings.map((it, at) => ({ ...it, at })), ({ at }) => String(at), () => make('li'), (item, { tone, text }) => {
    setAttribute(item, 'class', tone);
    set(item, text);
  });
  const listed = reasons.slice(0, LISTED);
  if (reasons.length > LISTED) listed.push(`and ${reasons.length - LISTED} more: see readyz`);
  reconcile(byId('reasons'), listed, (reason) => reason, () => make('li'), (item, reason) => set(item, reason));
  set(byId('uptime'), uptime(state.uptime_seconds));
  const generation = group && group.generation !== null ? `, generation ${group.generation}` : '';
  set(byId('group'), group
    ? `group ${group.id}, ${group.protocol}, ${group.state}${generation}, member ${state.owner}` : 'no consumer group');
};

const perSecond = (charts, column) => column.map((gain, at) => (charts.took[at] ? (gain * 1000) / charts.took[at] : 0));

const flow = ({ charts, tally, states }) => {
  const all = sum(charts.records_in);
  for (const element of document.querySelectorAll('[data-rate]')) set(element, rate(last(perSecond(charts, charts[element.dataset.rate])) ?? 0));
  for (const element of document.querySelectorAll('[data-total]')) set(element, grouped(tally[element.dataset.total]));
  set(byId('held'), grouped(sum(Object.values(states))));
  for (const way of document.querySelectorAll('[data-way]')) {
    const of = sum(charts[way.dataset.way]);
    set(way.querySelector('.share'), percent(of, all));
    setAttribute(way.querySelector('rect:last-child'), 'width', String(all ? Math.round((1000 * Math.min(of, all)) / all) : 0));
  }
};

const throughput = (state) => {
  const { charts } = state;
  const [read, written] = [perSecond(charts, charts.records_in), perSecond(charts, charts.records_out)];
  curves(byId('throughput'), 'records read and written per second', state, [read, written], (at) => `read ${rate(read[at])} /s  written ${rate(written[at])} /s`);
};

const latencyAndLag = (state) => {
  const { charts, lag, lag_ms: lagMs } = state;
  for (const name of ['p50', 'p95', 'p99']) set(byId(name), micros(last(charts[name])));
  percentiles(document.querySelector('#latency .chart'), state);
  set(byId('lag'), known(lag));
  set(byId('lag-time'), millis(lagMs));
  curves(document.querySelector('#lag-card .chart'), 'lag in records', state, [charts.lag],
    (at) => `${known(charts.lag[at])} records, ${millis(charts.lag_ms[at])}`);
};

// Colours belong to reasons for as long as the page is open, in the order in which they came.
const coloured = new Map();
const colour = (reason) => {
  if (!coloured.has(reason)) coloured.set(reason, coloured.size < COLOURS ? `s${coloured.size}` : 'rest');
  return coloured.get(reason);
};
const copy = async (button, code) => {
  try {
    await navigator.clipboard.writeText(code.textContent);
    set(button, 'copied');
  } catch {
    // No clipboard without TLS: what is selected can be copied.
    getSelection().selectAllChildren(code);
    set(button, 'selected');
  }
  setTimeout(() => set(button, 'copy'), 2000);
};
const command = (text, about) => {
  const code = make('code', {}, text);
  const button = make('button', { type: 'button', 'aria-label': `copy the command that ${about}` }, 'copy');
  button.addEventListener('click', () => copy(button, code));
  return make('div', { class: 'command' }, make('pre', { tabindex: '0' }, code), button);
};
const example = (it) => [
  make('time', {}, clock(it.at)), ` partition ${it.partition}, offset ${it.offset}: ${it.stage}${it.field ? `, field ${it.field}` : ''} `,
  make('code', {}, it.shape),
];
const deadLetters = (state) => {
  const { charts, tally, examples } = state;
  const box = byId('dead-letters');
  const reasons = Object.entries(tally.errors).sort(([, a], [, b]) => b - a);
  const all = sum(reasons.map(([, count]) => count));
  reasons.forEach(([reason]) => colour(reason));
  byId('dead').classList.toggle('empty', !reasons.length);
  if (!reasons.length) return;
  box.querySelector('.none')?.remove();
  const build = ([reason]) => {
    const { variables, flags } = box.dataset;
    return make('details', {}, make('summary', {}, make('span', { class: 'name' }, swatch(colour(reason)), reason), ...[0, 1, 2].map(() => make('span', { class: 'n' }))),
      make('ul', { class: 'examples' }),
      command(`${variables}login-pipeline dlq list --reason ${reason} --since 15m${flags}`, 'lists them'),
      command(`${variables}login-pipeline dlq replay --reason ${reason} --dry-run${flags}`, 'says what a replay would do'));
  };
  // What the server has written has no buttons and no colours: made anew once, as it was.
  for (const old of box.querySelectorAll('details:not([data-made])')) {
    const made = build([old.dataset.row]);
    made.open = old.open;
    made.dataset.row = old.dataset.row;
    made.dataset.made = '';
    old.replaceWith(made);
  }
  reconcile(box, reasons, ([reason]) => reason, (it) => {
    const made = build(it);
    made.dataset.made = '';
    return made;
  }, (row, [reason, count]) => {
    const gains = charts.errors[reason] ?? [];
    const cells = row.querySelectorAll('summary .n');
    [percent(count, all), grouped(sum(gains)), grouped(count)].forEach((text, at) => set(cells[at], text));
    reconcile(row.querySelector('.examples'), examples[reason] ?? [], (it) => `${it.partition}/${it.offset}`, (it) => make('li', {}, ...example(it)), () => {});
  });
  const layers = reasons.map(([reason]) => ({ reason, kind: colour(reason), values: perSecond(charts, charts.errors[reason] ?? charts.at.map(() => 0)) }));
  const told = (at) => {
    const some = layers.filter(({ values }) => values[at] > 0).sort((a, b) => b.values[at] - a.values[at]);
    return some.slice(0, 3).map(({ reason, values }) => `${reason} ${rate(values[at])} /s`).join('  ') || 'none';
  };
  stack(document.querySelector('#dead .chart'), 'dead letters per second by reason', state, layers, told, false);
};

// ---- partitions: the worst first, until someone sorts them otherwise

const URGENCY = ['paused', 'blocked', 'retrying', 'starting', 'draining', 'running'];
const view = { sort: null, descending: true, state: null, text: '', all: false };
const place = (it) => `${it.topic}/${it.partition}`;
const compared = (a, b) => {
  const of = (it, key) => (key === 'state' ? URGENCY.indexOf(it.state) : it[key] ?? -1);
  if (!view.sort) return of(a, 'state') - of(b, 'state') || of(b, 'lag') - of(a, 'lag') || a.partition - b.partition;
  const order = of(a, view.sort) - of(b, view.sort);
  return (view.descending ? -order : order) || a.partition - b.partition;
};
const columns = (it) => [known(it.lag), millis(it.lag_ms), null, offset(it.position), offset(it.committed), offset(it.high_watermark), grouped(it.in_flight_bytes)];
const buildRow = (it) => make('tr', {}, make('th', { scope: 'row' }, place(it)), make('td', {}, make('span')),
  ...columns(it).map((text) => make('td', { class: text === null ? 'live' : 'n' })));
const partitions = (state) => {
  const { partitions: every, charts, states, more_partitions: more } = state;
  const matching = every.filter((it) => (!view.state || it.state === view.state) && `${place(it)} ${it.state}`.includes(view.text)).sort(compared);
  const listed = view.all ? matching : matching.slice(0, SHOWN);
  reconcile(byId('partitions'), listed, place, buildRow, (row, it) => {
    const badge = row.cells[1].firstChild;
    setAttribute(badge, 'class', `state ${it.state}`);
    set(badge, it.state);
    columns(it).forEach((text, at) => text !== null && set(row.cells[at + 2], text));
    const lags = charts.lags[it.partition];
    row.cells[4].replaceChildren(...(lags ? [spark(charts, lags)] : []));
  });
  const names = URGENCY.filter((name) => states[name]);
  reconcile(byId('states'), names, (name) => name, () => make('li'), (item, name) => {
    if (item.firstChild?.nodeName !== 'BUTTON') {
      const button = make('button', { type: 'button' }, make('span', { class: `state ${name}` }));
      button.addEventListener('click', () => change({ state: view.state === name ? null : name }));
      item.replaceChildren(button);
    }
    setAttribute(item.firstChild, 'aria-pressed', String(view.state === name));
    set(item.firstChild.firstChild, `${grouped(states[name])} ${name}`);
  });
  const button = byId('all');
  button.hidden = matching.length <= SHOWN;
  set(button, view.all ? `show the first ${SHOWN}` : `show all ${matching.length}`);
  set(byId('more'), more ? `and ${more} more: see status` : '');
};
const sortable = () => {
  for (const cell of document.querySelectorAll('[data-sort]')) {
    const key = cell.dataset.sort;
    const button = make('button', { type: 'button' }, cell.textContent);
    button.addEventListener('click', () => {
      change(view.sort === key ? { descending: !view.descending } : { sort: key, descending: key !== 'partition' && key !== 'state' });
      document.querySelectorAll('[data-sort]').forEach((other) => other.removeAttribute('aria-sort'));
      cell.setAttribute('aria-sort', view.descending ? 'descending' : 'ascending');
    });
    cell.replaceChildren(button);
  }
  byId('filter').addEventListener('input', (event) => change({ text: event.target.value.trim().toLowerCase() }));
  byId('all').addEventListener('click', () => change({ all: !view.all }));
};

// ---- values, errors and marks

// The most frequent within the fifteen minutes first: they are counted since the start.
const ordered = ({ name, values, counts, other }) => {
  const order = values.map((_, at) => at).sort((a, b) => sum(counts[b]) - sum(counts[a]));
  return { name, values: order.map((at) => values[at]), counts: order.map((at) => counts[at]), other };
};
const distributions = (state) => {
  const { charts } = state;
  for (const shares of charts.distributions.map(ordered)) {
    const card = document.querySelector(`[data-dimension="${CSS.escape(shares.name)}"]`);
    if (!card) continue;
    const sums = shares.counts.map(sum);
    const rest = sum(shares.other);
    const all = sum(sums) + rest;
    const lines = shares.values.map((value, at) => ({ value: shown(value), kind: `s${at}`, count: sums[at] }));
    if (rest) lines.push({ value: 'all others', kind: 'rest', count: rest });
    const layers = shares.counts.map((values, at) => ({ values, kind: `s${at}` }));
    layers.push({ values: shares.other, kind: 'rest' });
    const told = (at) => {
      const whole = sum(layers.map(({ values }) => values[at]));
      return shares.values.map((value, index) => `${shown(value)} ${percent(shares.counts[index][at], whole)}`).slice(0, 3).join('  ');
    };
    stack(card.querySelector('.chart'), `shares of ${shares.name}`, state, layers, told, true);
    set(card.querySelector('[data-share]'), '15 min');
    const body = card.querySelector('tbody');
    reconcile(body, lines, ({ value, kind }) => `${kind} ${value}`, ({ value, kind }) => make('tr', {},
      make('th', { scope: 'row' }, swatch(kind), value), make('td', { class: 'n' })), (row, { count }) => set(row.lastChild, percent(count, all)));
  }
};

const lines = (box, list, key, build) => {
  reconcile(box, list.length ? list : [null], (it) => (it ? key(it) : ''), (it) => (it ? make('li', {}, ...build(it)) : make('li', { class: 'quiet' }, 'none')), () => {});
};
const errors = ({ failures }) => {
  lines(byId('errors'), failures.slice(0, LISTED), (it) => `${it.at} ${it.partitions} ${it.message}`, (it) => [
    make('time', {}, clock(Date.parse(it.at))), ' ', make('b', {}, it.partitions), ' ', make('i', {}, it.class), ' ', it.message,
  ]);
};
const marked = ({ marks }) => {
  lines(byId('marks'), marks.slice(-LISTED).reverse(), (it) => `${it.at} ${it.kind} ${it.count}`, (it) => [
    make('time', {}, clock(it.at)), ' ', make('b', {}, it.kind), ` ${it.about}${it.count > 1 ? ` × ${it.count}` : ''}`,
  ]);
};

// The others have their pages at the same port, where they are on machines of their own.
const members = ({ members: others, group }) => {
  const body = byId('members');
  byId('members-card').hidden = !group;
  const link = ({ host }) => {
    const { port } = body.dataset;
    const isElsewhere = port && /^[0-9a-f.:]+$/.test(host) && !/^(127\.|::1$)/.test(host);
    return isElsewhere ? make('a', { href: `//${host.includes(':') ? `[${host}]` : host}:${port}/` }, host) : host;
  };
  reconcile(body, others.length ? others : [null], (it) => it?.member_id ?? '', (it) => (it
    ? make('tr', {}, make('th', { scope: 'row' }, it.client_id), make('td', {}, link(it)), make('td', { class: 'n' }))
    : make('tr', {}, make('td', { colspan: '3' }, 'none'))), (row, it) => it && set(row.lastChild, known(it.partitions)));
};

const show = (state) => {
  for (const part of [head, flow, deadLetters, latencyAndLag, partitions, throughput, distributions, errors, marked, members]) part(state);
};
