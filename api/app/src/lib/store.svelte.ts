// What the app knows: the household as the program last told it, with the changes on top that are
// still under way.
//
// A change is drawn at once. It stays only if the program confirms it; a refusal removes it again
// and says why.

import { answered, api, Refused, type Schemas, type Me } from './api';
import { t } from './i18n';
import type { Category, Household } from './model';

interface Pending {
  apply: (home: Household) => void;
}

export interface Toast {
  id: number;
  text: string;
  isProblem: boolean;
}

/** How long a message stays; a problem stays until it is closed. */
const TOAST_MS = 6_000;

const NO_NEW_DEVICES: Schemas['NewDevices'] = { notify: true, devices: [], version: 0 };

class Store {
  me = $state.raw<Me | null>(null);
  categories = $state.raw<Category[]>([]);
  presets = $state.raw<Schemas['Preset'][]>([]);
  requests = $state.raw<Schemas['Request'][]>([]);
  prompts = $state.raw<Schemas['Prompt'][]>([]);
  newDevices = $state.raw<Schemas['NewDevices']>(NO_NEW_DEVICES);
  keys = $state.raw<Schemas['Key'][]>([]);
  isConnected = $state(true);
  toasts = $state<Toast[]>([]);
  /** Grows with each news that pages with data of their own must follow. */
  news = $state(0);

  #server = $state.raw<Household | null>(null);
  #pending = $state.raw<Pending[]>([]);
  #defaultPreset = $state<string | null>(null);
  #toasts = 0;

  /** The household with all changes that are under way. */
  home = $derived.by<Household | null>(() => {
    if (!this.#server || this.#pending.length === 0) return this.#server;
    const home = structuredClone(this.#server);
    for (const change of this.#pending) change.apply(home);
    return home;
  });

  /** What the household's preset blocks. */
  presetBlocks = $derived.by(() => {
    const slug = this.home?.preset ?? this.#defaultPreset;
    return new Set(this.presets.find((preset) => preset.slug === slug)?.blocks ?? []);
  });

  get household(): string {
    return this.me?.household ?? '';
  }

  get isChild(): boolean {
    return this.me?.role === 'child';
  }

  /** Whether this is the account holder: keys, history, filtering and contact are theirs. */
  get isHolder(): boolean {
    return this.me?.role === 'parent';
  }

  get openRequests(): Schemas['Request'][] {
    return this.requests.filter((request) => request.state === 'open');
  }

  get openPrompts(): Schemas['Prompt'][] {
    return this.prompts.filter((prompt) => prompt.state === 'open');
  }

  get unseenDevices(): Schemas['NewDevice'][] {
    return this.newDevices.devices.filter((device) => !device.dismissed);
  }

  /** How many things want an answer. */
  get waiting(): number {
    return this.openRequests.length + this.openPrompts.length + this.unseenDevices.length;
  }

  /** Reads everything that the pages share. */
  async load(): Promise<void> {
    const [categories, presets] = await Promise.all([
      answered(api.GET('/v1/categories')),
      answered(api.GET('/v1/presets')),
    ]);
    this.categories = categories.categories;
    this.presets = presets.presets;
    await this.refresh();
  }

  /** Reads again what may have changed. */
  async refresh(): Promise<void> {
    if (!this.me) return;
    if (this.isChild) {
      await this.refreshRequests();
      this.news += 1;
      return;
    }
    await Promise.all([
      this.refreshHome(),
      this.refreshRequests(),
      this.refreshPrompts(),
      this.refreshNewDevices(),
    ]);
    if (this.isHolder) await this.refreshKeys();
  }

  /** Reads again what a change of the household may be about. */
  async refreshChanged(): Promise<void> {
    if (this.isChild) {
      this.news += 1;
      return;
    }
    await Promise.all([
      this.refreshHome(),
      // An answer by the other parent, and a device that has got its name.
      this.openPrompts.length ? this.refreshPrompts() : null,
      this.unseenDevices.length ? this.refreshNewDevices() : null,
    ]);
  }

  async refreshHome(): Promise<void> {
    const home = await answered(api.GET('/v1/households/{id}', this.#here()));
    if (!home.preset && !this.#defaultPreset) {
      const now = await answered(api.GET('/v1/households/{id}/effective', this.#here()));
      this.#defaultPreset = now.preset ?? null;
    }
    // Two reads may overtake each other.
    if (!this.#server || home.version >= this.#server.version) this.#server = home;
    this.news += 1;
  }

  async refreshRequests(): Promise<void> {
    this.requests = (
      await answered(api.GET('/v1/households/{id}/requests', this.#here()))
    ).requests;
  }

  async refreshPrompts(): Promise<void> {
    this.prompts = (
      await optional(answered(api.GET('/v1/households/{id}/prompts', this.#here())), {
        prompts: [],
      })
    ).prompts;
  }

  async refreshNewDevices(): Promise<void> {
    this.newDevices = await optional(
      answered(api.GET('/v1/households/{id}/new-devices', this.#here())),
      NO_NEW_DEVICES,
    );
  }

  async refreshKeys(): Promise<void> {
    this.keys = (await answered(api.GET('/v1/households/{id}/keys', this.#here()))).keys;
  }

  /**
   * Makes a change: draws it, sends it, and takes it back if it is refused. Returns the answer, or
   * `null` after a refusal.
   */
  async change<T>(apply: (home: Household) => void, send: () => Promise<T>): Promise<T | null> {
    const change: Pending = { apply };
    this.#pending = [...this.#pending, change];
    try {
      const answer = await send();
      // The change stays drawn until the household with it is here.
      await this.refreshHome().catch(() => {});
      return answer;
    } catch (error) {
      this.report(error);
      return null;
    } finally {
      this.#pending = this.#pending.filter((other) => other !== change);
    }
  }

  /** Runs something that may be refused, and says why it was. */
  async attempt<T>(send: () => Promise<T>): Promise<T | null> {
    try {
      return await send();
    } catch (error) {
      this.report(error);
      return null;
    }
  }

  report(error: unknown): void {
    this.say(reason(error), true);
  }

  say(text: string, isProblem = false): void {
    this.#toasts += 1;
    const id = this.#toasts;
    this.toasts = [...this.toasts.filter((toast) => toast.text !== text), { id, text, isProblem }];
    if (!isProblem) setTimeout(() => this.dismiss(id), TOAST_MS);
  }

  dismiss(id: number): void {
    this.toasts = this.toasts.filter((toast) => toast.id !== id);
  }

  /** Forgets everything of the session. */
  end(): void {
    this.me = null;
    this.#server = null;
    this.#pending = [];
    this.#defaultPreset = null;
    this.requests = [];
    this.prompts = [];
    this.newDevices = NO_NEW_DEVICES;
    this.keys = [];
  }

  #here() {
    return { params: { path: { id: this.household } } };
  }
}

/** Why something was refused, in the app's language. */
export function reason(error: unknown): string {
  if (!(error instanceof Refused)) return t.problems.unknown(String(error));
  const known: Partial<Record<string, string>> = t.problems.codes;
  return known[error.code] ?? t.problems.unknown(error.detail);
}

/** A part of the program that may be switched off. */
async function optional<T>(answer: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return otherwise;
    throw error;
  }
}

export const store = new Store();
