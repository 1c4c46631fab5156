// DNS queries over UDP as the devices of a home send them: from their address, or through a router
// that adds the device's MAC address (EDNS option 65001).

import { createSocket } from 'node:dgram';

const TYPES = { A: 1, CNAME: 5, AAAA: 28 };
const OPT = 41;
const EDE = 15;
const MAC = 65001;
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
/** A lost datagram is sent again after this. */
const RETRY_MS = 2_000;
const TRIES = 5;

/** Asks `server` ({address, port}); returns {rcode, ede, records} with records as "TYPE data". */
export async function ask(server, name, { from, mac, type = 'A' } = {}) {
  const query = encode(name, type, mac);
  for (let tries = 1; ; tries += 1) {
    const reply = await exchange(server, query, from);
    if (reply) return decode(reply);
    if (tries === TRIES) throw new Error(`no answer for ${name}`);
  }
}

/** The first address of an answer, or "blocked". Any other answer is shown as it is. */
export async function verdict(server, name, options) {
  const { rcode, ede, records } = await ask(server, name, options);
  if ([4, 15, 16, 17].includes(ede) && records.length === 0) return 'blocked';
  const address = records.find((record) => record.startsWith('A '));
  return rcode === 'NOERROR' && address ? address.slice(2) : `${rcode} ${records.join(', ')}`;
}

function encode(name, type, mac) {
  const labels = name.split('.').filter(Boolean);
  const question = Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0, 0, TYPES[type], 0, 1]),
  ]);
  const octets = mac ? Buffer.from(mac.replaceAll(':', ''), 'hex') : null;
  const option = octets ? Buffer.concat([u16(MAC), u16(octets.length), octets]) : Buffer.alloc(0);
  const edns = Buffer.concat([
    Buffer.from([0]),
    u16(OPT),
    u16(1232),
    Buffer.alloc(4),
    u16(option.length),
    option,
  ]);
  const id = Math.floor(Math.random() * 65536);
  const header = [id, 0x0100, 1, 0, 0, 1].map(u16);
  return Buffer.concat([...header, question, edns]);
}

function u16(value) {
  return Buffer.from([value >> 8, value & 255]);
}

function exchange(server, query, from) {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => finish(null), RETRY_MS);
    const finish = (reply) => {
      clearTimeout(timer);
      socket.close();
      resolve(reply);
    };
    socket.on('error', reject);
    socket.on('message', (reply) => {
      if (reply.readUInt16BE(0) === query.readUInt16BE(0)) finish(reply);
    });
    socket.bind(0, from ?? '127.0.0.1', () => socket.send(query, server.port, server.address));
  });
}

function decode(reply) {
  const [questions, answers, authorities, additional] = [4, 6, 8, 10].map((at) =>
    reply.readUInt16BE(at),
  );
  let at = 12;
  for (let index = 0; index < questions; index += 1) at = nameAt(reply, at).next + 4;
  const records = [];
  let ede = null;
  for (let index = 0; index < answers + authorities + additional; index += 1) {
    at = nameAt(reply, at).next;
    const type = reply.readUInt16BE(at);
    const length = reply.readUInt16BE(at + 8);
    const data = at + 10;
    if (index < answers) records.push(recordOf(reply, type, data, length));
    if (type === OPT) ede = edeIn(reply.subarray(data, data + length)) ?? ede;
    at = data + length;
  }
  return { rcode: RCODES[reply[3] & 15] ?? 'other', ede, records };
}

function recordOf(reply, type, at, length) {
  if (type === TYPES.A) return `A ${[...reply.subarray(at, at + 4)].join('.')}`;
  if (type === TYPES.CNAME) return `CNAME ${nameAt(reply, at).name}`;
  return `TYPE${type} ${reply.subarray(at, at + length).toString('hex')}`;
}

function edeIn(options) {
  for (let at = 0; at + 4 <= options.length; at += 4 + options.readUInt16BE(at + 2)) {
    if (options.readUInt16BE(at) === EDE) return options.readUInt16BE(at + 4);
  }
  return null;
}

/** A name, with compression (RFC 1035, section 4.1.4), and where the octets behind it begin. */
function nameAt(reply, start) {
  const labels = [];
  let next = null;
  let at = start;
  for (;;) {
    const length = reply[at];
    if (length === 0) return { name: labels.join('.'), next: next ?? at + 1 };
    if (length >= 192) {
      next ??= at + 2;
      at = reply.readUInt16BE(at) & 0x3fff;
    } else {
      labels.push(reply.subarray(at + 1, at + 1 + length).toString('latin1'));
      at += 1 + length;
    }
  }
}
