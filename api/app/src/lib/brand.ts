// The product's name, as the operator has configured it: the program writes it into the page's title.

/** Read before a page changes the title. */
export const PRODUCT = document.title;
