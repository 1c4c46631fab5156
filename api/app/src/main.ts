// Starts the app: language, session, service worker, then the first page.

import { mount } from 'svelte';

import './app.css';
import App from './App.svelte';
import { loadLanguage } from './lib/i18n';

await loadLanguage();
const target = document.getElementById('app');
if (target) mount(App, { target });

// Without it the app works, but cannot be installed; plain HTTP has none.
if ('serviceWorker' in navigator) {
  navigator.serviceWorker.register('/app/sw.js').catch(() => {});
}
