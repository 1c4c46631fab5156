// Domain names as a person may safely read them.
//
// An internationalised name is shown in its own script. Its A-label stands beside it where the
// letters could be taken for others; a name with characters that do not show has its A-label alone.

import { toUnicode } from 'punycode';

/** Scripts whose letters a reader of this app knows and that occur together in one label. */
const ALONE = [/^[\p{Script=Latin}\p{Nd}-]+$/u];

/** Characters without a shape of their own, and those that change the direction of text. */
const UNSEEN = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;

export interface ShownName {
  text: string;
  /** The A-label form, where it must be shown as well. */
  ascii?: string;
}

export function shown(name: string): ShownName {
  if (!/(^|\.)xn--/i.test(name)) return { text: name };
  let text: string;
  try {
    text = toUnicode(name).normalize('NFC');
  } catch {
    return { text: name };
  }
  if (UNSEEN.test(text)) return { text: name };
  const isPlain = text.split('.').every((label) => ALONE.some((script) => script.test(label)));
  return isPlain ? { text } : { text, ascii: name };
}

/** The name in what people paste: the address of a page, or a name in any script. */
export function nameIn(text: string): string {
  const trimmed = text.trim();
  try {
    return new URL(/^[a-z]+:\/\//i.test(trimmed) ? trimmed : `http://${trimmed}`).hostname;
  } catch {
    return trimmed;
  }
}
