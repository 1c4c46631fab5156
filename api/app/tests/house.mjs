// A house with two children and their devices, and those who live there: what tests of families need.

import assert from 'node:assert/strict';

import { enter, person } from './browser.mjs';
import { verdict } from './dns.mjs';
import { World } from './world.mjs';

export const IPHONE = { from: '127.0.7.9' };
export const TABLET = { from: '127.0.7.10' };

const PEOPLE = { ella: 'Ella', tom: 'Tom' };
const DEVICES = {
  iphone: {
    name: "Ella's iPhone",
    kind: 'phone',
    person: 'ella',
    identifiers: [{ address: IPHONE.from }],
  },
  tablet: {
    name: "Tom's tablet",
    kind: 'tablet',
    person: 'tom',
    identifiers: [{ address: TABLET.from }],
  },
};

export class House {
  #people = [];

  /** `time` is the program's clock at the start; `home` has settings of the household. */
  static async begin({ time, home = {}, devices = {} } = {}) {
    const house = new House();
    house.world = await World.start({ time });
    await house.world.home({ people: PEOPLE, devices: { ...DEVICES, ...devices }, ...home });
    return house;
  }

  async end() {
    for (const { context } of this.#people) await context.close();
    await this.world.stop();
  }

  get origin() {
    return this.world.origin;
  }

  /** Someone with a browser of their own, before the first page. */
  async someone(options) {
    const someone = await person(this.world, options);
    this.#people.push(someone);
    return someone;
  }

  /** Someone who has opened a link. Returns their page. */
  async opened(link) {
    const { page } = await this.someone();
    await enter(page, link);
    return page;
  }

  async parent() {
    return this.opened(await this.world.link());
  }

  async secondParent() {
    return this.opened(await this.world.link('second-parent'));
  }

  async child() {
    return this.opened(await this.world.link('child', { device: 'iphone' }));
  }

  /** What a device is answered. */
  asks(device, name) {
    return verdict(this.world.dns, name, device);
  }

  /** Checks what a device is answered now. */
  async sees(device, name, expected) {
    assert.equal(await this.asks(device, name), expected, name);
  }

  /** Waits until a device is answered so. */
  async willSee(device, name, expected) {
    await eventually(`${name} is ${expected}`, async () => {
      return (await this.asks(device, name)) === expected;
    });
  }

  /** Sets the program's clock and waits until an answer is as it must be then. */
  async at(time, device, name, expected) {
    this.world.setClock(time);
    await this.willSee(device, name, expected);
  }

  /** Calls the API as the operator: `path` is below the household. */
  api(method, path, body) {
    return this.world.api(method, `/v1/households/home${path}`, body);
  }

  /** Does something, and waits until the program has confirmed what the page sends for it. */
  async confirmed(page, method, path, act) {
    const answered = page.waitForResponse((answer) => {
      return answer.request().method() === method && answer.url().endsWith(path);
    });
    await act();
    assert.equal((await answered).ok(), true, `${method} ${path}`);
  }

  /** The parent chooses that activity is kept. */
  async keepActivity(page) {
    const days = page.getByLabel('Keep activity');
    await this.confirmed(page, 'PUT', '/history', () => days.selectOption({ label: 'For 7 days' }));
  }

  /** Waits until so many queries are in the activity. */
  async counted(queries) {
    await eventually(`${queries} queries are counted`, async () => {
      return (await this.api('GET', '/activity')).asked >= queries;
    });
  }
}

export async function eventually(what, holds) {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`never: ${what}`);
}
