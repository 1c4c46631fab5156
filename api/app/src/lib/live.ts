// The household's event stream. It says what changed; the store reads it again.
//
// The stream of the program ends every ten minutes and whenever the network does. The browser opens
// it again by itself after a break, but not after a refusal, so that is done here. After each break
// everything is read again.

import { answered, api } from './api';
import { store } from './store.svelte';

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
/** A break that is shorter is not shown. */
const SHOWN_AFTER_MS = 3_000;

let source: EventSource | null = null;
let retry: ReturnType<typeof setTimeout> | undefined;
let notice: ReturnType<typeof setTimeout> | undefined;
let wait = RETRY_FIRST_MS;
let wasOpen = false;

/** Follows the household until `stopLive`. */
export function startLive(): void {
  stopLive();
  open();
  addEventListener('online', reopen);
  document.addEventListener('visibilitychange', reopenWhenSeen);
}

export function stopLive(): void {
  removeEventListener('online', reopen);
  document.removeEventListener('visibilitychange', reopenWhenSeen);
  clearTimeout(retry);
  clearTimeout(notice);
  source?.close();
  source = null;
  wasOpen = false;
  wait = RETRY_FIRST_MS;
}

function open(): void {
  source?.close();
  const id = encodeURIComponent(store.household);
  const stream = new EventSource(`/v1/households/${id}/events`);
  source = stream;
  stream.onopen = () => {
    clearTimeout(notice);
    notice = undefined;
    store.isConnected = true;
    wait = RETRY_FIRST_MS;
    if (wasOpen) void read(all);
    wasOpen = true;
  };
  stream.onerror = () => {
    notice ??= setTimeout(() => (store.isConnected = false), SHOWN_AFTER_MS);
    if (stream.readyState !== EventSource.CLOSED) return;
    clearTimeout(retry);
    retry = setTimeout(openAgain, wait);
    wait = Math.min(wait * 2, RETRY_MAX_MS);
  };
  for (const [kind, follow] of Object.entries(FOLLOW)) {
    stream.addEventListener(kind, () => void read(follow));
  }
}

/** A refused stream does not say why. If the session has ended, this read ends it here as well. */
async function openAgain(): Promise<void> {
  await answered(api.GET('/v1/session')).catch(() => {});
  if (store.me) open();
}

const all = () => store.refresh();

/** What to read again after each kind of event. */
const FOLLOW: Record<string, () => Promise<void>> = {
  change: () => store.refreshChanged(),
  request: () => store.refreshRequests(),
  answer: () => store.refreshRequests(),
  prompt: () => store.refreshPrompts(),
  new_device: () => store.refreshNewDevices(),
  silent: () => store.refreshChanged(),
  lost: all,
};

/** Reads under way; true: once more after that, because something happened meanwhile. */
const reading = new Map<() => Promise<void>, boolean>();

/** A failed read is repeated by the next event or by the next connection. */
async function read(follow: () => Promise<void>): Promise<void> {
  if (reading.has(follow)) {
    reading.set(follow, true);
    return;
  }
  do {
    if (!store.me) break;
    reading.set(follow, false);
    await follow().catch(() => {});
  } while (reading.get(follow));
  reading.delete(follow);
}

function reopen(): void {
  if (store.me && source?.readyState !== EventSource.OPEN) {
    clearTimeout(retry);
    open();
  }
}

function reopenWhenSeen(): void {
  if (document.visibilityState === 'visible') reopen();
}
