// Who a key, a level or a device is, in words.

import { currentLanguage, language, t } from './i18n';
import type { Category, Found, Level } from './model';
import { UNKNOWN_DEVICES } from './model';
import { store } from './store.svelte';

/** A setting with its author; the program names the author's key beside it where it has a label. */
export interface Authored {
  set_by?: string | null;
  set_by_name?: string | null;
}

/** The author of a setting. */
export function author(set: Authored | undefined | null): string {
  return named(set?.set_by, set?.set_by_name);
}

/** An author by its identifier and, where it is known, its label. */
export function named(by: string | undefined | null, name?: string | null): string {
  if (name) return name;
  if (!by) return t.who.you;
  if (by.startsWith('jwt:')) return t.who.account;
  const key = store.keys.find((other) => `key:${other.id}` === by);
  if (key) return key.label || t.roles[key.role];
  if (by.startsWith('key:')) return t.who.provider;
  return by;
}

export function levelName(level: Level): string {
  if (level.kind === 'home') return t.who.home;
  if (level.kind === 'device') return deviceName(level.id);
  return personName(level.id);
}

export function personName(id: string): string {
  if (id === UNKNOWN_DEVICES) return t.who.unknownDevices;
  return store.home?.people?.[id]?.name ?? id;
}

export function deviceName(id: string | null | undefined): string {
  if (!id) return t.who.unknownDevices;
  return store.home?.devices[id]?.name ?? id;
}

/** Where an inherited value comes from. */
export function origin(found: Found<unknown>): string {
  if (found.from === 'preset') return t.levels.fromPreset;
  return t.levels.from(levelName(found.from));
}

function category(slug: string): Category | undefined {
  return store.categories.find((other) => other.slug === slug);
}

/** The title of a category in the app's language, where the taxonomy has it. */
export function categoryTitle(slug: string): string {
  const found = category(slug);
  return (currentLanguage() === 'cy' && found?.welsh?.title) || found?.title || slug;
}

/** What a category covers, in the app's language. */
export function aboutOf(slug: string): string {
  const found = category(slug);
  return (currentLanguage() === 'cy' ? found?.welsh?.about : undefined) ?? found?.about ?? '';
}

/** A schedule by its id: the usual ones have a name in each language; others are made of their name. */
export function scheduleName(id: string): string {
  return t.week.names[id as keyof typeof t.week.names] ?? id.replaceAll('-', ' ');
}

/** A kind of device: ours by its word, that of another program as it is. */
export function kindName(kind: string): string {
  return t.kinds[kind as keyof typeof t.kinds] ?? kind;
}

/** A country by its code (ISO 3166-1). */
export function country(code: string): string {
  try {
    return new Intl.DisplayNames([language(), 'en-GB'], { type: 'region' }).of(code) ?? code;
  } catch {
    return code;
  }
}
