// Looks at the admin port's page as people do: in Chromium, wide and narrow, light and dark, with and
// without scripts, while all is well, with one dead letter in ten, with 60 partitions paused, and with the broker
// away. Fails on an error of the console, a violation that axe-core finds, a request to elsewhere, a page that is
// wider than its window, and on what an operator does there and does not get.
//
//   npm ci --prefix tools/page
//   node tools/page/browser.mjs [--binary target/debug/login-pipeline] [--out target/page] [--only paused] [--docs docs] [--brief]
//
// With --brief it looks at each scenario twice, narrow and dark, wide and light, in half the time.
//
// Wants Chromium: `chromium` of the distribution's packages, or what CHROMIUM names.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { freePort, start } from './service.mjs';

const { values: args } = parseArgs({
  options: {
    binary: { type: 'string', default: 'target/debug/login-pipeline' },
    out: { type: 'string', default: 'target/page' },
    only: { type: 'string', default: '' },
    brief: { type: 'boolean', default: false },
    docs: { type: 'string' }, // the folder for the pictures of the documents
  },
});
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
// The pictures of the documents: which of the screenshots, and how much of it from its top.
const PICTURES = { 'dead-letters-light-1440': ['page', 1300], 'paused-light-1440': ['page-paused', 1300], 'broker-away-dark-390': ['page-broker-away', 1400] };
const MOST_BYTES = 80 * 1024;
const TOKEN = 'a token of the browser test';
const folder = mkdtempSync(join(tmpdir(), 'page-'));
const tokenFile = join(folder, 'token');
writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
mkdirSync(args.out, { recursive: true });

// ---- what is looked at

const demo = async (...flags) => {
  const port = await freePort();
  const service = start(args.binary, ['demo', '--admin.listen', `127.0.0.1:${port}`, ...flags]);
  return { url: `http://127.0.0.1:${port}/`, stop: () => service.kill() };
};
const scenarios = {
  healthy: {
    start: () => demo('--rate', '400', '--bad', '0'),
    says: /caught up.*records\/s/s,
    tone: 'good',
    check: firstPoints,
  },
  'dead-letters': {
    start: () => demo('--rate', '1500', '--bad', '0.1', '--dead_letter.max_ratio', '0.2', '--instances', '2', '--upsets', 'never'),
    says: /\d\.\d % dead letters, limit 20 %/,
    patience: 25,
    check: async (page, scenario) => {
      await keyboard(page);
      await examples(page);
      await selection(page);
      await members(page);
      await colours(page, scenario);
    },
  },
  paused: {
    // For some seconds it goes on: of fewer records the limit decides nothing.
    start: () => demo('--rate', '3000', '--bad', '0.35', '--topics.create', 'missing', '--topics.partitions', '60', '--dead_letter.max_ratio', '0.2',
      '--dead_letter.min_records', '300', '--admin.token_file', tokenFile),
    says: /60 partitions paused: dead_letter\.max_ratio/,
    tone: 'bad',
    check: async (page) => {
      await manyPartitions(page);
      await resume(page);
    },
  },
  'broker-away': {
    start: async () => {
      const port = await freePort();
      const sandbox = start(args.binary, ['demo', '--admin.listen', '127.0.0.1:0', '--rate', '800']);
      const brokers = (await sandbox.line(/--kafka\.brokers (\S+)/))[1];
      const service = start(args.binary, ['run', '--admin.listen', `127.0.0.1:${port}`, '--kafka.brokers', brokers, '--group.id', 'page']);
      const url = `http://127.0.0.1:${port}/`;
      await until(url, /records\/s/, 30);
      await sleep(12_000);
      await sandbox.kill();
      return { url, stop: () => service.kill() };
    },
    says: /6 partitions (retrying|blocked)/,
    tone: 'bad',
  },
};

// ---- what an operator does

