// One change of the household's history as a sentence.

import type { Schemas } from './api';
import { t } from './i18n';
import { moment } from './time.svelte';
import { categoryTitle, deviceName, personName, scheduleName } from './who';

type ChangePart = Schemas['ChangePart'];

/** The level of a change in words: `household`, `person:ID` or `device:ID`. */
function where(part: ChangePart): string {
  const [kind, ...rest] = (part.level ?? '').split(':');
  const id = rest.join(':');
  if (kind === 'device') return part.of_name ?? deviceName(id);
  if (kind === 'person') return part.of_name ?? personName(id);
  return t.who.home;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

function state(value: unknown): string {
  const given = typeof value === 'string' ? value : field(value, 'state');
  if (given === 'block') return t.changes.states.block;
  if (given === 'allow') return t.changes.states.allow;
  return t.changes.states.inherit;
}

function short(value: unknown): string {
  if (value === null || value === undefined) return '–';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The new value of a setting where it says something by itself. */
function plain(part: ChangePart): string {
  const value = part.after;
  if (part.text_key === 'preset' && typeof value === 'string') return t.preset(value, value);
  if (part.text_key === 'filtering' || part.text_key === 'log')
    return value === 'on' || value === true ? t.actions.on : t.actions.off;
  if (part.text_key === 'history') return t.settings.days(Number(field(value, 'days') ?? 0));
  return typeof value === 'string' ? value : '';
}

export function sentence(part: ChangePart): string {
  const at = where(part);
  const subject = part.subject ?? '';
  const isGone = part.after === null || part.after === undefined;
  switch (part.text_key) {
    case 'category':
      return t.changes.category(categoryTitle(subject), state(part.after), at);
    case 'name':
      return t.changes.category(subject, state(part.after), at);
    case 'pause': {
      const until = field(part.after, 'until');
      return typeof until === 'string'
        ? t.changes.pause(at, moment(until))
        : t.changes.pauseEnd(at);
    }
    case 'grant': {
      const grant = isGone ? part.before : part.after;
      const what =
        (field(grant, 'domain') as string) ??
        (field(grant, 'category')
          ? categoryTitle(field(grant, 'category') as string)
          : t.bonus.everything);
      const until = field(part.after, 'until');
      return typeof until === 'string'
        ? t.changes.grant(what, at, moment(until))
        : t.changes.grantEnd(what, at);
    }
    case 'schedule': {
      const name = scheduleName(subject);
      return isGone ? t.changes.scheduleGone(name, at) : t.changes.schedule(name, at);
    }
    case 'safe_search':
      return t.changes.search(subject, short(field(part.after, 'level') ?? part.after), at);
    case 'device':
    case 'person':
      return isGone ? t.changes.gone(subject) : t.changes.added(subject);
    case 'bypass':
      return t.changes.other(t.bypass.title, state(part.before), state(part.after), at);
    default: {
      const words: Partial<Record<string, string>> = t.changes.fields;
      const known = words[part.text_key];
      if (known) return t.changes.field(known, plain(part), at);
      return t.changes.other(subject || part.text_key, short(part.before), short(part.after), at);
    }
  }
}
