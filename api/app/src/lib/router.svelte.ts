// The page that the fragment names: `#/devices/iphone` is ['devices', 'iphone'].
//
// A fragment, because the secret of a one-time link stands in it and must reach no log.

function parse(): string[] {
  const [path = ''] = location.hash.replace(/^#\/?/, '').split('?');
  return path.split('/').filter(Boolean).map(decoded);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const place = $state({ path: parse() });

addEventListener('hashchange', () => (place.path = parse()));

/** The parts of the current path. */
export function path(): string[] {
  return place.path;
}

/** The parameters behind `?` in the fragment. */
export function parameters(): URLSearchParams {
  void place.path;
  return new URLSearchParams(location.hash.split('?')[1] ?? '');
}

/** The site for which the block page has sent someone here: `#/ask/SITE`. */
export function askedFor(): string {
  return place.path[0] === 'ask' ? (place.path[1] ?? '') : '';
}

/** A link to a page; each part may have any characters. */
export function to(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join('/')}`;
}

/** Leaves for another page without a new entry in the browser's history. */
export function replaceWith(link: string): void {
  location.replace(link);
}
