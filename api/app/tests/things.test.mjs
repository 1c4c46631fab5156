// New devices and things, as a person answers them. Each ends with a DNS query that proves it.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { closeBrowser, openBrowser, violations, visit } from './browser.mjs';
import { ask } from './dns.mjs';
import { House, IPHONE, eventually } from './house.mjs';

let house;

before(openBrowser);
after(closeBrowser);
afterEach(async () => {
  await house?.end();
  house = undefined;
});

test('P-5 new device: one notice with a guess, and rules until it has a name', async () => {
  house = await House.begin({ home: { preset: 'off' } });
  const stranger = { from: '127.0.7.1', mac: 'a4:83:e7:00:53:01' };
  const page = await house.parent();
  await visit(page, house.origin, 'people/unknown-devices/blocked', 'Unknown devices');
  await page.getByText('Money and shopping').click();
  await page.getByRole('switch', { name: 'Block Gambling' }).click();
  const hint = { identifier: { mac: stranger.mac }, dhcp_name: 'Toms-iPhone' };
  await house.api('PUT', '/new-devices/hints', { hints: [hint] });
  await house.willSee(stranger, 'bets.example', 'blocked');
  await house.sees(IPHONE, 'bets.example', '192.0.2.10');
  await ask(house.world.dns, 'gs-loc.apple.com', stranger);
  await visit(page, house.origin, 'requests', 'Requests');
  const card = page.getByRole('article', { name: /Apple/ });
  await card.waitFor();
  await card.getByText('Why we think so').click();
  await card.getByText(/gs-loc\.apple\.com/).waitFor();
  await card.getByText('“Toms-iPhone”').waitFor();
  await card.getByRole('button', { name: 'It is someone’s' }).click();
  assert.equal(await card.getByLabel('Name').inputValue(), 'Toms-iPhone');
  assert.deepEqual(await violations(page), []);
  await card.getByLabel('Name').fill("Tom's new phone");
  await card.getByLabel('Whose is it?').selectOption({ label: 'Tom' });
  await card.getByRole('button', { name: 'Save' }).click();
  await page.getByText("Tom's new phone is added.").waitFor();
  await page.getByText('Nothing is waiting for you.').waitFor();
  await house.sees(stranger, 'bets.example', '192.0.2.10');
  const { devices } = await house.api('GET', '/new-devices');
  assert.deepEqual(devices, []);
});

/** Twenty names of a camera, under three registrable domains. */
const SERVERS = [
  ...Array.from({ length: 8 }, (_, n) => `s${n}.hik-connect.com`),
  ...Array.from({ length: 8 }, (_, n) => `s${n}.ring.com`),
  ...Array.from({ length: 4 }, (_, n) => `s${n}.stats.example`),
];

test('P-6 camera: one prompt; no blocks what it lists, yes works at once', async () => {
  const camera = { from: '127.0.7.20' };
  const devices = {
    camera: { name: 'Front-door camera', kind: 'camera', identifiers: [{ address: camera.from }] },
  };
  house = await House.begin({ home: { preset: 'off' }, devices });
  const page = await house.parent();
  await visit(page, house.origin, 'devices/camera/details', 'Front-door camera');
  const asking = page.getByRole('radio', { name: /^Asking/ });
  await house.confirmed(page, 'PUT', '/thing', () => asking.click());
  for (const name of SERVERS) await house.sees(camera, name, 'blocked');
  await visit(page, house.origin, 'requests', 'Requests');
  const title = 'Front-door camera wants to reach 20 servers of 3 companies in 2 countries';
  const card = page.getByRole('article', { name: 'Front-door camera' });
  await card.getByRole('heading', { name: title }).waitFor();
  assert.equal(await page.getByRole('article').count(), 1, 'one prompt');
  assert.deepEqual(await violations(page), []);
  await card.getByRole('button', { name: 'No', exact: true }).click();
  await page.getByText('Front-door camera may not reach them').waitFor();
  for (const name of SERVERS) await house.sees(camera, name, 'blocked');
  await house.sees(IPHONE, 's1.ring.com', '192.0.2.52');

  await house.sees(camera, 'news.example', 'blocked');
  await card.getByText('news.example').first().waitFor();
  // While the answer is under way, the thing asks for more than the family has seen.
  const grows = async (route) => {
    await house.sees(camera, 'essay.example', 'blocked');
    await eventually('the prompt grows', async () => {
      const { prompts } = await house.api('GET', '/prompts?state=open');
      return prompts[0].groups.length === 2;
    });
    await route.continue();
  };
  await page.route(/\/prompts\/\w+$/, grows, { times: 1 });
  await card.getByRole('button', { name: 'Yes', exact: true }).click();
  await page.getByText('Front-door camera has asked for more since.').waitFor();
  await house.sees(camera, 'news.example', 'blocked');
  await card.getByText('essay.example').first().waitFor();
  await card.getByRole('button', { name: 'Yes', exact: true }).click();
  await page.getByText('Front-door camera may reach them').waitFor();
  await house.sees(camera, 'essay.example', '192.0.2.31');
  await house.sees(camera, 'news.example', '192.0.2.40');
  await house.sees(camera, 's1.ring.com', 'blocked');
  await visit(page, house.origin, 'devices/camera', 'Front-door camera');
  await page.getByText('As a thing (Asking): it may reach 2 places and may not reach 3.').waitFor();
  const child = await house.opened(await house.world.link('child', { device: 'camera' }));
  await child.getByRole('region', { name: 'Where this device may go' }).waitFor();
  await child.getByText('ring.com', { exact: true }).waitFor();
  assert.deepEqual(await violations(child), []);
});
