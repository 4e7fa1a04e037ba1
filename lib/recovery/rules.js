// What is done about a failure: rules, read from top to bottom. The first that fits a failure says which strategies
// are tried, one after the other, each until its limit is used up. `recovery` of waymark.config.json comes first.
// Pure.

const { BACKOFF } = require('./backoff.js');
const { BREAKER } = require('./breaker.js');
const { CLASSES } = require('./classes.js');

/**
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').RecoverySettings} RecoverySettings
 * @typedef {import('../../index.js').RecoveryRule} RecoveryRule
 * @typedef {import('../../index.js').RecoveryStrategy} RecoveryStrategy
 *
 * Settings with nothing left open.
 * @typedef {object} Settled
 * @property {RecoveryRule[]} rules
 * @property {import('./classes.js').ClassSign[]} classes
 * @property {Record<string, import('../../index.js').RecoveryWorker>} workers
 * @property {import('./breaker.js').Settings} breaker
 * @property {number | undefined} timeLimitMs
 * @property {number | undefined} stallMs
 * @property {number} graceMs
 * @property {string | undefined} splitter
 * @property {'all' | 'state' | false} restore
 */

const FOREVER = 'forever';

/** What holds where the configuration says nothing. @type {readonly RecoveryRule[]} */
const RULES = [
  {
    name: 'what passes by itself',
    when: { class: ['network', 'overloaded'] },
    do: [
      { retry: { limit: 5, delayMs: 2_000, maxDelayMs: 120_000 } },
      { reassign: {} },
      { manual: {} },
    ],
  },
  {
    name: 'too large for this worker',
    when: { class: ['memory', 'timeout', 'stalled', 'killed'] },
    do: [{ retry: { limit: 1 } }, { reassign: {} }, { decompose: {} }, { manual: {} }],
  },
  {
    name: 'the worker is broken',
    when: { class: ['crash', 'not_started', 'unexpected'] },
    do: [{ retry: { limit: 1 } }, { reassign: {} }, { manual: {} }],
  },
  {
    name: 'only a person can mend it',
    when: { class: ['permission', 'disk_full', 'missing', 'status'] },
    do: [{ manual: {} }],
  },
  { name: 'the run is no longer ours', when: { class: ['lease'] }, do: [{ fail: {} }] },
  {
    name: 'everything else',
    when: {},
    do: [{ retry: { limit: 2 } }, { reassign: {} }, { manual: {} }],
  },
];

const DEFAULTS = { graceMs: 10_000, restore: /** @type {const} */ ('all') };

/** What a retry is where its rule says nothing. */
const RETRY = { limit: 2, ...BACKOFF };

/**
 * Layers of settings as one: rules and classes of later layers come first, the rest is replaced.
 * @param {(RecoverySettings | undefined)[]} layers
 * @returns {Settled}
 */
function settle(...layers) {
  /** @type {Settled} */
  const settled = {
    rules: [...RULES],
    classes: [],
    workers: {},
    breaker: { ...BREAKER },
    timeLimitMs: undefined,
    stallMs: undefined,
    splitter: undefined,
    ...DEFAULTS,
  };
  for (const layer of layers) {
    if (layer === undefined) continue;
    const { rules = [], classes = [], workers = {}, breaker = {}, ...rest } = layer;
    settled.rules.unshift(...rules);
    settled.classes.unshift(...classes);
    settled.workers = { ...settled.workers, ...workers };
    Object.assign(settled.breaker, breaker);
    Object.assign(settled, rest);
  }
  // The caller's own way to do it is a worker, too: the first that is asked.
  settled.workers = { default: {}, ...settled.workers };
  return settled;
}

/** @param {RecoveryRule} rule @param {Pick<FailureRecord, 'class' | 'step' | 'worker'>} failure */
function fits({ when = {} }, failure) {
  const of = (/** @type {unknown[] | undefined} */ list, /** @type {unknown} */ one) =>
    list === undefined || list.includes(one);
  return (
    of(when.class, failure.class) && of(when.step, failure.step) && of(when.worker, failure.worker)
  );
}

