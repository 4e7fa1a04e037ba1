// What a project declares of the environment that its runs need: `environment` in waymark.config.json, and of
// `create`.

/**
 * @typedef {import('../index.js').EnvironmentOptions} EnvironmentOptions
 */

/** @param {any} value */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
/** @param {any} value */
const isText = (value) => typeof value === 'string' && value !== '';
/** @param {any} value */
const isPort = (value) => Number.isSafeInteger(value) && value > 0 && value < 65_536;

/** @type {Record<string, { expected: string, test: (value: any) => boolean }>} */
const KNOWN = {
  worktree: { expected: 'a path, or false', test: (value) => value === false || isText(value) },
  workflow: { expected: 'a path', test: isText },
  ports: {
    expected: 'an object of ports, such as { "api": 3000 } or { "api": "/metadata/ports/api" }',
    test: (value) =>
      isObject(value) &&
      Object.entries(value).every(
        ([name, one]) => /^[\w.-]{1,64}$/.test(name) && (isPort(one) || /^\/./.test(one)),
      ),
  },
  variables: { expected: 'an array of names', test: isNames },
  tools: {
    expected: 'an array of names, or an object such as { "ffmpeg": ["-version"] }',
    test: (value) =>
      isNames(value) ||
      (isObject(value) &&
        Object.values(value).every((one) => one === true || (Array.isArray(one) && isNames(one)))),
  },
  files: { expected: 'an array of paths', test: isNames },
  collectors: {
    expected: 'an object of functions, or paths of modules',
    test: (value) =>
      isObject(value) &&
      Object.values(value).every((one) => typeof one === 'function' || isText(one)),
  },
  timeoutMs: {
    expected: 'a whole number from 1 on',
    test: (value) => Number.isSafeInteger(value) && value >= 1,
  },
  expires: {
    expected: 'a Date, a time as ISO 8601 text, or a span such as "7d"',
    test: isEnd,
  },
};

/** @param {any} value a time, or a length of time */
function isEnd(value) {
  if (value instanceof Date) return !Number.isNaN(value.getTime());
  if (typeof value !== 'string') return false;
  if (/^\d{4}-\d\d/.test(value)) return !Number.isNaN(Date.parse(value));
  return /^(\d{1,9}(w|d|h|min|s))+$/.test(value);
}

/** @param {any} value */
function isNames(value) {
  return Array.isArray(value) && value.length <= 1000 && value.every(isText);
}

/**
 * What is wrong with such settings; undefined if nothing is.
 * @param {any} value
 * @returns {string | undefined}
 */
function environmentProblem(value) {
  if (value === false) return undefined;
  if (!isObject(value)) return 'environment must be false or an object';
  for (const [name, one] of Object.entries(value)) {
    if (one === undefined) continue;
    if (!Object.hasOwn(KNOWN, name)) {
      return `environment.${name} is not known; known are ${Object.keys(KNOWN).join(', ')}`;
    }
    if (!KNOWN[name].test(one)) return `environment.${name} must be ${KNOWN[name].expected}`;
  }
  return undefined;
}

/**
 * Settings on top of each other: the later says more; `false` is the end of it.
 * @param {(EnvironmentOptions | false | undefined)[]} layers
 * @returns {EnvironmentOptions | false}
 */
function declared(...layers) {
  /** @type {EnvironmentOptions} */
  let all = {};
  let isOff = false;
  for (const layer of layers) {
    if (layer === undefined) continue;
    isOff = layer === false;
    if (layer !== false) all = { ...all, ...layer };
  }
  return isOff ? false : all;
}

module.exports = { declared, environmentProblem };
