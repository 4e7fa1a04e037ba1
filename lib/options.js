// Options are checked strictly: a misspelt name is an error, not a silent default.

const { WaymarkError } = require('./error.js');

/**
 * @typedef {'string' | 'id' | 'boolean' | 'number' | 'keepLast' | 'step' | 'signal' | 'strings' | 'function' | 'capture' | 'count' | 'path' | 'text' | 'policy' | 'parts' | 'time' | 'strategy' | 'positive' | 'restore' | 'unfinished' | 'facts' | 'any' | 'kinds' | 'textOrTexts' | 'order' | 'retention' | 'alerts' | 'revision' | 'recovery' | 'environment' | 'resumePolicy'} Kind
 */

const POLICIES = ['refuse', 'keep-both', 'overwrite', 'merge'];
const STRATEGIES = ['immediate', 'staged', 'progressive'];
/** The kinds of events in the audit log. */
const EVENT_KINDS = [
  'created',
  'updated',
  'completed',
  'failed',
  'restored',
  'undone',
  'pruned',
  'cleaned',
  'imported',
  'damaged',
  'budget',
  'operation_failed',
];
const PARTS = ['state', 'registry', 'run', 'artifacts', 'workspace'];

/**
 * A kind whose check says what is wrong with a value.
 * @param {string} expected
 * @param {(value: any) => string | undefined} problem undefined if nothing is
 */
const byProblem = (expected, problem) => ({
  expected,
  test: (/** @type {any} */ value) => problem(value) === undefined,
  problem,
});

/** @type {Record<Kind, { expected: string, test: (value: any) => boolean, problem?: (value: any) => string | undefined }>} */
const KINDS = {
  string: {
    expected: 'a non-empty string',
    test: (value) => typeof value === 'string' && value !== '',
  },
  // What an id may be is the core's to say.
  id: { expected: 'a string', test: (value) => typeof value === 'string' },
  boolean: { expected: 'true or false', test: (value) => typeof value === 'boolean' },
  number: {
    expected: 'a finite number',
    test: (value) => typeof value === 'number' && Number.isFinite(value),
  },
  keepLast: {
    expected: "a whole number from 1 on, or 'all'",
    test: (value) => value === 'all' || (Number.isSafeInteger(value) && value >= 1),
  },
  step: {
    expected: 'a number or a name',
    test: (value) => typeof value === 'number' || typeof value === 'string',
  },
  signal: {
    expected: 'an AbortSignal',
    test: (value) =>
      typeof value?.aborted === 'boolean' && typeof value?.addEventListener === 'function',
  },
  function: { expected: 'a function', test: (value) => typeof value === 'function' },
  capture: byProblem('false or capture options', captureProblem),
  count: {
    expected: 'a whole number from 0 on',
    test: (value) => Number.isSafeInteger(value) && value >= 0,
  },
  path: { expected: 'a non-empty string, or bytes', test: isPath },
  text: {
    expected: 'true, false, or an array of paths',
    test: (value) => typeof value === 'boolean' || (Array.isArray(value) && value.every(isPath)),
  },
  // What may be said is the core's to say; it names what is wrong.
  facts: {
    expected: 'an object of facts',
    test: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  },
  textOrTexts: {
    expected: 'a string or an array of strings, none of them empty',
    test: (value) =>
      (Array.isArray(value) ? value : [value]).every(
        (item) => typeof item === 'string' && item !== '',
      ),
  },
  order: {
    expected: "'newest' or 'oldest'",
    test: (value) => value === 'newest' || value === 'oldest',
  },
  unfinished: {
    expected: "'finish' or 'undo'",
    test: (value) => value === 'finish' || value === 'undo',
  },
  policy: { expected: oneOf(POLICIES), test: (value) => POLICIES.includes(value) },
  strategy: { expected: oneOf(STRATEGIES), test: (value) => STRATEGIES.includes(value) },
  positive: {
    expected: 'a whole number from 1 on',
    test: (value) => Number.isSafeInteger(value) && value >= 1,
  },
  time: {
    expected: 'a Date, a time as ISO 8601 text, or milliseconds since 1970',
    test: isTime,
  },
  parts: {
    expected: `an array of ${PARTS.map((part) => `'${part}'`).join(', ')}, { glob }, { step } and { path, root }`,
    test: (value) => Array.isArray(value) && value.every(isPart),
  },
  restore: byProblem('restore options', restoreProblem),
  alerts: byProblem('thresholds', alertsProblem),
  recovery: byProblem('settings of recovery', recoveryProblem),
  environment: byProblem('false or what is declared of the environment', environmentProblem),
  resumePolicy: byProblem('a policy of resumes', policyProblem),
  revision: {
    expected: 'a revision, or null where nothing must be there',
    test: (value) => value === null || (typeof value === 'string' && value !== ''),
  },
  // Checked where it is used.
  any: { expected: 'anything', test: () => true },
  kinds: byProblem(`an array of ${oneOf(EVENT_KINDS)}`, kindsProblem),
  retention: byProblem('a retention policy', retentionProblem),
  strings: {
    expected: 'an array of strings',
    test: (value) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
  },
};

