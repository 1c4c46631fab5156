// Routes that the app uses and that `/openapi.json` of this branch does not have yet.

import type { components } from '../generated/schema';

type Role = components['schemas']['Role'];

/** Who the session belongs to. */
export interface Me {
  role: Role;
  household: string;
  device?: string | null;
  person?: string | null;
  label?: string | null;
  expires_at?: string | null;
  csrf?: string;
  demonstration?: boolean;
}

export interface NewLink {
  id: string;
  link: string;
  secret: string;
  expires_at: string;
}

export interface LinkBody {
  role: 'parent' | 'second-parent' | 'child';
  device?: string;
  label?: string;
  minutes?: number;
}

export interface Sighting {
  id: string;
  first_seen: string;
  last_seen: string;
  identifiers: components['schemas']['DeviceIdentifier'][];
  is_random_mac: boolean;
  guess?: { maker?: string | null; kind?: string | null; evidence: string[] } | null;
  dismissed: boolean;
}

export interface NewDevices {
  notify: boolean;
  devices: Sighting[];
}

export type ThingMode = 'off' | 'learning' | 'asking' | 'locked';

export interface ThingDomain {
  domain: string;
  set_by?: string;
  set_at?: string;
}

export interface Thing {
  mode: ThingMode;
  allowed: ThingDomain[];
  denied: ThingDomain[];
}

export interface PromptGroup {
  owner: string;
  category?: string | null;
  country?: string | null;
  domains: { domain: string; names: string[]; first_seen: string; queries: number }[];
}

export interface Prompt {
  id: string;
  device: string;
  at: string;
  state: 'open' | 'answered' | 'expired';
  /** The maker of the thing, where it is known. */
  maker?: string | null;
  groups: PromptGroup[];
  answer?: 'yes' | 'no' | 'maker' | null;
  answered_by?: string | null;
}

export interface ChangePart {
  text_key: string;
  level?: string | null;
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
}

interface Get<T, P = object> {
  get: { parameters: P; responses: { 200: { content: { 'application/json': T } } } };
}

interface Post<B, T, P = object> {
  post: Written<B, T, P>;
}

interface Put<B, T, P = object> {
  put: Written<B, T, P>;
}

interface Written<B, T, P> {
  parameters: P;
  requestBody: { content: { 'application/json': B } };
  responses: { 200: { content: { 'application/json': T } } };
}

interface InHousehold {
  path: { id: string };
}

interface OfDevice {
  path: { id: string; device: string };
}

/** Paths in the form of the generated ones. */
export interface ContractPaths {
  '/v1/session': Get<Me> &
    Post<{ key: string } | { link: string }, Me> & {
      delete: {
        parameters: object;
        responses: { 200: { content: { 'application/json': object } } };
      };
    };
  '/v1/push/key': Get<{ key: string }>;
  '/v1/push': Put<
    { endpoint: string; keys: { p256dh: string; auth: string }; locale: string },
    object
  > & {
    delete: { parameters: object; responses: { 200: { content: { 'application/json': object } } } };
  };
  '/v1/households/{id}/links': Post<LinkBody, NewLink, InHousehold>;
  '/v1/households/{id}/new-devices': Get<NewDevices, InHousehold> &
    Put<{ notify: boolean }, NewDevices, InHousehold>;
  '/v1/households/{id}/new-devices/{sighting}': Put<
    { dismissed: boolean },
    Sighting,
    { path: { id: string; sighting: string } }
  >;
  '/v1/households/{id}/devices/{device}/thing': Get<Thing, OfDevice> &
    Put<
      { mode?: ThingMode; allowed?: { domain: string }[]; denied?: { domain: string }[] },
      Thing,
      OfDevice
    >;
  '/v1/households/{id}/devices/{device}/thing/mud': Put<object, Thing, OfDevice>;
  '/v1/households/{id}/prompts': Get<
    { prompts: Prompt[] },
    InHousehold & { query?: { state?: 'open' } }
  >;
  '/v1/households/{id}/prompts/{prompt}': Put<
    { answer: 'yes' | 'no' | 'maker' },
    Prompt,
    { path: { id: string; prompt: string } }
  >;
  '/v1/households/{id}/changes': Get<
    { changes: ChangeEntry[]; next?: string | null },
    InHousehold & { query?: { cursor?: string; limit?: number } }
  >;
  '/v1/households/{id}/changes/{version}/undo': Post<
    object,
    { version: number },
    { path: { id: string; version: number } }
  >;
}
