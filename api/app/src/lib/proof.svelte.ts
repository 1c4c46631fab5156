// Proof of a change: what the program answers now for a device that the change is about.
//
// `explain` runs the function that answers queries. Where no name of a category is known, the
// compiled rules of the device say whether it is blocked.

import { answered, api } from './api';
import { devicesOf, type Level } from './model';
import { store } from './store.svelte';
import { categoryTitle } from './who';

export interface Proof {
  at: number;
  device: string | null;
  /** A domain name or the title of a category. */
  subject: string;
  isName: boolean;
  isBlocked: boolean;
  /** How long the program took, with the way to it and back. */
  tookMs: number;
}

/** What to check: a name, or a category of which a name may be known. */
export type Subject = { name: string } | { category: string };

const state = $state<{ last: Proof | null }>({ last: null });

/** The last proof; shown by the page that asked for it. */
export function lastProof(): Proof | null {
  return state.last;
}

export function forgetProof(): void {
  state.last = null;
}

/** Asks the program about the first device of a level; the household itself if it has none. */
export async function prove(level: Level, subject: Subject): Promise<void> {
  const home = store.home;
  if (!home) return;
  const device = devicesOf(home, level)[0] ?? null;
  // Rules of a person without devices are those of no device yet.
  if (!device && level.kind !== 'home') return;
  const begun = performance.now();
  try {
    const found = await check(device, subject);
    state.last = { ...found, device, at: Date.now(), tookMs: performance.now() - begun };
  } catch {
    state.last = null;
  }
}

async function check(device: string | null, subject: Subject) {
  const name = 'name' in subject ? subject.name : nameOf(subject.category);
  if (name) {
    const query = { name, household: store.household, ...(device ? { device } : {}) };
    const verdict = await answered(api.GET('/v1/explain', { params: { query } }));
    return { subject: name, isName: true, isBlocked: verdict.verdict === 'block' };
  }
  const slug = 'category' in subject ? subject.category : '';
  const id = store.household;
  const now = device
    ? await answered(
        api.GET('/v1/households/{id}/effective/{device}', { params: { path: { id, device } } }),
      )
    : await answered(api.GET('/v1/households/{id}/effective', { params: { path: { id } } }));
  const isBlocked = now.filtering !== 'off' && now.categories[slug]?.state === 'block';
  return { subject: categoryTitle(slug), isName: false, isBlocked };
}

function nameOf(slug: string): string | undefined {
  return store.categories.find((category) => category.slug === slug)?.names[0];
}