// The first seconds of a process are drawn already.
async function firstPoints(page) {
  await page.waitForSelector('#throughput .line, #throughput .dot', { state: 'attached', timeout: 8000 });
  const labels = await page.locator('#throughput text').allTextContents();
  assert(labels.some((label) => /^\d\d:\d\d(:\d\d)?$/.test(label)), `no time on the axis: ${labels}`);
}
async function keyboard(page) {
  for (const chart of await page.locator('.chart').all()) {
    await chart.focus();
    await page.keyboard.press('End');
    const end = await chart.getAttribute('aria-valuetext');
    await page.keyboard.press('ArrowLeft');
    const before = await chart.getAttribute('aria-valuetext');
    assert.match(end, /^\d\d:\d\d:\d\d {2}\S/, 'a time and a value');
    assert.notEqual(before, end, 'an arrow goes to another');
    assert.equal(await chart.locator('.readout').textContent(), before, 'which is shown, too');
  }
}
async function examples(page) {
  const reason = page.locator('#dead-letters details').first();
  await reason.locator('summary').click();
  await reason.locator('.examples li').first().waitFor();
  assert.match(await reason.locator('.examples li').first().textContent(), /partition \d+, offset \d+: validate.*<\d+ bytes/s);
  const command = await reason.locator('pre').first().textContent();
  assert.match(command, /^login-pipeline dlq list --reason \w+ --since 15m --kafka\.brokers 127\.0\.0\.1:\d+$/);
  await reason.locator('button').first().click();
  await reason.getByText(/^(copied|selected)$/).first().waitFor();
  await sleep(4500);
  assert(await reason.evaluate((details) => details.open), 'it stays open as numbers change');
}
// What someone is copying from the table is not pulled away.
async function selection(page) {
  const select = () => page.locator('#partitions tr').nth(2).evaluate((row) => getSelection().selectAllChildren(row.cells[0]));
  const selected = () => page.evaluate(() => getSelection().toString().trim());
  await select();
  const before = await selected();
  assert.match(before, /\/\d+$/);
  await sleep(5000);
  assert.equal(await selected(), before);
  await page.getByRole('button', { name: 'lag', exact: true }).click();
  assert.equal(await page.locator('th[data-sort=lag]').getAttribute('aria-sort'), 'descending');
}
async function members(page) {
  await page.locator('#members tr').filter({ hasText: 'login-pipeline-2' }).waitFor({ timeout: 15_000 });
  assert.match(await page.locator('#members tr').first().textContent(), /127\.0\.0\.1.*3/);
}
async function manyPartitions(page) {
  const rows = page.locator('#partitions tr');
  assert.equal(await rows.count(), 20, 'more are collapsed');
  await page.getByRole('button', { name: 'show all 60' }).click();
  assert.equal(await rows.count(), 60);
  await page.getByLabel('filter').fill('/59');
  assert.equal(await rows.count(), 1);
  await page.getByLabel('filter').fill('');
  await page.getByRole('button', { name: 'show the first 20' }).click();
  const paused = page.getByRole('button', { name: '60 paused' });
  await paused.click();
  assert.equal(await paused.getAttribute('aria-pressed'), 'true');
  await paused.click();
}
async function resume(page) {
  await page.getByText('Resume paused partitions').click();
  const token = page.getByLabel('token of');
  await token.fill('another token than that one');
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.locator('#resumed').getByText(/token/).waitFor();
  await token.fill(TOKEN);
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.locator('#resumed').getByText(/^resumed/).waitFor();
  assert.equal(await token.inputValue(), '', 'the token is not kept');
  await page.locator('#findings').filter({ hasNotText: 'paused' }).waitFor({ timeout: 20_000 });
}
// Each colour that means something can be told from the card, and from each other one.
async function colours(page, scenario) {
  const found = await page.evaluate(() => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = ['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'rest', 'out', 'bad-line', 'warn-line', 'good-line'];
    return { card: of('card'), colours: names.map((name) => [name, of(name)]) };
  });
  const channels = (hex) => (hex.length === 4 ? [...hex.slice(1)].map((c) => c + c) : hex.slice(1).match(/../g)).map((c) => parseInt(c, 16));
  const luminance = (hex) => {
    const [r, g, b] = channels(hex).map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const apart = (a, b) => Math.hypot(...channels(a).map((c, at) => c - channels(b)[at]));
  for (const [name, colour] of found.colours) {
    assert(contrast(colour, found.card) >= 3, `${scenario}: ${name} ${colour} has ${contrast(colour, found.card).toFixed(2)}:1`);
  }
  const reasons = found.colours.filter(([name]) => /^(c\d|rest)$/.test(name));
  reasons.forEach(([name, colour], at) => reasons.slice(0, at).forEach(([other, another]) => {
    assert(apart(colour, another) >= 60, `${name} ${colour} is like ${other} ${another}`);
  }));
}

// ---- looking

async function until(url, says, seconds) {
  const end = Date.now() + seconds * 1000;
  for (let html = ''; ; await sleep(500)) {
    try {
      html = await (await fetch(url, { headers: { accept: 'text/html' } })).text();
      if (says.test(html)) return;
    } catch (error) {
      html = String(error);
    }
    if (Date.now() > end) throw new Error(`${url} does not say ${says} within ${seconds} s, but ${/id="findings">.*/.exec(html)?.[0].slice(0, 600) ?? html}`);
  }
}
async function look(browser, url, name, { width, colorScheme, javaScriptEnabled = true }, inspect = async () => {}) {
  const wrong = [];
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, javaScriptEnabled });
  const page = await context.newPage();
  let bytes = 0;
  const sizes = [];
  page.on('console', (line) => {
    // The browser tells of each answer that refuses: to a wrong token it is the right one.
    const isRefusal = line.location().url.endsWith('/resume') && line.text().includes('401');
    if (['error', 'warning'].includes(line.type()) && !isRefusal) wrong.push(`console: ${line.text()}`);
  });
  page.on('pageerror', (error) => wrong.push(`script: ${error.stack ?? error}`));
  page.on('request', (request) => request.url().startsWith(url) || wrong.push(`asks ${request.url()}`));
  page.on('response', (response) => {
    if (/\/(page\.(js|css))?$/.test(response.url())) sizes.push(response.body().then((body) => (bytes += body.length), () => {}));
  });
  try {
    await page.goto(url);
    if (javaScriptEnabled) {
      await page.locator('#link').getByText('live').waitFor({ timeout: 15_000 });
      await page.waitForTimeout(500);
    }
    await Promise.all(sizes);
    if (bytes > MOST_BYTES) wrong.push(`page, style and script have ${bytes} bytes`);
    const wide = javaScriptEnabled ? await page.evaluate(() => document.documentElement.scrollWidth) : width;
    if (wide > width) wrong.push(`${wide} pixels wide`);
    if (javaScriptEnabled) {
      const opened = await page.locator('#dead-letters summary').count();
      if (opened) await page.locator('#dead-letters summary').first().click();
      assert.equal(await page.locator('#findings li, #reasons li').evaluateAll((items) => items.length - new Set(items.map((item) => item.textContent)).size), 0, 'nothing is said twice');
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => axe.run());
      for (const { id, help, nodes } of violations) wrong.push(`axe: ${id}: ${help}: ${nodes.slice(0, 3).map(({ html, any }) => `${html} ${any.map(({ message }) => message).join('; ')}`).join(' | ')}`);
    }
    await page.screenshot({ path: join(args.out, `${name}.png`), fullPage: true });
    if (args.docs && PICTURES[name]) {
      const [picture, height] = PICTURES[name];
      await page.screenshot({ path: join(args.docs, `${picture}.png`), fullPage: true, clip: { x: 0, y: 0, width, height } });
    }
    if (javaScriptEnabled) {
      if (await page.locator('#dead-letters summary').count()) await page.locator('#dead-letters summary').first().click();
    }
    await inspect(page, name);
  } catch (error) {
    wrong.push(error.stack ?? String(error));
  }
  await context.close();
  console.log(`${wrong.length ? 'FAILED' : 'ok'}  ${name}  ${bytes} bytes`);
  return wrong.map((line) => `${name}: ${line}`);
}

