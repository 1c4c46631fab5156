// Every page: for everyone (axe, light and dark), on a small screen, with names that mean harm, with
// a large home, and small enough to load.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { after, afterEach, before, test } from 'node:test';
import { brotliCompressSync } from 'node:zlib';

import {
  closeBrowser,
  enter,
  openBrowser,
  overflow,
  person,
  violations,
  visit,
} from './browser.mjs';
import { verdict } from './dns.mjs';
import { freePort, World } from './world.mjs';

const DIST = new URL('../dist/', import.meta.url);

/** Pages by fragment, each with its first heading. */
const PAGES = {
  '': 'Home',
  people: 'People and devices',
  house: 'Whole home',
  'house/blocked': 'Whole home',
  'people/ella': 'Ella',
  'people/ella/week': 'Ella',
  'people/ella/details': 'Ella',
  'people/unknown-devices': 'Unknown devices',
  'devices/iphone': "Ella's iPhone",
  'devices/iphone/blocked': "Ella's iPhone",
  'devices/iphone/week': "Ella's iPhone",
  'devices/iphone/sites': "Ella's iPhone",
  'devices/iphone/details': "Ella's iPhone",
  requests: 'Requests',
  activity: 'Activity',
  changes: 'Changes',
  access: 'Who can get in',
  why: 'Why is this blocked?',
  test: 'Home test',
  settings: 'Settings',
  more: 'More',
};

let world;
let people = [];

before(openBrowser);
after(closeBrowser);
afterEach(async () => {
  for (const { context } of people) await context.close();
  people = [];
  await world?.stop();
  world = undefined;
});

async function someone(link, options) {
  const made = await person(world, options);
  people.push(made);
  await enter(made.page, link);
  return made;
}

const HOME = '/v1/households/home';

/** A home in which every part of a page has something to show. */
async function fullHome() {
  world = await World.start();
  await world.home({
    preset: 'moderate',
    people: { ella: 'Ella', tom: 'Tom' },
    devices: {
      iphone: {
        name: "Ella's iPhone",
        kind: 'phone',
        person: 'ella',
        identifiers: [{ address: '127.0.7.9' }],
      },
      camera: {
        name: 'Front-door camera',
        kind: 'camera',
        identifiers: [{ address: '127.0.7.20' }],
      },
    },
  });
  await world.api('PUT', `${HOME}/history`, { days: 7 });
  const bedtime = { days: ['mon', 'sun'], from: '21:30', to: '06:30', pause: true };
  await world.api('PUT', `${HOME}/people/ella/schedules/bedtime`, bedtime);
  const homework = { days: ['mon'], from: '16:00', to: '18:00', block: ['social'] };
  await world.api('PUT', `${HOME}/devices/iphone/schedules/homework`, homework);
  await world.api('PUT', `${HOME}/devices/iphone/categories/violence`, { state: 'block' });
  await world.api('PUT', `${HOME}/devices/iphone/names/shop.example`, { state: 'allow' });
  await world.api('PUT', `${HOME}/names/other.example`, { state: 'block' });
  await world.api('POST', `${HOME}/devices/iphone/grants`, { category: 'gambling', minutes: 45 });
  await world.api('PUT', `${HOME}/people/tom/pause`, { minutes: 30 });
  const request = { name: 'brawl.example', device: 'iphone', reason: 'for school' };
  await world.api('POST', `${HOME}/requests`, request);
  await world.api('POST', `${HOME}/links`, { role: 'second-parent', label: 'Gran' });
  await world.api('POST', `${HOME}/keys`, { role: 'parent', label: 'Old phone' });
  await verdict(world.dns, 'brawl.example', { from: '127.0.7.9' });
}

test('no page has what axe calls a violation, in light and in dark', async () => {
  await fullHome();
  const link = await world.link();
  const { page, complaints } = await someone(link);
  const found = [];
  for (const [fragment, heading] of Object.entries(PAGES)) {
    await visit(page, world.origin, fragment, heading);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const lines = await violations(page);
      found.push(...lines.map((line) => `${fragment} ${colorScheme}: ${line}`));
    }
  }
  assert.deepEqual(found, []);
  assert.deepEqual(complaints, []);
});

