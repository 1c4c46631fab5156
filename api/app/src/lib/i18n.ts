// The language of the app. A language is one typed table; only the chosen one is loaded.
//
// A table of functions instead of a message compiler: TypeScript refuses a language that lacks a
// message or a value, plural forms are code, and nothing is added to the first load.

import type { Messages } from '../messages/en';

export const LANGUAGES = { en: 'English', cy: 'Cymraeg' } as const;
export type Language = keyof typeof LANGUAGES;

const STORED = 'ox-protect-language';

let current: Language = 'en';

/** The messages. Set before the first page is drawn. */
export let t: Messages;

/** The language as a BCP 47 tag. */
export function language(): string {
  return current === 'en' ? 'en-GB' : current;
}

export function currentLanguage(): Language {
  return current;
}

/** Loads the language that was chosen on this device, or else the browser's. */
export async function loadLanguage(): Promise<void> {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages].map((tag) =>
    tag?.slice(0, 2),
  );
  current = wanted.find((tag): tag is Language => !!tag && tag in LANGUAGES) ?? 'en';
  t = (await (current === 'cy' ? import('../messages/cy') : import('../messages/en'))).default;
  document.documentElement.lang = current;
}

/** Keeps the choice on this device and draws everything anew. */
export function chooseLanguage(chosen: Language): void {
  localStorage.setItem(STORED, chosen);
  location.reload();
}
