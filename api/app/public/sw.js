// The service worker: the app starts without a network, and notices arrive while it is closed.
// It stores the files of the app and never an answer of the API.

const SHELL = 'shell-1';
/** The program writes the configured name here. */
const NAME = 'OX Protect';

self.addEventListener('install', (event) => {
  event.waitUntil(
    caches
      .open(SHELL)
      .then((cache) => cache.addAll(['/app/', '/app/brand.css', '/app/icon.svg']))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) =>
        Promise.all(names.filter((name) => name !== SHELL).map((name) => caches.delete(name))),
      )
      .then(() => self.clients.claim()),
  );
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== location.origin) return;
  if (url.pathname.startsWith('/app/assets/')) event.respondWith(named(event.request));
  else if (event.request.mode === 'navigate' && url.pathname.startsWith('/app/'))
    event.respondWith(newest(event.request, '/app/'));
  else if (url.pathname === '/app/brand.css' || url.pathname === '/app/icon.svg')
    event.respondWith(newest(event.request, url.pathname));
});

/** A file whose name changes with its content: the stored one is right. */
async function named(request) {
  const cache = await caches.open(SHELL);
  const stored = await cache.match(request);
  if (stored) return stored;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone());
  return answer;
}

async function forgetNamed(cache) {
  const requests = await cache.keys();
  const named = requests.filter(({ url }) => new URL(url).pathname.startsWith('/app/assets/'));
  await Promise.all(named.map((request) => cache.delete(request)));
}

/** A file whose content changes under its name: the stored one only without a network. */
async function newest(request, key) {
  const cache = await caches.open(SHELL);
  try {
    const answer = await fetch(request);
    if (!answer.ok) return answer;
    const stored = await cache.match(key);
    // A new page names new files; those of the old one would stay for good.
    if (key === '/app/' && stored && stored.headers.get('etag') !== answer.headers.get('etag'))
      await forgetNamed(cache);
    await cache.put(key, answer.clone());
    return answer;
  } catch (error) {
    const stored = await cache.match(key);
    if (stored) return stored;
    throw error;
  }
}

// The message has {title, body, url, tag}; `url` is a fragment of the app.
self.addEventListener('push', (event) => {
  const message = event.data?.json() ?? {};
  event.waitUntil(
    self.registration.showNotification(message.title ?? NAME, {
      body: message.body,
      tag: message.tag,
      icon: '/app/icon-192.png',
      data: typeof message.url === 'string' && message.url.startsWith('#/') ? message.url : '#/',
    }),
  );
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const url = `/app/${event.notification.data ?? '#/'}`;
  event.waitUntil(
    self.clients.matchAll({ type: 'window' }).then((windows) => {
      const open = windows.find((window) => new URL(window.url).pathname.startsWith('/app/'));
      return open
        ? open.navigate(url).then((window) => window?.focus())
        : self.clients.openWindow(url);
    }),
  );
});