test('nor have the log-in, the first choice and the page of a child', async () => {
  await fullHome();
  const found = [];
  const check = async (what, page) => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      found.push(...(await violations(page)).map((line) => `${what} ${colorScheme}: ${line}`));
      const wider = await overflow(page);
      if (wider > 0) found.push(`${what}: ${wider} px too wide`);
    }
  };
  const viewport = { width: 320, height: 640 };
  const { page: login } = await someone(`${world.origin}/app/`, { viewport });
  await login.getByRole('heading', { name: 'Log in', exact: true, level: 1 }).waitFor();
  await check('log-in', login);
  const { page: child } = await someone(await world.link('child', { device: 'iphone' }), {
    viewport,
  });
  await child.getByRole('heading', { name: 'Your rules' }).waitFor();
  await child.getByRole('heading', { name: /^What is blocked/ }).waitFor();
  await check('child', child);
  await world.api('PUT', HOME, { filtering: 'not_asked' });
  const { page: choice } = await someone(await world.link(), { viewport });
  await choice.getByRole('heading', { name: 'Would you like filtering at home?' }).waitFor();
  await check('choice', choice);
  assert.deepEqual(found, []);
});

test('nor have forms, dialogs, proofs and problems', async () => {
  await fullHome();
  const { page } = await someone(await world.link());
  const found = [];
  const check = async (what) => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      found.push(...(await violations(page)).map((line) => `${what} ${colorScheme}: ${line}`));
    }
  };
  await visit(page, world.origin, 'devices/iphone/week', "Ella's iPhone");
  await page.getByRole('button', { name: 'Change: Homework' }).click();
  await page.getByText('Not on these dates (holidays)').click();
  await check('schedule');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Remove: Homework' }).click();
  await page.getByRole('dialog').waitFor();
  await check('dialog');
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  await visit(page, world.origin, 'devices/iphone/sites', "Ella's iPhone");
  await page.getByText('Each search engine').click();
  await page.getByRole('textbox', { name: 'Site' }).fill('not a name');
  await page.getByRole('button', { name: 'Block', exact: true }).click();
  await page.getByRole('alert').getByText('This is not the name of a site.').waitFor();
  await check('problem');
  await page.getByRole('textbox', { name: 'Site' }).fill('https://Site.Example/page');
  await page.getByRole('button', { name: 'Block', exact: true }).click();
  await page.locator('[data-proof]').getByText('site.example').waitFor();
  await check('proof');
  assert.deepEqual(found, []);
});

test('what has the focus is never covered by the bars', async () => {
  await fullHome();
  const viewport = { width: 320, height: 480 };
  const { page } = await someone(await world.link(), { viewport });
  const covered = [];
  for (const fragment of ['', 'devices/iphone/blocked', 'people/ella/week', 'settings']) {
    await visit(page, world.origin, fragment, PAGES[fragment]);
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press('Tab');
      const hidden = await page.evaluate(() => {
        const element = document.activeElement;
        if (!element || element === document.body) return null;
        const { x, y, width, height } = element.getBoundingClientRect();
        const top = document.elementFromPoint(x + width / 2, y + height / 2);
        const isSeen = !!top && (element.contains(top) || top.contains(element));
        return isSeen ? null : element.outerHTML.slice(0, 100);
      });
      if (hidden) covered.push(`${fragment}: ${hidden}`);
    }
  }
  assert.deepEqual(covered, []);
});

