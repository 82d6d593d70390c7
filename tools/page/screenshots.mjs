// Looks at the admin port's page as people do: wide and narrow, light and dark, with and without
// scripts, and says what the browser's console said. Wants Chromium and `npm install playwright-core`:
//
//   cargo run --release -- demo &
//   node tools/page/screenshots.mjs http://127.0.0.1:9464/ FOLDER [light-1440]
//
// Fails where the console has an error, or the page is wider than its window.
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [url = 'http://127.0.0.1:9464/', folder = 'target/page', only = ''] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
mkdirSync(folder, { recursive: true });
const wrong = [];
for (const colorScheme of ['light', 'dark']) {
  for (const width of [390, 1440]) {
    for (const javaScriptEnabled of [true, false]) {
      const name = `${colorScheme}-${width}${javaScriptEnabled ? '' : '-no-script'}`;
      if (!name.startsWith(only)) continue;
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, javaScriptEnabled });
      const page = await context.newPage();
      page.on('console', (line) => line.type() === 'error' && wrong.push(`${name}: ${line.text()}`));
      page.on('pageerror', (error) => wrong.push(`${name}: ${error}`));
      page.on('requestfailed', (request) => !request.url().endsWith('/events') && wrong.push(`${name}: ${request.url()} failed`));
      page.on('request', (request) => request.url().startsWith(new URL(url).origin) || wrong.push(`${name}: asked ${request.url()}`));
      await page.goto(url);
      await page.waitForTimeout(javaScriptEnabled ? 5000 : 500);
      if (javaScriptEnabled) {
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        if (wide > width) wrong.push(`${name}: ${wide} pixels wide`);
        if ((await page.textContent('#link')) !== 'live') wrong.push(`${name}: not live`);
      }
      await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
      await context.close();
    }
  }
}
await browser.close();
wrong.forEach((line) => console.error(line));
process.exitCode = wrong.length ? 1 : 0;
