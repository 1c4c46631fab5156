// Changes of settings, by level. Each is drawn at once, sent, and proved.

import { answered, api } from './api';
import { own, type Household, type Level, type Settings, type SwitchState } from './model';
import { prove, type Subject } from './proof.svelte';
import { store } from './store.svelte';
import type { Schemas } from './api';

/** The route of a setting of the household; those of people and devices have the same form. */
type HomeRoute = `/v1/households/{id}/${string}`;

const HOME = '/v1/households/{id}';

/** The same route on another level. Its types are those of the household's. */
function at<P extends HomeRoute>(level: Level, route: P): P {
  if (level.kind === 'home') return route;
  const part = level.kind === 'person' ? 'people' : 'devices';
  const here = `${HOME}/${part}/${encodeURIComponent(level.id)}`;
  return route.replace(HOME, here) as P;
}

function here<T extends object>(more?: T) {
  return { params: { path: { id: store.household, ...more } as { id: string } & T } };
}

/** The settings of a level in a household that is about to be drawn; made where there are none. */
function settings(home: Household, level: Level): Settings {
  if (level.kind === 'person' && !home.people?.[level.id]) {
    home.people = { ...home.people, [level.id]: { name: level.id, categories: {}, names: {} } };
  }
  return own(home, level);
}

const byMe = () => ({ set_by: '', set_at: new Date().toISOString() });

async function proved<T>(level: Level, subject: Subject, done: Promise<T | null>) {
  const answer = await done;
  if (answer !== null) await prove(level, subject);
  return answer;
}

export function setCategory(level: Level, slug: string, state: SwitchState | null) {
  const route = at(level, '/v1/households/{id}/categories/{slug}');
  const change = store.change(
    (home) => {
      const { categories } = settings(home, level);
      if (state) categories[slug] = { state, ...byMe() };
      else delete categories[slug];
    },
    () =>
      state
        ? answered(api.PUT(route, { ...here({ slug }), body: { state } }))
        : answered(api.DELETE(route, here({ slug }))),
  );
  return proved(level, { category: slug }, change);
}

export function setName(level: Level, domain: string, state: SwitchState | null) {
  const route = at(level, '/v1/households/{id}/names/{domain}');
  const change = store.change(
    (home) => {
      const { names } = settings(home, level);
      if (state) names[domain] = { state, scope: 'subtree', ...byMe() };
      else delete names[domain];
    },
    () =>
      state
        ? answered(api.PUT(route, { ...here({ domain }), body: { state } }))
        : answered(api.DELETE(route, here({ domain }))),
  );
  return proved(level, { name: domain }, change);
}

/** Whether private relays and the resolvers of browsers are refused; `null` inherits. */
export function setBypass(level: Level, state: SwitchState | null) {
  const route = at(level, '/v1/households/{id}/bypass');
  const change = store.change(
    (home) => {
      const target = settings(home, level);
      if (state) target.bypass = { state, ...byMe() };
      else delete target.bypass;
    },
    () =>
      state
        ? answered(api.PUT(route, { ...here({}), body: { state } }))
        : answered(api.DELETE(route, here({}))),
  );
  return proved(level, { name: 'mask.icloud.com' }, change);
}

export function setSafeSearch(level: Level, levels: Schemas['SafeSearchBody']) {
  const route = at(level, '/v1/households/{id}/safe-search');
  return store.change(
    (home) => {
      const target = settings(home, level);
      for (const [engine, value] of Object.entries(levels)) {
        if (value)
          target.safe_search = { ...target.safe_search, [engine]: { level: value, ...byMe() } };
        else delete target.safe_search?.[engine];
      }
    },
    () => answered(api.PUT(route, { ...here({}), body: levels })),
  );
}

/** Stops the Internet until an instant; `null` ends it. */
export function setPause(level: Level, until: Date | null) {
  const route = at(level, '/v1/households/{id}/pause');
  return store.change(
    (home) => {
      const target = settings(home, level);
      if (until) target.pause = { until: until.toISOString(), ...byMe() };
      else delete target.pause;
    },
    () =>
      until
        ? answered(api.PUT(route, { ...here({}), body: { until: until.toISOString() } }))
        : answered(api.DELETE(route, here({}))),
  );
}

export type GrantTarget = { category: string } | { domain: string } | { everything: true };

export function grant(level: Level, target: GrantTarget, minutes: number) {
  const route = at(level, '/v1/households/{id}/grants');
  const change = store.change(
    (home) => {
      const place = settings(home, level);
      const until = new Date(Date.now() + minutes * 60_000).toISOString();
      place.grants = { ...place.grants, 'under-way': { ...target, until, ...byMe() } };
    },
    () => answered(api.POST(route, { ...here({}), body: { ...target, minutes } })),
  );
  if ('category' in target) return proved(level, target, change);
  if ('domain' in target) return proved(level, { name: target.domain }, change);
  return change;
}

export function endGrant(level: Level, grant: string) {
  return store.change(
    (home) => delete settings(home, level).grants?.[grant],
    () => answered(api.DELETE(at(level, '/v1/households/{id}/grants/{grant}'), here({ grant }))),
  );
}

export function setSchedule(level: Level, name: string, body: Schemas['ScheduleBody'] | null) {
  const route = at(level, '/v1/households/{id}/schedules/{name}');
  return store.change(
    (home) => {
      const target = settings(home, level);
      if (body) {
        const drawn = { allow: [], block: [], days: [], pause: false, ...body, ...byMe() };
        target.schedules = { ...target.schedules, [name]: drawn };
      } else delete target.schedules?.[name];
    },
    () =>
      body
        ? answered(api.PUT(route, { ...here({ name }), body }))
        : answered(api.DELETE(route, here({ name }))),
  );
}

export function setHousehold(body: Schemas['HouseholdBody']) {
  return store.change(
    (home) => Object.assign(home, JSON.parse(JSON.stringify(body))),
    () => answered(api.PUT('/v1/households/{id}', { ...here({}), body })),
  );
}

export function setPerson(person: string, name: string) {
  return store.change(
    (home) => {
      settings(home, { kind: 'person', id: person });
      const drawn = home.people?.[person];
      if (drawn) drawn.name = name;
    },
    () =>
      answered(
        api.PUT('/v1/households/{id}/people/{person}', { ...here({ person }), body: { name } }),
      ),
  );
}

export function removePerson(person: string) {
  return store.change(
    (home) => {
      delete home.people?.[person];
      for (const device of Object.values(home.devices))
        if (device.person === person) delete device.person;
    },
    () => answered(api.DELETE('/v1/households/{id}/people/{person}', here({ person }))),
  );
}

export function setDevice(device: string, body: Schemas['DeviceBody']) {
  return store.change(
    (home) => {
      const before = home.devices[device];
      const drawn = { identifiers: [], log: true, name: device, categories: {}, names: {} };
      home.devices[device] = { ...drawn, ...before, ...JSON.parse(JSON.stringify(body)) };
    },
    () => answered(api.PUT('/v1/households/{id}/devices/{device}', { ...here({ device }), body })),
  );
}

export function removeDevice(device: string) {
  return store.change(
    (home) => delete home.devices[device],
    () => answered(api.DELETE('/v1/households/{id}/devices/{device}', here({ device }))),
  );
}