test('no page is wider than 320 px, in English and in Welsh', async () => {
  await fullHome();
  const wide = [];
  for (const locale of ['en-GB', 'cy']) {
    const { page } = await someone(await world.link(), {
      viewport: { width: 320, height: 640 },
      locale,
    });
    assert.equal(await page.locator('html').getAttribute('lang'), locale.slice(0, 2));
    for (const fragment of Object.keys(PAGES)) {
      await page.goto(`${world.origin}/app/#/${fragment}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await page.waitForLoadState('networkidle').catch(() => {});
      const wider = await overflow(page);
      if (wider > 0) wide.push(`${locale} ${fragment}: ${wider} px`);
    }
  }
  assert.deepEqual(wide, []);
});

test('targets are at least 24 px high and wide', async () => {
  await fullHome();
  const { page } = await someone(await world.link());
  const small = [];
  for (const [fragment, heading] of Object.entries(PAGES)) {
    await visit(page, world.origin, fragment, heading);
    const found = await page.evaluate(() =>
      [...document.querySelectorAll('button, select, input, summary, nav a')]
        .map((element) => ({ box: element.getBoundingClientRect(), text: element.outerHTML }))
        .filter(({ box }) => box.width > 0 && (box.width < 24 || box.height < 24))
        .map(({ text }) => text.slice(0, 120)),
    );
    small.push(...found.map((text) => `${fragment}: ${text}`));
  }
  assert.deepEqual(small, []);
});

/** Names that a device, a child or a site may have to do harm. */
const HOSTILE = {
  html: '<img src=x onerror=alert(1)><script>alert(2)</script>',
  long: `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.example`,
  // Cyrillic letters that look like "apple".
  homograph: 'xn--80ak6aa92e.com',
};

test('hostile names are shown and do nothing', async () => {
  await fullHome();
  await world.api('PUT', `${HOME}/people/ella`, { name: HOSTILE.html.slice(0, 60) });
  await world.api('PUT', `${HOME}/devices/iphone`, { name: HOSTILE.html.slice(0, 60) });
  for (const name of [HOSTILE.long, HOSTILE.homograph]) {
    await world.api('PUT', `${HOME}/devices/iphone/names/${name}`, { state: 'block' });
    await world.api('POST', `${HOME}/requests`, {
      name,
      device: 'iphone',
      reason: HOSTILE.html,
    });
    await verdict(world.dns, name, { from: '127.0.7.9' });
  }
  const { page, complaints } = await someone(await world.link(), {
    viewport: { width: 320, height: 640 },
  });
  let dialogs = 0;
  page.on('dialog', (dialog) => {
    dialogs += 1;
    return dialog.dismiss();
  });
  for (const fragment of [
    '',
    'people',
    'people/ella',
    'devices/iphone',
    'devices/iphone/sites',
    'requests',
    'activity',
    `why?name=${encodeURIComponent(HOSTILE.html)}`,
  ]) {
    await page.goto(`${world.origin}/app/#/${fragment}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.waitForLoadState('networkidle').catch(() => {});
    assert.equal(await page.locator('img[src="x"]').count(), 0, fragment);
    assert.ok((await overflow(page)) <= 0, `${fragment} is too wide`);
  }
  await visit(page, world.origin, 'devices/iphone/sites', HOSTILE.html.slice(0, 60));
  // The letters and, beside them, what they really are.
  await page.getByText('(xn--80ak6aa92e.com)').first().waitFor();
  await page.getByText(HOSTILE.long).first().waitFor();
  assert.equal(dialogs, 0);
  assert.deepEqual(complaints, []);
});

test('the home test finds out what the network blocks, without an account', async () => {
  const port = await freePort('127.0.0.1');
  world = await World.start({
    config: `[home_test]
zone = "test.isp.example"
addresses = ["127.0.0.1"]
http = ["127.0.0.1:${port}"]
`,
  });
  await world.home({ preset: 'moderate' });
  await world.api('PUT', `${HOME}/networks/127.0.0.1%2F32`);
  const { context, page } = await person(world);
  people.push({ context });
  // Chromium takes its resolver from the machine, so its look-ups are made here.
  await context.route(/test\.isp\.example/, async (route) => {
    const { hostname } = new URL(route.request().url());
    const address = await verdict(world.dns, hostname);
    if (address !== '127.0.0.1') return route.abort('namenotresolved');
    const { status, headers, body } = await fetched(port, hostname);
    return route.fulfill({ status, headers, body });
  });
  await page.goto(`${world.origin}/app/#/test`);
  await page.getByText('Here the rules of your home hold.').waitFor();
  await page.getByRole('button', { name: 'Start the test' }).click();
  await page.getByText(/^This network is filtered/).waitFor();
  assert.match(await page.locator('[data-test=gambling]').innerText(), /Gambling\s+Blocked$/);
  assert.match(await page.locator('[data-test=social]').innerText(), /Social networks\s+Allowed$/);
  assert.equal(await verdict(world.dns, 'gambling.test.isp.example'), 'blocked');
  // While a rule blocks the open name as well, nothing is said of another DNS service.
  const start = page.getByRole('button', { name: 'Start the test' });
  await world.api('PUT', `${HOME}/pause`, { minutes: 30 });
  await start.click();
  await page.getByText(/^The Internet is paused here/).waitFor();
  await world.api('DELETE', `${HOME}/pause`);
  await world.api('PUT', `${HOME}/names/isp.example`, { state: 'block' });
  await start.click();
  await page.getByText(/^A rule blocks the test pages themselves/).waitFor();
  await world.api('DELETE', `${HOME}/names/isp.example`);
  await start.click();
  await page.getByText(/^This network is filtered/).waitFor();
  assert.equal(await page.getByText(/another DNS service/).count(), 0);
  // A page with TLS cannot ask test pages without it.
  await page.route('**/v1/home-test', async (route) => {
    const answer = await route.fetch();
    const told = await answer.json();
    for (const asked of [told.open, ...told.categories]) Object.assign(asked, { http: null });
    return route.fulfill({ response: answer, json: told });
  });
  await start.click();
  await page.getByText(/^This cannot be tested from a secure page/).waitFor();
});

test('notices are on only as long as the program has the subscription', async () => {
  world = await World.start();
  await world.home();
  const { context, page } = await person(world);
  people.push({ context });
  // The push service of a browser, which keeps a subscription whoever is logged in.
  await context.addInitScript(() => {
    const kept = () => localStorage.getItem('push') === 'kept';
    const subscription = {
      toJSON: () => ({
        endpoint: 'https://fcm.googleapis.com/fcm/send/a',
        keys: {
          p256dh:
            'BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4',
          auth: 'BTBZMqHH6r4Tts7J_aSIgg',
        },
      }),
    };
    const registration = {
      pushManager: {
        getSubscription: async () => (kept() ? subscription : null),
        subscribe: async () => {
          localStorage.setItem('push', 'kept');
          return subscription;
        },
      },
    };
    const worker = {
      register: async () => registration,
      getRegistration: async () => registration,
      ready: Promise.resolve(registration),
      addEventListener: () => {},
    };
    Object.defineProperty(navigator, 'serviceWorker', { value: worker });
    Notification.requestPermission = async () => 'granted';
  });
  await enter(page, await world.link());
  const notices = page.getByRole('switch', { name: 'Notices on this device' });
  const isOn = (wanted) =>
    page.getByRole('switch', { name: 'Notices on this device', checked: wanted }).waitFor();
  await visit(page, world.origin, 'settings', 'Settings');
  await isOn(false);
  await notices.click();
  await isOn(true);
  await page.reload();
  await isOn(true);
  // The subscription ends with the session, also if the browser still has it.
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('heading', { level: 1, name: 'Log in' }).waitFor();
  await page.goto('about:blank');
  await enter(page, await world.link());
  await visit(page, world.origin, 'settings', 'Settings');
  await isOn(false);
  assert.equal(await page.evaluate(() => localStorage.getItem('push')), 'kept');
  await notices.click();
  await isOn(true);
});

/** What the listener of the home test answers for a name. */
function fetched(port, host) {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, headers: { host } }, (answer) => {
      let body = '';
      answer.on('data', (part) => (body += part));
      answer.on('end', () => {
        const headers = {
          'access-control-allow-origin': answer.headers['access-control-allow-origin'],
        };
        resolve({ status: answer.statusCode, headers, body });
      });
    });
    asked.on('error', reject);
    asked.end();
  });
}