/**
 * @typedef {object} Chosen
 * @property {'retry' | 'reassign' | 'decompose' | 'manual' | 'fail'} kind
 * @property {string} rule its name
 * @property {number} at which of the rule's strategies
 * @property {number} used how often it was chosen before, in this series
 * @property {Record<string, any>} how
 * @property {string} [worker] of `reassign`: to whom
 */

/**
 * What is to be done about a failure.
 * @param {Settled} settled
 * @param {Pick<FailureRecord, 'class' | 'step' | 'worker'>} failure
 * @param {Pick<FailureRecord, 'chosen' | 'worker'>[]} series the step's failures before this one, since it was last
 * done or decided on
 * @param {{ splits: boolean }} can whether the work can be split
 * @returns {Chosen}
 */
function choose(settled, failure, series, can) {
  const rule = settled.rules.find((one) => fits(one, failure)) ?? RULES[RULES.length - 1];
  for (const [at, strategy] of rule.do.entries()) {
    const [kind, how = {}] = /** @type {[Chosen['kind'], Record<string, any>]} */ (
      Object.entries(strategy)[0]
    );
    // By kind, not by place: the failures of a series may be of different classes, and the rules may change.
    const used = series.filter((one) => one.chosen?.kind === kind).length;
    const chosen = { kind, rule: rule.name, at, used, how };
    if (kind === 'retry' && used < (how.limit ?? RETRY.limit)) return chosen;
    if (kind === 'reassign') {
      const worker = nextWorker(settled, failure.worker, series, how.to);
      if (worker !== undefined) return { ...chosen, worker };
    }
    if (kind === 'decompose' && used === 0 && can.splits) return chosen;
    if (kind === 'manual' || kind === 'fail') return chosen;
  }
  return { kind: 'fail', rule: rule.name, at: rule.do.length, used: 0, how: {} };
}

/**
 * The next worker that has not tried it yet.
 * @param {Settled} settled
 * @param {string} current
 * @param {Pick<FailureRecord, 'worker'>[]} series
 * @param {string[]} [to]
 * @returns {string | undefined}
 */
function nextWorker({ workers }, current, series, to = Object.keys(workers)) {
  const tried = new Set([current, ...series.map((one) => one.worker)]);
  return to.find((name) => Object.hasOwn(workers, name) && !tried.has(name));
}

const LIMITS = {
  timeLimitMs: 'a number of milliseconds above 0',
  stallMs: 'a number of milliseconds above 0',
  graceMs: 'a number of milliseconds from 0 on',
};
const WORKER = /^[a-z0-9-]{1,48}$/;
const KNOWN = [
  'rules',
  'classes',
  'workers',
  'breaker',
  'timeLimitMs',
  'stallMs',
  'graceMs',
  'splitter',
  'restore',
];

/**
 * What is wrong with the settings of recovery; undefined if nothing is.
 * @param {any} value
 * @returns {string | undefined}
 */
function recoveryProblem(value) {
  if (!isObject(value)) return 'recovery must be an object';
  for (const name of Object.keys(value)) {
    if (!KNOWN.includes(name)) return unknown('recovery', name, KNOWN);
  }
  for (const [name, expected] of Object.entries(LIMITS)) {
    const one = value[name];
    if (one !== undefined && !isCount(one, name === 'graceMs' ? 0 : 1)) {
      return `recovery.${name} must be ${expected}`;
    }
  }
  if (value.splitter !== undefined && !isText(value.splitter)) {
    return 'recovery.splitter must be the path of a module';
  }
  if (value.restore !== undefined && !['all', 'state', false].includes(value.restore)) {
    return "recovery.restore must be 'all', 'state' or false";
  }
  return (
    problemIn(value.rules, 'recovery.rules', ruleProblem) ??
    problemIn(value.classes, 'recovery.classes', classProblem) ??
    workersProblem(value.workers) ??
    breakerProblem(value.breaker) ??
    reassignProblem(value)
  );
}

