// Values of tasks: names of their steps, JSON that is stored and given back, hashes of inputs, errors.

const { createHash } = require('node:crypto');
const { WaymarkError } = require('./error.js');

/** @typedef {import('../index.js').Step} Step */

/** The longest name, in bytes: that of a checkpoint's step. */
const NAME_MAX = 200;
/** Levels of a value; the whole tree has to stay below the 2,000 of a state. */
const DEPTH_MAX = 500;
const MESSAGE_MAX = 2000;
const STACK_MAX = 4000;

const DEVICES = /^(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³])$/i;
const NUMBERS = /^[+-]?(inf|infinity|nan|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)$/i;

/**
 * Why a name can't be one of a step, if so: the core's own rule, asked before the step's work is done.
 * @param {string} name
 * @returns {string | undefined}
 */
function nameProblem(name) {
  if (name === '') return 'empty';
  if (!name.isWellFormed()) return 'charset';
  if (Buffer.byteLength(name) > NAME_MAX) return 'length';
  if (name.includes('\0')) return 'nul';
  if (/[/\\]/.test(name)) return 'separator';
  if (name.includes('..') || name === '.') return 'traversal';
  if (/^[a-z]:/i.test(name)) return 'drive';
  if (DEVICES.test(name.split(/[.:]/)[0].replace(/ +$/, ''))) return 'device';
  if (/[. ]$/.test(name)) return 'trailing';
  if (/\p{Cc}/u.test(name)) return 'control';
  if (NUMBERS.test(name.trim())) return 'number_as_text';
  return undefined;
}

/** @param {number} number @returns {string | undefined} */
function numberProblem(number) {
  if (Number.isNaN(number)) return 'not_a_number';
  if (!Number.isFinite(number)) return 'infinite';
  if (number < 0) return 'negative';
  return number > Number.MAX_SAFE_INTEGER ? 'unsafe_integer' : undefined;
}

/**
 * @param {unknown} name of a task or one of its steps
 * @returns {Step}
 */
function checkName(name) {
  let problem;
  if (typeof name === 'string') problem = nameProblem(name);
  else problem = typeof name === 'number' ? numberProblem(name) : 'type';
  // JSON has no -0.
  if (problem === undefined) return name === 0 ? 0 : /** @type {Step} */ (name);
  const shown = typeof name === 'string' ? JSON.stringify(name.slice(0, 80)) : textOf(name);
  throw new WaymarkError(
    'ERR_STEP_INVALID',
    `the name ${shown} of a task's step is not usable: ${problem}; give a number from 0 on, or a name without separators, at most ${NAME_MAX} bytes`,
    { reason: problem },
  );
}

/**
 * A value as the JSON that is stored, checked strictly: what is read back is what was given. Members
 * that are undefined count as absent; in an array undefined is null.
 * @param {unknown} value
 * @param {string} what such as `the result of step "a"`
 * @param {'result' | 'input' | 'state' | 'progress'} reason
 * @returns {string | undefined} `undefined` for undefined
 */
function jsonOf(value, what, reason) {
  if (value === undefined) return undefined;
  const problem = jsonProblem(value, '', 0, new Set());
  if (problem === undefined) return JSON.stringify(value);
  throw new WaymarkError(
    'ERR_TASK_NOT_JSON',
    `${what} can't be stored: ${problem}; give null, booleans, finite numbers, strings, arrays and plain objects`,
    { reason },
  );
}

/**
 * @param {any} value
 * @param {string} at a JSON Pointer
 * @param {number} depth
 * @param {Set<object>} above
 * @returns {string | undefined}
 */