/**
 * Loaded when there is something to check: a runner that starts with the preload pays for every file.
 * @param {any} value
 * @returns {string | undefined}
 */
function captureProblem(value) {
  return require('./capture.js').captureProblem(value);
}

/**
 * @param {any} value
 * @returns {string | undefined}
 */
function retentionProblem(value) {
  return require('./retention.js').retentionProblem(value);
}

/** Loaded when there is something to check. @param {any} value @returns {string | undefined} */
function alertsProblem(value) {
  return require('./alerts.js').alertsProblem(value);
}

/** @param {any} value @returns {string | undefined} */
function kindsProblem(value) {
  const list = Array.isArray(value) ? value : [value];
  const wrong = list.find((item) => !EVENT_KINDS.includes(item));
  if (wrong === undefined && Array.isArray(value) && !value.includes(undefined)) return undefined;
  return `option "kinds" must be an array of ${oneOf(EVENT_KINDS)}; ${show(wrong ?? value)} is none`;
}

/** Loaded when there is something to check. @param {any} value @returns {string | undefined} */
function recoveryProblem(value) {
  return require('./recovery/rules.js').recoveryProblem(value);
}

/** Loaded when there is something to check. @param {any} value @returns {string | undefined} */
function environmentProblem(value) {
  return require('./environment-settings.js').environmentProblem(value);
}

/** Loaded when there is something to check. @param {any} value @returns {string | undefined} */
function policyProblem(value) {
  return require('./gate.js').policyProblem(value);
}

/** @param {any} value a path as text, or in bytes where it is no text */
function isPath(value) {
  return (typeof value === 'string' || value instanceof Uint8Array) && value.length > 0;
}

/** @param {string[]} names */
function oneOf(names) {
  return names.map((name) => `'${name}'`).join(', ');
}

/** @param {any} value */
function isTime(value) {
  if (typeof value === 'string') {
    // Node takes "5" for a month, and the 31st of February for the 3rd of March.
    const [day] = /^\d{4}-\d\d(?:-\d\d)?/.exec(value) ?? [];
    const begins = day === undefined ? Number.NaN : Date.parse(day);
    if (Number.isNaN(begins) || Number.isNaN(Date.parse(value))) return false;
    return new Date(begins).toISOString().startsWith(/** @type {string} */ (day));
  }
  const ms = typeof value === 'number' ? value : value?.getTime?.();
  // Beyond these no Date can be.
  return typeof ms === 'number' && Math.abs(ms) <= 8.64e15;
}

/** @param {any} value a part of a checkpoint */
function isPart(value) {
  if (typeof value === 'string') return PARTS.includes(value);
  if (typeof value !== 'object' || value === null) return false;
  const names = Object.keys(value).sort().join();
  if (names === 'glob') return typeof value.glob === 'string' && value.glob !== '';
  if (names === 'step') return KINDS.step.test(value.step);
  return names === 'path,root' && typeof value.root === 'string' && isPath(value.path);
}

/**
 * What is wrong with the settings of restores; undefined if nothing is.
 * @param {any} value
 * @returns {string | undefined}
 */