/**
 * @param {any} list
 * @param {string} where
 * @param {(one: any, where: string) => string | undefined} problem
 */
function problemIn(list, where, problem) {
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) return `${where} must be an array`;
  for (const [at, one] of list.entries()) {
    const found = isObject(one)
      ? problem(one, `${where}[${at}]`)
      : `${where}[${at}] must be an object`;
    if (found) return found;
  }
  return undefined;
}

/** @param {any} rule @param {string} where */
function ruleProblem(rule, where) {
  const { name, when = {}, do: list } = rule;
  const strange = Object.keys(rule).find((one) => !['name', 'when', 'do'].includes(one));
  if (strange !== undefined) return unknown(where, strange, ['name', 'when', 'do']);
  if (!isText(name)) return `${where}.name must say in words what the rule is for`;
  if (!isObject(when)) return `${where}.when must be an object`;
  for (const [member, list] of Object.entries(when)) {
    if (!['class', 'step', 'worker'].includes(member)) {
      return unknown(`${where}.when`, member, ['class', 'step', 'worker']);
    }
    const isRight = (/** @type {unknown} */ one) =>
      isText(one) || (member === 'step' && typeof one === 'number');
    if (!Array.isArray(list) || list.length === 0 || !list.every(isRight)) {
      return `${where}.when.${member} must be an array of ${member === 'step' ? 'steps' : 'names'}`;
    }
  }
  if (!Array.isArray(list) || list.length === 0) {
    return `${where}.do must be an array of strategies`;
  }
  for (const [at, strategy] of list.entries()) {
    const found = strategyProblem(strategy, `${where}.do[${at}]`);
    if (found) return found;
  }
  return undefined;
}

const STRATEGIES = /** @type {Record<string, string[]>} */ ({
  retry: ['limit', 'delayMs', 'factor', 'maxDelayMs', 'jitter'],
  reassign: ['to'],
  decompose: [],
  manual: ['waitMs', 'suggest'],
  fail: [],
});

/** @param {any} strategy @param {string} where */
function strategyProblem(strategy, where) {
  const names = isObject(strategy) ? Object.keys(strategy) : [];
  const [kind] = names;
  if (names.length !== 1 || !Object.hasOwn(STRATEGIES, kind)) {
    return `${where} must be an object with one of ${Object.keys(STRATEGIES).join(', ')}`;
  }
  const how = strategy[kind];
  if (!isObject(how)) return `${where}.${kind} must be an object`;
  for (const [name, value] of Object.entries(how)) {
    const place = `${where}.${kind}.${name}`;
    if (!STRATEGIES[kind].includes(name)) {
      return unknown(`${where}.${kind}`, name, STRATEGIES[kind]);
    }
    if (name === 'to') {
      const isList = Array.isArray(value) && value.length > 0 && value.every(isText);
      if (!isList) return `${place} must be an array of workers`;
    } else if (name === 'suggest') {
      if (!isText(value)) return `${place} must be a text`;
    } else if (name === 'waitMs') {
      if (value !== FOREVER && !isCount(value, 0)) {
        return `${place} must be a number of milliseconds from 0 on, or 'forever'`;
      }
    } else if (name === 'jitter') {
      if (!(typeof value === 'number' && value >= 0 && value <= 1))
        return `${place} must be from 0 to 1`;
    } else if (name === 'factor') {
      if (!(typeof value === 'number' && value >= 1 && value <= 100)) {
        return `${place} must be from 1 to 100`;
      }
    } else if (!isCount(value, 0)) return `${place} must be a whole number from 0 on`;
  }
  return undefined;
}

