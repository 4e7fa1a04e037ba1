// Which checkpoints stay, and what is archived: from the configuration, the manager's options and the
// call's, the later ones winning member by member.

const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { checkCheckpointId, checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('../index.js').RetentionPolicy} RetentionPolicy
 * @typedef {import('../native.js').RetentionRequest} RetentionRequest
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').CancelToken} CancelToken
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {{ keepLast?: number | 'all', retention?: RetentionPolicy, archive?: boolean }} Layer
 */

const DAY_MS = 24 * 60 * 60 * 1000;
/** How many of the newest stay unless something else is said. */
const KEEP_LAST = 5;
/** How long those of a class stay at least, in milliseconds. */
const CLASSES = { frequent: 7 * DAY_MS, milestone: 30 * DAY_MS, critical: Infinity };

/** @typedef {(name: string, value: any) => string | undefined} Member what is wrong with a value */

/** @type {Record<keyof RetentionPolicy, Member>} */
const MEMBERS = {
  keepLast: must(
    "a whole number from 1 on, or 'all'",
    (value) => value === 'all' || count(value, 1),
  ),
  keepHourly: number(),
  keepDaily: number(),
  keepWeekly: number(),
  keepMonthly: number(),
  keepYearly: number(),
  keepWithin: spanProblem,
  keepLabels: must('an array of labels', (value) => Array.isArray(value) && value.every(isName)),
  classes: classesProblem,
  utcOffsetMinutes: must(
    'a whole number of minutes from -1439 to 1439',
    (value) => Number.isSafeInteger(value) && Math.abs(value) <= 1439,
  ),
  archive: must('true or false', (value) => typeof value === 'boolean'),
};

/**
 * @param {string} expected
 * @param {(value: any) => boolean} test
 * @returns {Member}
 */
function must(expected, test) {
  return (name, value) => (test(value) ? undefined : `${name} must be ${expected}`);
}

function number() {
  return must('a whole number from 0 on', (value) => count(value, 0));
}

/** @param {any} value @param {number} least */
function count(value, least) {
  return Number.isSafeInteger(value) && value >= least && value <= 0xffff_ffff;
}

/** @param {any} value */
function isName(value) {
  return typeof value === 'string' && value !== '';
}

/** @type {Member} */
function spanProblem(name, value) {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return undefined;
  if (typeof value !== 'string') {
    return `${name} must be a length of time such as '36h', '30d', '2w' or 'forever', or milliseconds`;
  }
  const read = native().spanMsSync(value);
  if (typeof read === 'number') return undefined;
  return read.message.replace('option "retention"', name);
}

/** @type {Member} */
function classesProblem(name, value) {
  if (!isObject(value)) return `${name} must be an object`;
  for (const [key, span] of Object.entries(value)) {
    if (!Object.hasOwn(CLASSES, key)) {
      return `${name}.${key} is not known; known are ${Object.keys(CLASSES).join(', ')}`;
    }
    const problem = span === undefined ? undefined : spanProblem(`${name}.${key}`, span);
    if (problem) return problem;
  }
  return undefined;
}

/** @param {any} value */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * What is wrong with a retention policy; undefined if nothing is.
 * @param {any} policy
 * @returns {string | undefined}
 */
function retentionProblem(policy) {
  if (!isObject(policy)) return 'retention must be an object';
  for (const [name, value] of Object.entries(policy)) {
    if (!Object.hasOwn(MEMBERS, name)) {
      return `retention.${name} is not known; known are ${Object.keys(MEMBERS).join(', ')}`;
    }
    const member = MEMBERS[/** @type {keyof RetentionPolicy} */ (name)];
    const problem = value === undefined ? undefined : member(`retention.${name}`, value);
    if (problem) return problem;
  }
  return undefined;
}

/**
 * What is wrong with `keepLast` and `archive` beside a policy: each is said once in one place.
 * @param {Layer} layer
 * @returns {string | undefined}
 */
function twice({ retention, ...shorthands }) {
  for (const name of /** @type {const} */ (['keepLast', 'archive'])) {
    if (shorthands[name] !== undefined && retention?.[name] !== undefined) {
      return `${name} is given twice: by itself and in retention`;
    }
  }
  return undefined;
}

/**
 * @param {Record<string, any>} options checked one by one
 * @param {string} where
 */
function checkRetention(options, where) {
  const problem = twice(options);
  if (problem) throw new WaymarkError('ERR_OPTION_INVALID', `${where}: ${problem}`);
}

/** @param {number | string} span @returns {number} milliseconds */
function ms(span) {
  return typeof span === 'number' ? span : /** @type {number} */ (native().spanMsSync(span));
}

