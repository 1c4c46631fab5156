// A person at a browser: Debian's Chromium, driven by playwright.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** For what a person would wait for, on a busy machine. */
const PATIENCE_MS = 30_000;

let browser;

export async function openBrowser() {
  // The sandbox of Chromium does not run for root, as whom tests in containers run.
  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args });
}

export async function closeBrowser() {
  await browser?.close();
}

/** A person with a browser of their own. Everything that the page complains of is kept. */
export async function person(world, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 390, height: 800 },
    locale: 'en-GB',
    timezoneId: 'Europe/London',
    serviceWorkers: 'block',
    // A colour half-way between two schemes is neither.
    reducedMotion: 'reduce',
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  // A page with a clock of its own would not agree with the program about what is over.
  if (world.aheadMs) await page.clock.install({ time: world.now() });
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) complaints.push(message.text());
  });
  return { context, page, complaints };
}

/** Opens a one-time link and waits for the first page. */
export async function enter(page, link) {
  await page.goto(link);
  await page.getByRole('heading', { level: 1 }).waitFor();
}

/** Goes to a page of the app by its fragment and waits for what it reads. */
export async function visit(page, origin, fragment, heading) {
  await page.goto(`${origin}/app/#/${fragment}`);
  await page.getByRole('heading', { level: 1, name: heading }).waitFor();
  await page.waitForLoadState('load');
}

/** What axe finds against WCAG 2.2 AA and its good habits, as lines. */
export async function violations(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const { violations } = await axe.run(document, { runOnly: tags });
    return violations.map(
      ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`,
    );
  });
}

/** How far the page is wider than the window. */
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
}