const wrong = [];
// Debian's build has its sandbox as a setuid program, which containers don't allow.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  for (const [name, scenario] of Object.entries(scenarios).filter(([name]) => name.startsWith(args.only))) {
    const running = await scenario.start();
    try {
      if (name === 'healthy') {
        await until(running.url, /<html/, 30);
        wrong.push(...await look(browser, running.url, 'first-seconds', { width: 1440, colorScheme: 'light' }, firstPoints));
      }
      await until(running.url, scenario.says, 90);
      await sleep(1000 * (args.brief ? 4 : scenario.patience ?? 4));
      if (scenario.tone) await until(running.url, new RegExp(`verdict ${scenario.tone}"`), 40);
      for (const colorScheme of ['light', 'dark']) {
        for (const width of args.brief ? [{ light: 1440, dark: 390 }[colorScheme]] : [390, 1440]) {
          wrong.push(...await look(browser, running.url, `${name}-${colorScheme}-${width}`, { width, colorScheme }));
        }
      }
      wrong.push(...await look(browser, running.url, `${name}-no-script`, { width: 1440, colorScheme: 'light', javaScriptEnabled: false }));
      if (scenario.check) {
        for (const colorScheme of name === 'dead-letters' && !args.brief ? ['light', 'dark'] : ['light']) {
          wrong.push(...await look(browser, running.url, `${name}-used-${colorScheme}`, { width: 1440, colorScheme }, scenario.check));
        }
      }
    } catch (error) {
      wrong.push(`${name}: ${error.stack ?? error}`);
    } finally {
      await running.stop();
    }
  }
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}
wrong.forEach((line) => console.error(line));
process.exitCode = wrong.length ? 1 : 0;
