// The real program on loopback, in an Internet of one zone that NSD serves: the root, with all names
// of the tests. No packet leaves the machine.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { ask } from './dns.mjs';

const REPOSITORY = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const PROGRAM = process.env.OX_PROTECT ?? join(REPOSITORY, 'target/debug/ox-protect');
const NSD = '/usr/sbin/nsd';
/** The address of the Internet's only server; tests of Rust use others. */
const AUTHORITY = '127.60.0.54';

/** Names and addresses of the Internet. */
const ZONE = `
. 3600 SOA ns.root.example. hostmaster.example. 1 3600 600 86400 60
. 3600 NS ns.root.example.
ns.root.example. 3600 A ${AUTHORITY}
brawl.example. 60 A 192.0.2.20
bets.example. 60 A 192.0.2.10
www.bets.example. 60 A 192.0.2.11
news.example. 60 A 192.0.2.40
chatter.example. 60 A 192.0.2.30
essay.example. 60 A 192.0.2.31
game.example. 60 A 192.0.2.32
video.example. 60 A 192.0.2.33
youtube.com. 60 A 198.51.100.5
www.youtube.com. 60 A 198.51.100.6
restrict.youtube.com. 60 A 203.0.113.3
www.google.com. 60 A 198.51.100.2
forcesafesearch.google.com. 60 A 203.0.113.1
www.bing.com. 60 A 198.51.100.4
strict.bing.com. 60 A 203.0.113.2
duckduckgo.com. 60 A 198.51.100.7
safe.duckduckgo.com. 60 A 203.0.113.5
mask.icloud.com. 60 A 198.51.100.9
www.apple.com. 60 A 198.51.100.11
gs-loc.apple.com. 60 A 198.51.100.12
*.hik-connect.com. 60 A 192.0.2.51
*.ring.com. 60 A 192.0.2.52
*.stats.example. 60 A 192.0.2.53
`;

/** Lists, by category. */
const LISTS = {
  violence: ['brawl.example'],
  gambling: ['bets.example'],
  social: ['chatter.example'],
  games: ['game.example'],
  cheating: ['essay.example'],
};

export class World {
  /** Starts everything; `time` is the program's clock at the start, and the real one without it. */
  static async start({ time, config = '' } = {}) {
    const world = new World();
    world.folder = mkdtempSync(join(tmpdir(), 'ox-app-'));
    await world.#startAuthority();
    await world.#startProgram(time, config);
    return world;
  }

  /** How far the program's clock is ahead. */
  aheadMs = 0;
  #children = [];
  #program;
  #environment = {};

