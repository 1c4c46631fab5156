// The household as pages see it: levels, and which level a setting comes from.
//
// device -> its person -> household -> preset: the nearest that says something wins, as in
// docs/policy.md. Schedules and orders stand above; `effective` of the program knows those.

import type { Schemas } from './api';
import type { Authored } from './who';

export type Household = Schemas['Household'];
export type Settings = Schemas['Settings'];
export type Device = Schemas['DeviceOfHousehold'];
export type SwitchState = Schemas['SwitchState'];
export type Category = Schemas['Category'];

export type Level =
  { kind: 'home' } | { kind: 'person'; id: string } | { kind: 'device'; id: string };

/** The person that stands for all devices that the household has not named. */
export const UNKNOWN_DEVICES = 'unknown-devices';

const NOTHING: Settings = { categories: {}, names: {} };

/** What is set on a level itself. */
export function own(home: Household, level: Level): Settings {
  if (level.kind === 'home') return home;
  if (level.kind === 'person') return home.people?.[level.id] ?? NOTHING;
  return home.devices[level.id] ?? NOTHING;
}

/** The levels that a level inherits from, nearest first. */
export function above(home: Household, level: Level): Level[] {
  if (level.kind === 'home') return [];
  if (level.kind === 'person') return [{ kind: 'home' }];
  const person = home.devices[level.id]?.person;
  return person ? [{ kind: 'person', id: person }, { kind: 'home' }] : [{ kind: 'home' }];
}

export interface Found<T> {
  value: T;
  /** The level that says so; `preset` if none does. */
  from: Level | 'preset';
  /** Who set it and when; nothing for a preset. */
  set?: Authored & { set_at?: string };
}

/** A category's state for a level, and where it comes from. */
export function categoryState(
  home: Household,
  level: Level,
  slug: string,
  presetBlocks: Set<string>,
): Found<SwitchState> {
  for (const at of [level, ...above(home, level)]) {
    const found = own(home, at).categories[slug];
    if (found) return { value: found.state, from: at, set: found };
  }
  return { value: presetBlocks.has(slug) ? 'block' : 'allow', from: 'preset' };
}

/** A search engine's level, and where it comes from. */
export function searchLevel(
  home: Household,
  level: Level,
  engine: string,
): Found<Schemas['SearchLevel']> {
  for (const at of [level, ...above(home, level)]) {
    const found = own(home, at).safe_search?.[engine];
    if (found) return { value: found.level, from: at, set: found };
  }
  return { value: 'off', from: 'preset' };
}

/** The devices to which the rules of a level apply, by id. */
export function devicesOf(home: Household, level: Level): string[] {
  if (level.kind === 'device') return [level.id];
  const all = Object.entries(home.devices);
  const mine = level.kind === 'home' ? all : all.filter(([, device]) => device.person === level.id);
  return mine.map(([id]) => id);
}

/** People of the household other than the one for unknown devices, by name. */
export function people(home: Household): [string, Schemas['PersonOfHousehold']][] {
  return Object.entries(home.people ?? {})
    .filter(([id]) => id !== UNKNOWN_DEVICES)
    .sort(([, a], [, b]) => a.name.localeCompare(b.name));
}

export function devices(home: Household): [string, Device][] {
  return Object.entries(home.devices).sort(([, a], [, b]) => a.name.localeCompare(b.name));
}

/** A running end of the Internet for a level: its own pause or one above. */
export function pauseOf(home: Household, level: Level): Found<string> | undefined {
  for (const at of [level, ...above(home, level)]) {
    const pause = own(home, at).pause;
    if (pause && Date.parse(pause.until) > Date.now())
      return { value: pause.until, from: at, set: pause };
  }
  return undefined;
}

export interface RunningGrant {
  id: string;
  level: Level;
  grant: Schemas['Grant'];
}

/** Grants that hold for a level, its own first. */
export function grantsOf(home: Household, level: Level): RunningGrant[] {
  return [level, ...above(home, level)].flatMap((at) =>
    Object.entries(own(home, at).grants ?? {})
      .filter(([, grant]) => Date.parse(grant.until) > Date.now())
      .map(([id, grant]) => ({ id, level: at, grant })),
  );
}

/** An identifier of a new person, device or schedule that is not in use. */
export function freeId(name: string, used: Iterable<string>): string {
  const base =
    name
      .normalize('NFKD')
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 48) || 'item';
  const taken = new Set([...used, UNKNOWN_DEVICES]);
  for (let number = 1; ; number += 1) {
    const id = number === 1 ? base : `${base}-${number}`;
    if (!taken.has(id)) return id;
  }
}