test('the app has the name that the operator gives it', async () => {
  const name = `Teulu & "Co's" <b>`;
  world = await World.start({ config: `[app]\nname = '''${name}'''\n` });
  await world.home();
  const { page, complaints } = await someone(await world.link());
  await page.getByRole('heading', { level: 1, name: 'Home' }).waitFor();
  await page.getByRole('link', { name, exact: true }).waitFor();
  assert.equal(await page.title(), `Home – ${name}`);
  const manifest = await (await fetch(`${world.origin}/app/manifest.webmanifest`)).json();
  assert.deepEqual([manifest.name, manifest.short_name], [name, name]);
  assert.deepEqual(complaints, []);
});

test('the program has the files that were built, each with its type', async () => {
  world = await World.start();
  const get = async (path) => {
    const answer = await fetch(`${world.origin}/app/${path}`);
    return { answer, text: await answer.text() };
  };
  const page = await get('');
  const built = readFileSync(new URL('index.html', DIST), 'utf8');
  assert.equal(page.text, built, 'the program was compiled with another app: make app-test');
  assert.match(page.answer.headers.get('content-security-policy'), /default-src 'none'/);
  const types = {
    'sw.js': /javascript/,
    'brand.css': /text\/css/,
    'icon.svg': /image\/svg/,
    'icon-192.png': /image\/png/,
    'manifest.webmanifest': /json/,
  };
  for (const [file, type] of Object.entries(types)) {
    const { answer } = await get(file);
    assert.equal(answer.status, 200, file);
    assert.match(answer.headers.get('content-type'), type, file);
  }
  assert.equal((await get('a/path/of/the/page')).text, built);
  assert.equal((await get('no-such-file.js')).answer.status, 404);
});

