// Keeps the page up to date and draws its charts. Texts come from outside: they are set as text,
// never as markup. A module: text.js, charts.js, parts.js and page.js, one after another.

const byId = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

// ---- texts

const grouped = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, '\u202f');
const known = (n) => (n === null || n === undefined ? '–' : grouped(n));
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
const percent = (count, all) => {
  if (!all) return '–';
  const share = (100 * count) / all;
  return count > 0 && share < 0.05 ? '< 0.1 %' : share.toFixed(1) + ' %';
};
const millis = (ms) => {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1000) return (ms > 0 && ms < 10 ? ms.toFixed(1) : Math.round(ms)) + ' ms';
  const seconds = ms / 1000;
  if (seconds < 120) return (seconds < 10 ? Math.floor(seconds * 10) / 10 : Math.floor(seconds)) + ' s';
  if (seconds < 7200) return Math.floor(seconds / 60) + ' min';
  return seconds < 172800 ? Math.floor(seconds / 3600) + ' h' : Math.floor(seconds / 86400) + ' days';
};
const micros = (n) => millis(n === null || n === undefined ? null : n / 1000);
const uptime = (seconds) => {
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']];
  const first = parts.findIndex(([size]) => seconds >= size);
  return (first < 0 ? [[1, 's']] : parts.slice(first, first + 2))
    .map(([size, unit], at) => Math.floor((at ? seconds % parts[first][0] : seconds) / size) + unit).join(' ');
};
const offset = (n) => (n === null ? '–' : String(n));
const clock = (ms, seconds = true) => new Date(ms).toLocaleTimeString('en-GB', seconds ? {} : { hour: '2-digit', minute: '2-digit' });
const shown = (value) => (value === '' ? '(empty)' : value);
const last = (list) => (list.length ? list[list.length - 1] : null);
const sum = (list) => list.reduce((all, one) => all + one, 0);

// ---- elements

const fill = (element, attributes, children) => {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const draw = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
// What stays the same is not touched: a selection, the focus and what is open survive.
const set = (element, text) => {
  if (element && element.textContent !== text) element.textContent = text;
};
const setAttribute = (element, name, value) => {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
};
const isSelected = (element) => {
  const selection = getSelection();
  return selection && !selection.isCollapsed && selection.containsNode(element, true);
};
// Brings a box's children in line with a list: each has a key, is made once and updated in place.
const reconcile = (box, list, key, build, update) => {
  for (const child of [...box.children]) if (child.dataset.row === undefined) child.remove();
  const old = new Map();
  for (const child of [...box.children]) {
    if (old.has(child.dataset.row)) child.remove();
    else old.set(child.dataset.row, child);
  }
  // Of two with one name the first stands: a partition that was given up and is back has both for a moment.
  const names = new Set();
  const distinct = list.filter((it) => !names.has(key(it)) && names.add(key(it)));
  const wanted = distinct.map((it) => {
    const name = key(it);
    const child = old.get(name) ?? build(it);
    child.dataset.row = name;
    old.delete(name);
    update(child, it);
    return child;
  });
  old.forEach((child) => child.remove());
  // Rows that someone selects from stay where they are for as long.
  if (wanted.every((child) => child.parentNode === box) && isSelected(box)) return;
  wanted.forEach((child, at) => {
    if (box.children[at] !== child) box.insertBefore(child, box.children[at] ?? null);
  });
};
