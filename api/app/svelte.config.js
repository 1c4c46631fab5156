// Rules of the compiler: a warning, also one about accessibility, is an error of `svelte-check`.
export default { compilerOptions: { runes: true } };