  async stop() {
    for (const child of this.#children) await end(child);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The time of the program's clock, in milliseconds. */
  now() {
    return Date.now() + this.aheadMs;
  }

  /** Sets the program's clock, in one step so that readers find one offset or the other. */
  setClock(time) {
    this.aheadMs = Date.parse(time) - Date.now();
    const file = join(this.folder, 'clock');
    const seconds = this.aheadMs / 1000;
    writeFileSync(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds.toFixed(3)}\n`);
    renameSync(`${file}.new`, file);
  }

  /** Calls the API with a key, the operator's by default. Fails on a refusal. */
  async api(method, path, body, key = this.operatorKey) {
    const answer = await fetch(`${this.origin}${path}`, {
      method,
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** A household with a network, people and devices: {people: {id: name}, devices: {id: {…}}}. */
  async home({ people = {}, devices = {}, filtering = 'on', ...more } = {}) {
    const home = '/v1/households/home';
    const body = { time_zone: 'Europe/London', preset: 'light', filtering, ...more };
    await this.api('PUT', home, body);
    await this.api('PUT', `${home}/networks/127.0.7.0%2F24`);
    for (const [id, name] of Object.entries(people)) {
      await this.api('PUT', `${home}/people/${id}`, { name });
    }
    for (const [id, device] of Object.entries(devices)) {
      await this.api('PUT', `${home}/devices/${id}`, device);
    }
  }

  /** A one-time link of the app. */
  async link(role = 'parent', more = {}) {
    const label = role === 'parent' ? 'Mum' : role === 'child' ? 'Ella' : 'Dad';
    const body = { role, label, ...more };
    return (await this.api('POST', '/v1/households/home/links', body)).link;
  }

  async #startAuthority() {
    const port = await freePort(AUTHORITY);
    this.authorityPort = port;
    const path = (name) => join(this.folder, name);
    writeFileSync(path('root.zone'), ZONE);
    writeFileSync(
      path('hints'),
      `. 3600000 NS ns.root.example.\nns.root.example. 3600000 A ${AUTHORITY}\n`,
    );
    writeFileSync(
      path('nsd.conf'),
      `server:
 ip-address: ${AUTHORITY}@${port}
 username: ""
 chroot: ""
 zonesdir: "${this.folder}"
 pidfile: ""
 database: ""
 zonelistfile: "${path('zone.list')}"
 xfrdfile: "${path('xfrd.state')}"
 xfrdir: "${this.folder}"
 server-count: 1
remote-control:
 control-enable: no
zone:
 name: "."
 zonefile: "root.zone"
`,
    );
    this.#run(NSD, ['-d', '-c', path('nsd.conf')], {});
    await ask({ address: AUTHORITY, port }, 'news.example');
  }

  async #startProgram(time, more) {
    const feeds = Object.entries(LISTS).map(([category, names]) => {
      writeFileSync(join(this.folder, `${category}.txt`), `${names.join('\n')}\n`);
      return `[[feeds]]
name = "${category}"
source = "${category}.txt"
format = "domains"
scope = "subtree"
category = "${category}"
`;
    });
    const config = join(this.folder, 'ox-protect.toml');
    writeFileSync(
      config,
      `[dns]
listen = ["127.0.0.1:0"]
[api]
listen = "127.0.0.1:0"
rate_per_s = 0
failed_per_s = 0
open_per_s = 0
[store]
url = "sqlite:ox-protect.db"
[lists]
directory = "lists"
[recursion]
root_hints = "hints"
authority_port = ${this.authorityPort}
do_not_query = []
ipv6 = false
dnssec = false
local_records = ""
trust_anchor_state = ""
${more}
${feeds.join('')}`,
    );
    if (time) this.setClock(time);
    this.#environment = time ? this.#clock() : {};
    await this.#serve();
  }

  /** Kills the program and starts it again on its folder and its addresses. */
  async restart() {
    await end(this.#program);
    const config = join(this.folder, 'ox-protect.toml');
    const { host } = new URL(this.origin);
    const text = readFileSync(config, 'utf8')
      .replace('listen = ["127.0.0.1:0"]', `listen = ["${this.dns.address}:${this.dns.port}"]`)
      .replace('listen = "127.0.0.1:0"', `listen = "${host}"`);
    writeFileSync(config, text);
    await this.#serve();
  }

  async #serve() {
    let origin;
    let dns;
    const config = join(this.folder, 'ox-protect.toml');
    const child = this.#run(PROGRAM, ['serve', '--config', config], this.#environment);
    this.#program = child;
    const lines = createInterface({ input: child.stdout });
    for await (const line of lines) {
      const [, kind, rest] = /^(operator key:|dns ready on|api ready on) (.*)$/.exec(line) ?? [];
      if (kind === 'operator key:') this.operatorKey = rest;
      if (kind === 'api ready on') origin = rest.trim();
      if (kind === 'dns ready on') {
        const [address, port] = rest.trim().split(':');
        dns = { address, port: Number(port) };
      }
      if (this.operatorKey && origin && dns) break;
    }
    if (!origin || !dns) throw new Error('the program ended before it was ready');
    Object.assign(this, { origin, dns });
    // A full pipe would stop the program.
    child.stdout.resume();
  }

  /** libfaketime, as the tests in Rust use it. */
  #clock() {
    const library = readdirSync('/usr/lib')
      .map((folder) => `/usr/lib/${folder}/faketime`)
      .find((folder) => {
        try {
          return readdirSync(folder).includes('libfaketimeMT.so.1');
        } catch {
          return false;
        }
      });
    if (!library) throw new Error('libfaketime is missing: make tools/tests installs it');
    return {
      LD_PRELOAD: `${library}/libfaketimeMT.so.1`,
      FAKETIME_TIMESTAMP_FILE: join(this.folder, 'clock'),
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      NO_FAKE_STAT: '1',
      TZ: 'UTC',
    };
  }

  #run(program, parameters, environment) {
    const child = spawn(program, parameters, {
      cwd: this.folder,
      env: { PATH: process.env.PATH, ...environment },
      stdio: ['ignore', 'pipe', process.env.OX_PROTECT_LOUD ? 'inherit' : 'ignore'],
    });
    this.#children.push(child);
    return child;
  }
}

async function end(child) {
  if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) {
    await once(child, 'exit');
  }
}

export function freePort(address) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, address, () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
