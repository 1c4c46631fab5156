// What the compilers do not see. Rules about layout are prettier's.
import svelte from 'eslint-plugin-svelte';
import typescript from 'typescript-eslint';

export default [
  { ignores: ['dist/', 'node_modules/', 'src/generated/'] },
  ...typescript.configs.recommended,
  ...svelte.configs.recommended,
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: typescript.parser } },
    rules: {
      // The key of a list is its row's id where rows move; rows that do not move need none.
      'svelte/require-each-key': 'off',
      // Links lead to fragments of this page.
      'svelte/no-navigation-without-resolve': 'off',
      // Maps and sets here live for one computation.
      'svelte/prefer-svelte-reactivity': 'off',
    },
  },
  { rules: { '@typescript-eslint/no-non-null-assertion': 'error' } },
];