/** @param {any} sign @param {string} where */
function classProblem(sign, where) {
  const lists = ['kinds', 'exitCodes', 'signals', 'codes'];
  for (const [name, value] of Object.entries(sign)) {
    if (name === 'class') continue;
    if (name === 'text') {
      try {
        new RegExp(value, 'im');
        if (isText(value)) continue;
      } catch {
        // Told below.
      }
      return `${where}.text must be a regular expression`;
    }
    if (!lists.includes(name)) return unknown(where, name, ['class', 'text', ...lists]);
    const isRight = name === 'exitCodes' ? Number.isSafeInteger : isText;
    if (!Array.isArray(value) || value.length === 0 || !value.every(isRight)) {
      return `${where}.${name} must be an array of ${name === 'exitCodes' ? 'numbers' : 'names'}`;
    }
  }
  if (!isText(sign.class)) return `${where}.class must be the class's name`;
  return Object.keys(sign).length > 1 ? undefined : `${where} must say how the class is known`;
}

/** @param {any} workers */
function workersProblem(workers) {
  if (workers === undefined) return undefined;
  if (!isObject(workers)) return 'recovery.workers must be an object';
  for (const [name, worker] of Object.entries(workers)) {
    const where = `recovery.workers.${name}`;
    if (!WORKER.test(name)) return `${where}: a worker's name has a-z, 0-9 and "-", at most 48`;
    if (!isObject(worker)) return `${where} must be an object`;
    for (const [member, value] of Object.entries(worker)) {
      if (member === 'env') {
        if (!isObject(value) || !Object.values(value).every((one) => typeof one === 'string')) {
          return `${where}.env must be an object of texts`;
        }
      } else if (member === 'command' || member === 'args') {
        const isList = Array.isArray(value) && value.every((one) => typeof one === 'string');
        if (!isList || (member === 'command' && value.length === 0)) {
          return `${where}.${member} must be an array of words`;
        }
      } else return unknown(where, member, ['env', 'command', 'args']);
    }
  }
  return undefined;
}

/** @param {any} breaker */
function breakerProblem(breaker) {
  if (breaker === undefined) return undefined;
  if (!isObject(breaker)) return 'recovery.breaker must be an object';
  for (const [name, value] of Object.entries(breaker)) {
    if (!Object.hasOwn(BREAKER, name))
      return unknown('recovery.breaker', name, Object.keys(BREAKER));
    if (name === 'classes') {
      if (!Array.isArray(value) || !value.every(isText)) {
        return 'recovery.breaker.classes must be an array of classes';
      }
    } else if (!isCount(value, 1))
      return `recovery.breaker.${name} must be a whole number from 1 on`;
  }
  return undefined;
}

/** Workers that a rule names have to be there. @param {any} value */
function reassignProblem({ rules = [], workers = {} }) {
  for (const { name, do: list } of rules) {
    for (const { reassign } of list) {
      const missing = reassign?.to?.find(
        (/** @type {string} */ one) => one !== 'default' && !Object.hasOwn(workers, one),
      );
      if (missing !== undefined) {
        return `the rule ${JSON.stringify(name)} of recovery.rules names the worker ${missing}, which recovery.workers does not have`;
      }
    }
  }
  return undefined;
}

/** @param {string} where @param {string} name @param {string[]} known */
function unknown(where, name, known) {
  const others = known.length === 0 ? 'it takes nothing' : `known are ${known.join(', ')}`;
  return `${where}.${name} is not known; ${others}`;
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {unknown} value */
function isText(value) {
  return typeof value === 'string' && value !== '';
}

/** @param {unknown} value @param {number} from */
function isCount(value, from) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= from;
}

/** Every class that a failure can be given without a configuration's help. */
const CLASS_NAMES = [...new Set(CLASSES.map((one) => one.class))];

module.exports = {
  CLASS_NAMES,
  FOREVER,
  RETRY,
  RULES,
  STRATEGIES,
  WORKER,
  choose,
  nextWorker,
  recoveryProblem,
  settle,
};
