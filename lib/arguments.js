// A runner's command line, read by the runner's own rules: a flag swallows the next word unless
// that starts with "--"; "--k=v" is one unknown flag.

/**
 * @param {string[]} words
 * @returns {Map<string, string | true>} the last value of each flag, without its dashes
 */
function readFlags(words) {
  /** @type {Map<string, string | true>} */
  const flags = new Map();
  for (let at = 0; at < words.length; at += 1) {
    if (!words[at].startsWith('--')) continue;
    const next = words[at + 1];
    const swallows = next !== undefined && !next.startsWith('--');
    flags.set(words[at].slice(2), swallows ? next : true);
    if (swallows) at += 1;
  }
  return flags;
}

/**
 * The words without some flags and their values.
 * @param {string[]} words
 * @param {string[]} names without their dashes
 * @returns {string[]}
 */
function withoutFlags(words, names) {
  const left = [];
  for (let at = 0; at < words.length; at += 1) {
    const named = words[at].startsWith('--') && names.includes(words[at].slice(2));
    const next = words[at + 1];
    const swallows = next !== undefined && !next.startsWith('--');
    if (!named) left.push(words[at]);
    else if (swallows) at += 1;
  }
  return left;
}

module.exports = { readFlags, withoutFlags };