/**
 * @param {Layer[]} layers checked; the later ones win
 * @returns {RetentionRequest}
 */
function retentionRequest(...layers) {
  /** @type {Record<string, any>} */
  const all = {};
  /** @type {Record<string, number | string>} */
  const classes = { ...CLASSES };
  for (const { keepLast, archive, retention } of layers) {
    for (const [name, value] of Object.entries({
      ...retention,
      keepLast: keepLast ?? retention?.keepLast,
      archive: archive ?? retention?.archive,
    })) {
      if (value === undefined) continue;
      if (name === 'classes')
        Object.assign(classes, defined(/** @type {Record<string, any>} */ (value)));
      else all[name] = value;
    }
  }
  const { keepLast = KEEP_LAST, keepWithin } = all;
  return {
    keepLast: keepLast === 'all' ? 0 : keepLast,
    keepHourly: all.keepHourly ?? 0,
    keepDaily: all.keepDaily ?? 0,
    keepWeekly: all.keepWeekly ?? 0,
    keepMonthly: all.keepMonthly ?? 0,
    keepYearly: all.keepYearly ?? 0,
    keepWithin: keepWithin === undefined ? undefined : ms(keepWithin),
    keepLabels: all.keepLabels ?? [],
    frequent: ms(classes.frequent),
    milestone: ms(classes.milestone),
    critical: ms(classes.critical),
    utcOffsetMinutes: all.utcOffsetMinutes ?? 0,
    archive: all.archive ?? false,
  };
}

/** @param {Record<string, any>} object without undefined members */
function defined(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

/**
 * @param {import('../native.js').PruneOutcome} outcome
 * @param {boolean} [explain] whether rows carry sentences
 * @returns {import('../index.js').PruneOutcome}
 */
function pruned({ decisions, ...outcome }, explain = false) {
  const rows = decisions.map(({ explanation, ...row }) =>
    explain ? { ...row, explanation } : row,
  );
  return { ...outcome, decisions: rows };
}

const ARCHIVED = /** @type {const} */ ({ signal: 'signal' });
const UNARCHIVE = /** @type {const} */ ({
  remove: 'boolean',
  maxBytes: 'number',
  signal: 'signal',
  onProgress: 'function',
});

/**
 * @param {unknown[]} words
 * @param {string} where
 */
function archivedRequest([runId, options], where) {
  const { signal } = checkOptions(options, ARCHIVED, where);
  return { id: runId === undefined ? undefined : checkRunId(runId), signal };
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown[]} words
 */
async function archived({ run }, place, words) {
  const { id, signal } = archivedRequest(words, 'archived');
  const at = place();
  const call = (/** @type {CancelToken | undefined} */ token) => native().archived(at, id, token);
  return (await run(signal, call, undefined)).checkpoints;
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown[]} words
 */
function archivedSync({ unwrap, refuseAborted }, place, words) {
  const { id, signal } = archivedRequest(words, 'archivedSync');
  refuseAborted(signal);
  return unwrap(native().archivedSync(place(), id), archivedSync).checkpoints;
}

/**
 * @param {unknown[]} words
 * @param {() => number | undefined} configured the project's budget
 * @param {string} where
 */
function unarchiveRequest([runId, checkpointId, options], configured, where) {
  const checked = checkOptions(options, UNARCHIVE, where);
  const { remove = false, maxBytes, signal, onProgress } = checked;
  const [id, checkpoint] = [checkRunId(runId), checkCheckpointId(checkpointId)];
  const request = { checkpointId: checkpoint, remove, maxStoreBytes: maxBytes ?? configured() };
  return { id, request, signal, onProgress };
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {() => number | undefined} configured
 * @param {unknown[]} words
 */
async function unarchive({ run }, place, configured, words) {
  const { id, request, signal, onProgress } = unarchiveRequest(words, configured, 'unarchive');
  const at = place();
  const call = (/** @type {CancelToken | undefined} */ token) =>
    native().unarchive(at, id, request, token);
  return run(signal, call, undefined, onProgress);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {() => number | undefined} configured
 * @param {unknown[]} words
 */
function unarchiveSync({ unwrap, refuseAborted }, place, configured, words) {
  const { id, request, signal } = unarchiveRequest(words, configured, 'unarchiveSync');
  refuseAborted(signal);
  return unwrap(native().unarchiveSync(place(), id, request), unarchiveSync);
}

module.exports = {
  retentionProblem,
  twice,
  checkRetention,
  retentionRequest,
  pruned,
  archived,
  archivedSync,
  unarchive,
  unarchiveSync,
};