test('the first load is below 150 kB compressed', () => {
  const page = readFileSync(new URL('index.html', DIST), 'utf8');
  const named = [...page.matchAll(/(?:src|href)="\/app\/([^"]+)"/g)].map(([, file]) => file);
  // The language is loaded by the script; both count here.
  const languages = readdirSync(new URL('assets/', DIST))
    .filter((file) => /^(en|cy)-/.test(file))
    .map((file) => `assets/${file}`);
  const octets = [...new Set([...named, ...languages])]
    .map((file) => brotliCompressSync(readFileSync(new URL(file, DIST))).length)
    .reduce((sum, length) => sum + length, brotliCompressSync(Buffer.from(page)).length);
  assert.ok(octets < 150_000, `${octets} octets`);
  assert.doesNotMatch(page, /<script(?![^>]*src=)|<style|style="/, 'nothing is inline');
  console.log(`# first load: ${octets} octets`);
});

test('pages of a home with 100 devices and 10,000 queries are usable', async () => {
  await fullHome();
  for (let number = 0; number < 100; number += 1) {
    await world.api('PUT', `${HOME}/devices/device-${number}`, {
      name: `Device ${number}`,
      kind: 'phone',
      person: number % 2 ? 'ella' : 'tom',
      identifiers: [{ mac: `02:00:5e:00:53:${(number + 16).toString(16)}` }],
    });
  }
  // In some hundreds at a time: a socket takes each.
  for (let asked = 0; asked < 10_000; asked += 250) {
    const name = (number) => `s${number % 400}.${number % 3 ? 'brawl' : 'bets'}.example`;
    const some = Array.from({ length: 250 }, (_, number) => name(asked + number));
    await Promise.all(some.map((one) => verdict(world.dns, one, { from: '127.0.7.9' })));
  }
  const { page } = await someone(await world.link());
  const took = {};
  for (const [fragment, heading] of Object.entries(PAGES)) {
    const begun = performance.now();
    await visit(page, world.origin, fragment, heading);
    took[fragment] = Math.round(performance.now() - begun);
  }
  await visit(page, world.origin, '', 'Home');
  assert.equal(await page.getByRole('link', { name: /^Device \d+$/ }).count(), 100);
  console.log(`# ms to each page with 102 devices and 10,000 queries: ${JSON.stringify(took)}`);
});