function jsonProblem(value, at, depth, above) {
  const place = at === '' ? 'it' : `${at.slice(0, 120)} in it`;
  if (value === null) return undefined;
  if (typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') {
    return Number.isFinite(value) ? undefined : `${place} is ${value}`;
  }
  if (typeof value !== 'object') return `${place} is ${nounOf(value)}`;
  if (above.has(value)) return `${place} leads back to what holds it`;
  if (depth >= DEPTH_MAX) return `it is nested deeper than ${DEPTH_MAX} levels`;
  if (typeof value.toJSON === 'function') {
    return `${place} is ${nounOf(value)}, which would be read back as something else`;
  }
  above.add(value);
  const list = Array.isArray(value);
  if (!list && !isPlain(value)) return `${place} is ${nounOf(value)}`;
  const names = list ? value.keys() : Object.keys(value);
  for (const name of names) {
    const member = value[name];
    if (member === undefined) continue;
    const pointer = `${at}/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const problem = jsonProblem(member, pointer, depth + 1, above);
    if (problem !== undefined) return problem;
  }
  above.delete(value);
  return undefined;
}

/** Also true for plain objects of another realm, such as Jest's. @param {object} value */
function isPlain(value) {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** @param {any} value */
function nounOf(value) {
  if (typeof value === 'bigint') return 'a BigInt';
  if (typeof value !== 'object') return value === undefined ? 'undefined' : `a ${typeof value}`;
  return `a ${value.constructor?.name || 'foreign object'}`;
}

/**
 * JSON with the members of objects in the order of their names: equal values have one text.
 * @param {any} value what JSON.parse gives
 * @returns {string}
 */
function canonical(value) {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

/** @param {string} text @returns {string} lower-case hex */
function sha256(text) {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * @param {unknown} input
 * @param {string} what
 * @returns {string | undefined} SHA-256 of its canonical JSON
 */
function inputHash(input, what) {
  const text = jsonOf(input, what, 'input');
  return text === undefined ? undefined : sha256(canonical(JSON.parse(text)));
}

/**
 * The same for the same step of the same run with the same input, in every process and attempt.
 * @param {string} runId
 * @param {number} round how often the task was begun anew
 * @param {Step[]} path
 * @param {string | undefined} input
 * @returns {string}
 */
function keyOf(runId, round, path, input) {
  return sha256(canonical([runId, round, path, input ?? null]));
}

/** Any value as text; not each has one. @param {unknown} value @returns {string} */
function textOf(value) {
  try {
    return String(value);
  } catch {
    return nounOf(value);
  }
}

/** @param {unknown} text @param {number} max */
function cut(text, max) {
  const all = textOf(text).toWellFormed();
  return all.length <= max ? all : `${all.slice(0, max).toWellFormed()}…`;
}

/**
 * Options of a checkpoint with what is said of it, as far as checkpoints take facts. Facts never fail a
 * checkpoint: texts are cut to what they may be.
 * @param {boolean} factsKnown
 * @param {Record<string, any>} options
 * @param {Record<string, any>} facts
 * @returns {Record<string, any>}
 */
function withFacts(factsKnown, options, facts) {
  if (!factsKnown) return options;
  const said = { ...facts };
  for (const [name, max] of /** @type {const} */ ([
    ['task', 255],
    ['phase', 255],
    ['description', MESSAGE_MAX],
  ])) {
    if (said[name] !== undefined) said[name] = cut(said[name], max);
  }
  const { progress } = said;
  if (progress?.summary !== undefined) {
    said.progress = { ...progress, summary: cut(progress.summary, MESSAGE_MAX) };
  }
  return { ...options, facts: said };
}

/**
 * An error as it is recorded.
 * @param {unknown} error
 * @returns {{ name: string, message: string, code?: string, stack?: string }}
 */
function errorRecord(error) {
  if (typeof error !== 'object' || error === null) {
    return { name: typeof error, message: cut(error, MESSAGE_MAX) };
  }
  const [name, message, code, stack] = ['name', 'message', 'code', 'stack'].map((member) => {
    try {
      return /** @type {Record<string, unknown>} */ (error)[member];
    } catch {
      // One that can't be read: what was thrown is thrown on all the same.
      return undefined;
    }
  });
  const known = typeof code === 'string' || typeof code === 'number';
  return {
    name: cut(name ?? 'Error', 200),
    message: cut(message ?? '', MESSAGE_MAX),
    ...(known ? { code: cut(code, 200) } : {}),
    ...(typeof stack === 'string' ? { stack: cut(stack, STACK_MAX) } : {}),
  };
}

/**
 * Says on an error what Waymark knows of it, as `error.waymark`; an error that takes nothing stays as it is.
 * @param {unknown} error
 * @param {object} facts
 */
function tellOn(error, facts) {
  if (typeof error !== 'object' || error === null) return;
  try {
    const before = /** @type {{ waymark?: object }} */ (error).waymark;
    Object.defineProperty(error, 'waymark', {
      value: { ...before, ...facts },
      configurable: true,
      enumerable: false,
      writable: true,
    });
  } catch {
    // Frozen.
  }
}

module.exports = {
  canonical,
  checkName,
  cut,
  errorRecord,
  inputHash,
  jsonOf,
  keyOf,
  nameProblem,
  tellOn,
  withFacts,
};
