// The web-push subscription of this browser (RFC 8030, RFC 8292).

import { answered, api } from './api';
import { currentLanguage, t } from './i18n';

/** Whether browser and program can deliver notices. */
export async function mayPush(): Promise<boolean> {
  if (!('serviceWorker' in navigator) || !('PushManager' in window)) return false;
  return (await key()) !== null;
}

async function key(): Promise<string | null> {
  try {
    return (await answered(api.GET('/v1/push/key'))).key;
  } catch {
    return null;
  }
}

async function registration(): Promise<ServiceWorkerRegistration> {
  return navigator.serviceWorker.ready;
}

/** Whether notices come to this browser: it keeps its subscription at the push service longer than
 * the program does, which forgets it with the session. */
export async function isSubscribed(): Promise<boolean> {
  const known = await navigator.serviceWorker.getRegistration('/app/');
  if (!(await known?.pushManager.getSubscription())) return false;
  return (await answered(api.GET('/v1/push'))).subscribed;
}

export async function subscribe(): Promise<true> {
  if ((await Notification.requestPermission()) !== 'granted')
    throw new Error(t.settings.pushRefused);
  const applicationServerKey = await key();
  const subscription = await (
    await registration()
  ).pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
  const { endpoint, keys } = subscription.toJSON();
  const body = {
    endpoint: endpoint ?? '',
    keys: { p256dh: keys?.p256dh ?? '', auth: keys?.auth ?? '' },
    locale: currentLanguage(),
  };
  await answered(api.PUT('/v1/push', { body }));
  return true;
}

export async function unsubscribe(): Promise<true> {
  const subscription = await (await registration()).pushManager.getSubscription();
  await subscription?.unsubscribe();
  await answered(api.DELETE('/v1/push'));
  return true;
}
