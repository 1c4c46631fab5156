// Routes that the app uses and that `/openapi.json` of this branch does not have yet.

import type { components } from '../generated/schema';

/** Who the session belongs to. */
export type Me = components['schemas']['Me'] & { demonstration?: boolean };

export interface ChangePart {
  text_key: string;
  level?: string | null;
  /** The name of the person or device. */
  of_name?: string | null;
  subject?: string | null;
  before?: unknown;
  after?: unknown;
}

export interface ChangeEntry {
  version: number;
  at: string;
  by: string;
  by_name?: string | null;
  what: ChangePart[];
  undoable_until?: string | null;
  undone_by?: string | null;
  undone_by_name?: string | null;
}

interface Get<T, P = object> {
  get: { parameters: P; responses: { 200: { content: { 'application/json': T } } } };
}

interface Written<B, T, P = object> {
  parameters: P;
  requestBody: { content: { 'application/json': B } };
  responses: { 200: { content: { 'application/json': T } } };
}

/** Paths in the form of the generated ones. */
export interface ContractPaths {
  '/v1/push/key': Get<{ key: string }>;
  '/v1/push': {
    put: Written<
      { endpoint: string; keys: { p256dh: string; auth: string }; locale: string },
      object
    >;
    delete: { parameters: object; responses: { 200: { content: { 'application/json': object } } } };
  };
  '/v1/households/{id}/changes': Get<
    { changes: ChangeEntry[]; next?: number | null },
    { path: { id: string }; query?: { cursor?: number; limit?: number } }
  >;
  '/v1/households/{id}/changes/{version}/undo': {
    post: Written<object, { version: number }, { path: { id: string; version: number } }>;
  };
}
