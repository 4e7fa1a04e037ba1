// What a project declares of the environment that its runs need: `environment` in waymark.config.json, and of
// `create`.

/**
 * @typedef {import('../index.js').EnvironmentOptions} EnvironmentOptions
 */

/** @param {any} value */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
/** @param {any} value */
const isText = (value) => typeof value === 'string' && value !== '';
/** A part that could not be told has this member instead. @param {any} value */
const isNamed = (value) => isNames(value) && !value.includes('failed');
/** The same, of names in an object. @param {any} value */
const isFree = (value) => isObject(value) && !Object.hasOwn(value, 'failed');
/** The longest a collector may take, and the longest a checkpoint may be good for. */
const [TIMEOUT_MAX_MS, SPAN_MAX_MS] = [600_000, 1000 * 365 * 86_400_000];

/** @param {any} value */
const isPort = (value) => Number.isSafeInteger(value) && value > 0 && value < 65_536;

/** @type {Record<string, { expected: string, test: (value: any) => boolean }>} */
const KNOWN = {
  worktree: { expected: 'a path, or false', test: (value) => value === false || isText(value) },
  workflow: { expected: 'a path', test: isText },
  ports: {
    expected: 'an object of ports, such as { "api": 3000 } or { "api": "/metadata/ports/api" }',
    test: (value) =>
      isFree(value) &&
      Object.entries(value).every(
        ([name, one]) => /^[\w.-]{1,64}$/.test(name) && (isPort(one) || /^\/./.test(one)),
      ),
  },
  variables: { expected: 'an array of names ("failed" can be none)', test: isNamed },
  tools: {
    expected: 'an array of names, or an object such as { "ffmpeg": ["-version"] }',
    test: (value) =>
      isNamed(value) ||
      (isFree(value) &&
        Object.values(value).every((one) => one === true || (Array.isArray(one) && isNames(one)))),
  },
  files: { expected: 'an array of paths', test: isNamed },
  collectors: {
    expected: 'an object of functions, or paths of modules',
    test: (value) =>
      isFree(value) &&
      Object.values(value).every((one) => typeof one === 'function' || isText(one)),
  },
  timeoutMs: {
    expected: 'a whole number from 1 to 600000',
    test: (value) => Number.isSafeInteger(value) && value >= 1 && value <= TIMEOUT_MAX_MS,
  },
  expires: {
    expected: 'a Date, a time as ISO 8601 text, or a span such as "7d", of at most 1000 years',
    test: isEnd,
  },
};

/** @type {Record<string, number>} */
const UNITS_MS = { s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

/** @param {any} value a time, or a length of time */
function isEnd(value) {
  if (value instanceof Date) return !Number.isNaN(value.getTime());
  if (typeof value !== 'string') return false;
  if (/^\d{4}-\d\d/.test(value)) return !Number.isNaN(Date.parse(value));
  if (!/^(\d{1,9}(w|d|h|min|s))+$/.test(value)) return false;
  const parts = [...value.matchAll(/(\d+)([a-z]+)/g)];
  return parts.reduce((ms, [, n, unit]) => ms + Number(n) * UNITS_MS[unit], 0) <= SPAN_MAX_MS;
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
