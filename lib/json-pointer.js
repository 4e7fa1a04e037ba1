// Members of a JSON value by JSON pointer (RFC 6901). Pure.

/** @param {string} pointer as of RFC 6901 */
function wordsOf(pointer) {
  return pointer
    .split('/')
    .slice(1)
    .map((word) => word.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/**
 * The value that a JSON pointer leads to.
 * @param {unknown} value
 * @param {string} pointer
 * @returns {unknown}
 */
function pointed(value, pointer) {
  let at = /** @type {any} */ (value);
  for (const word of wordsOf(pointer)) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, word)) return undefined;
    at = at[word];
  }
  return at;
}

/**
 * The same with another value there; objects on the way are made.
 * @param {any} value
 * @param {string} pointer
 * @param {unknown} to
 * @returns {any}
 */
function withPointed(value, pointer, to) {
  const words = wordsOf(pointer);
  /** @param {any} at @param {number} depth @returns {any} */
  const set = (at, depth) => {
    if (depth === words.length) return to;
    const word = words[depth];
    if (Array.isArray(at)) return at.map((one, n) => (`${n}` === word ? set(one, depth + 1) : one));
    const before = typeof at === 'object' && at !== null ? at : {};
    const own = Object.hasOwn(before, word) ? before[word] : undefined;
    // Computed names are members of their own, `__proto__` too.
    return { ...before, [word]: set(own, depth + 1) };
  };
  return set(value, 0);
}

module.exports = { pointed, withPointed };
