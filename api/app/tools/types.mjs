// Writes src/generated/schema.d.ts: the types of the API, from the OpenAPI document of the program
// that was built ($OX_PROTECT, or target/debug/ox-protect).

import { mkdirSync, writeFileSync } from 'node:fs';

import openapiTS, { astToString } from 'openapi-typescript';

import { World } from '../tests/world.mjs';

const world = await World.start();
try {
  const document = await (await fetch(`${world.origin}/openapi.json`)).json();
  const folder = new URL('../src/generated/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL('schema.d.ts', folder), astToString(await openapiTS(document)));
} finally {
  await world.stop();
}
