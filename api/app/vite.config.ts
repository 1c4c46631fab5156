// The build of the parents' app. The policy of `/app/` permits no inline script, style or data: what
// the page needs is a file of its own, named after its content.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

/** Where `npm run dev` finds a running program. */
const program = 'http://127.0.0.1:8080';

export default defineConfig({
  base: '/app/',
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/v1': program } },
});
