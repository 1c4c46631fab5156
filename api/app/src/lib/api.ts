// The only file that speaks HTTP: the session, its protection against forged requests, problems.
//
// Types of bodies and answers come from the program's OpenAPI document.

import createClient, { type Middleware } from 'openapi-fetch';

import type { components, paths } from '../generated/schema';
import type { ContractPaths } from './contract';

export type Schemas = components['schemas'];

/** Who a session belongs to. */
export type Me = Schemas['Me'];

/** A refusal by the program, or no answer at all (`code` is `offline`). */
export class Refused extends Error {
  constructor(
    readonly code: string,
    readonly detail: string,
    readonly status: number,
  ) {
    super(detail);
  }
}

let csrf = '';
let onSessionEnd: () => void = () => {};

/** Calls this when the program no longer knows the session. */
export function whenSessionEnds(handler: () => void): void {
  onSessionEnd = handler;
}

const protection: Middleware = {
  onRequest({ request }) {
    if (csrf && request.method !== 'GET') request.headers.set('X-CSRF-Token', csrf);
    return request;
  },
};

const client = createClient<paths & ContractPaths>({
  baseUrl: location.origin,
  credentials: 'same-origin',
});
client.use(protection);

/** Typed calls by path: `api.GET('/v1/categories')`. Await them through `answered`. */
export const api = client;

/** The data of an answer; a problem is thrown as `Refused`. */
export async function answered<T>(
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  let answer;
  try {
    answer = await call;
  } catch {
    throw new Refused('offline', '', 0);
  }
  if (answer.response.ok) return answer.data as T;
  const problem = answer.error as Partial<Schemas['Problem']> | undefined;
  if (answer.response.status === 401 && csrf) endSession();
  throw new Refused(
    problem?.code ?? 'unknown',
    problem?.detail ?? answer.response.statusText,
    answer.response.status,
  );
}

/** The session of the cookie; `null` without one. */
export async function currentSession(): Promise<Me | null> {
  try {
    return started(await answered(api.GET('/v1/session')));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return null;
    throw error;
  }
}

/** Begins a session with a key or with the secret of a one-time link. */
export async function logIn(proof: { key: string } | { link: string }): Promise<Me> {
  return started(await answered(api.POST('/v1/session', { body: proof })));
}

export async function logOut(): Promise<void> {
  await answered(api.DELETE('/v1/session'));
  endSession();
}

function started(me: Me): Me {
  csrf = me.csrf ?? '';
  return me;
}

function endSession(): void {
  csrf = '';
  onSessionEnd();
}