function restoreProblem(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 'restore must be an object';
  }
  for (const [name, one] of Object.entries(value)) {
    if (name === 'files') {
      if (one !== undefined && typeof one !== 'boolean')
        return 'restore.files must be true or false';
    } else if (name === 'onConflict') {
      if (one !== undefined && !POLICIES.includes(one)) {
        return `restore.onConflict must be ${KINDS.policy.expected}`;
      }
    } else {
      return `restore.${name} is not known; known are files, onConflict`;
    }
  }
  return undefined;
}

/**
 * Checks an options object against what a function knows.
 * @template {Record<string, Kind>} S
 * @param {unknown} options
 * @param {S} known
 * @param {string} where the function's name, for the message
 * @returns {Record<string, any>} a copy without undefined values
 */
function checkOptions(options, known, where) {
  if (options === undefined) return {};
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw new WaymarkError('ERR_OPTION_INVALID', `${where}: options must be an object`);
  }
  /** @type {Record<string, any>} */
  const checked = {};
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) {
      throw new WaymarkError(
        'ERR_OPTION_UNKNOWN',
        `${where}: unknown option ${JSON.stringify(name)}; known are ${Object.keys(known).join(', ')}`,
      );
    }
    if (value === undefined) continue;
    const kind = KINDS[known[name]];
    if (!kind.test(value)) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        kind.problem
          ? `${where}: ${kind.problem(value)}`
          : `${where}: option ${JSON.stringify(name)} must be ${kind.expected}, not ${show(value)}`,
      );
    }
    checked[name] = value;
  }
  return checked;
}

/**
 * @param {unknown} value
 * @returns {string} short text for an error message
 */
function show(value) {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80));
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function checkRunId(value) {
  if (typeof value === 'string') return value;
  throw new WaymarkError('ERR_RUN_ID_INVALID', `run id must be a string, not ${show(value)}`, {
    reason: 'type',
  });
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function checkCheckpointId(value) {
  if (typeof value === 'string') return value;
  throw new WaymarkError(
    'ERR_CHECKPOINT_ID_INVALID',
    `checkpoint id must be a string, not ${show(value)}`,
    { reason: 'type' },
  );
}

/**
 * @param {unknown} value
 * @returns {number | string}
 */
function checkStep(value) {
  if (typeof value === 'number' || typeof value === 'string') return value;
  throw new WaymarkError(
    'ERR_STEP_INVALID',
    `step must be a number or a name, not ${show(value)}`,
    {
      reason: 'type',
    },
  );
}

/**
 * A step as it comes from a command line: text that spells a number is that number.
 * @param {unknown} value
 * @returns {unknown}
 */
function stepFromText(value) {
  if (typeof value !== 'string' || value.trim() === '') return value;
  const number = Number(value);
  return Number.isNaN(number) ? value : number;
}

/**
 * The caller's state as JSON text.
 * @param {unknown} state
 * @returns {string}
 */
function stateToJson(state) {
  let text;
  try {
    text = JSON.stringify(state);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (isRangeError(cause) && /call stack/i.test(message)) {
      throw new WaymarkError(
        'ERR_STATE_TOO_DEEP',
        'the step state is nested too deep for JSON.stringify; flatten it or store it as text',
        { cause },
      );
    }
    if (isRangeError(cause) && /string length/i.test(message)) {
      throw new WaymarkError(
        'ERR_STATE_TOO_LARGE',
        'the step state is larger than a string can be; write large data to a file of the run and keep its path in the state',
        { cause },
      );
    }
    throw new WaymarkError(
      'ERR_STATE_NOT_JSON',
      `the step state is not JSON: ${message}; pass what JSON.stringify accepts`,
      { cause },
    );
  }
  if (text === undefined) {
    throw new WaymarkError(
      'ERR_STATE_NOT_JSON',
      `the step state is not JSON: ${typeof state} has no JSON form; pass what JSON.stringify accepts`,
    );
  }
  return text;
}

/**
 * Also true for errors of another realm, such as Jest's.
 * @param {unknown} error
 * @returns {boolean}
 */
function isRangeError(error) {
  return /** @type {{ name?: unknown } | null} */ (error)?.name === 'RangeError';
}

module.exports = {
  checkOptions,
  checkRunId,
  checkCheckpointId,
  checkStep,
  stepFromText,
  stateToJson,
  restoreProblem,
  EVENT_KINDS,
};
