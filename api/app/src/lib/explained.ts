// A verdict of the program as one sentence.

import type { Schemas } from './api';
import { t } from './i18n';
import { store } from './store.svelte';
import { moment } from './time.svelte';
import { categoryTitle, deviceName, named, personName, scheduleName } from './who';

export function sentence(verdict: Schemas['Explanation']): string {
  const at = verdict.device ? deviceName(verdict.device) : t.who.home;
  if (verdict.verdict === 'allow') {
    if (verdict.layer === 'safe-search') return t.why.safeSearch(at);
    if (verdict.layer === 'grant') return t.why.granted(at, until(verdict));
    if (verdict.layer.endsWith('-allow')) return t.why.ownAllow(at, by(verdict));
    return t.why.open(
      at,
      verdict.matches.flatMap((match) => titleOf(match.category)),
    );
  }
  switch (verdict.layer) {
    case 'thing':
      return verdict.entry ? t.why.thingDenied(at, verdict.entry, by(verdict)) : t.why.thing(at);
    case 'mandatory':
      return t.why.order(at);
    case 'security':
      return t.why.security(at, titles(verdict));
    case 'paused':
      return t.why.paused(at, by(verdict), until(verdict));
    case 'category':
      return t.why.category(at, titles(verdict), setBy(verdict));
    case 'bypass':
      return t.why.bypass(at);
    case 'safe-search-deny':
      return t.why.safeSearchDeny(at);
    default:
      if (verdict.layer.endsWith('-deny')) return t.why.ownDeny(at, by(verdict));
      return t.why.other(at);
  }
}

function titleOf(slug: string | null | undefined): string[] {
  return slug ? [categoryTitle(slug)] : [];
}

function titles(verdict: Schemas['Explanation']): string[] {
  const slugs = verdict.categories.length ? verdict.categories : [verdict.category ?? ''];
  return slugs.filter(Boolean).map(categoryTitle);
}

function by(verdict: Schemas['Explanation']): string {
  return verdict.setter ? setterName(verdict.setter) : '';
}

/** The program names the key beside its identifier where it has a label. */
function setterName(setter: Schemas['Setter'] & { by_name?: string | null }): string {
  return named(setter.by, setter.by_name);
}

function until(verdict: Schemas['Explanation']): string {
  return verdict.setter?.until ? moment(verdict.setter.until) : '';
}

/** Who switched a category on, where, and since when. */
function setBy(verdict: Schemas['Explanation']): string {
  const setter = verdict.setter;
  if (!setter) return '';
  if (setter.schedule) {
    return t.why.bySchedule(scheduleName(setter.schedule), until(verdict));
  }
  if (setter.layer === 'preset') return t.why.byPreset;
  const home = t.who.home;
  const device = deviceName(verdict.device);
  const owner = verdict.device ? personOf(verdict.device) : home;
  const level = { device, person: owner, household: home }[setter.layer as string] ?? home;
  return t.why.bySomeone(setterName(setter), level, setter.at ? moment(setter.at) : '');
}

function personOf(device: string): string {
  const person = store.home?.devices[device]?.person;
  return person ? personName(person) : t.who.home;
}
