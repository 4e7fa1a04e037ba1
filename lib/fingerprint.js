// The fingerprint: what a run's environment was when a checkpoint was taken. Each collector tells one part; one
// that fails or hangs costs its part, never the checkpoint.

const fs = require('node:fs');
const path = require('node:path');
const { declared } = require('./environment-settings.js');
const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { hasNotes, readNotes, removeNotes } = require('./resume-notes.js');
const { limited } = require('./time-limit.js');
const { keepParsed } = require('./workflow-steps.js');

/**
 * @typedef {import('../index.js').Environment} Environment
 * @typedef {import('../index.js').EnvironmentOptions} EnvironmentOptions
 *
 * What collectors go by.
 * @typedef {object} Context
 * @property {import('../native.js').Place} place
 * @property {string} root the project's folder
 * @property {string} runsDir
 * @property {string} [storeDir] the store's folder, where it is not `.waymark` of the project
 * @property {string} runDir
 * @property {string} runId
 * @property {EnvironmentOptions} declared
 * @property {number} timeoutMs
 * @property {() => Record<string, any> | undefined} record `run.json`, read when it is asked for
 *
 * @typedef {object} Collector
 * @property {string} name the member of the fingerprint that it tells
 * @property {boolean} [unlimited] it keeps to the time limit by itself
 * @property {(context: Context) => unknown} collect what it tells, or a promise of it; null: there is nothing to tell
 * @property {(context: Context) => unknown} collectSync
 * @property {(context: Context, then: any) => Promise<unknown>} [look] the same as `then` tells of, now
 */

const FORMAT = 1;
const TIMEOUT_MS = 3_000;
/** What the manifest takes, in bytes of JSON. */
const MAX_BYTES = 64 * 1024;

/**
 * Each is loaded when it is asked: a step's process pays for every file.
 * @type {Readonly<Record<string, () => Collector>>}
 */
const COLLECTORS = {
  git: () => require('./collectors/git.js').git,
  workflow: () => require('./collectors/workflow.js').workflow,
  versions: () => require('./collectors/versions.js').versions,
  ports: () => require('./collectors/ports.js').ports,
  variables: () => require('./collectors/variables.js').variables,
  tools: () => require('./collectors/tools.js').tools,
  files: () => require('./collectors/files.js').files,
  host: () => require('./collectors/host.js').host,
  custom: () => require('./collectors/custom.js').custom,
};
const NAMES = Object.keys(COLLECTORS);
/** Those that tell nothing unless this is declared. @type {Readonly<Record<string, keyof EnvironmentOptions>>} */
const DECLARED = {
  ports: 'ports',
  variables: 'variables',
  tools: 'tools',
  files: 'files',
  custom: 'collectors',
};

/** Those that were loaded: asking for a module again costs more than most of them. @type {Map<string, Collector>} */
const loaded = new Map();

/** @param {(name: string) => boolean} isWanted @returns {Collector[]} */
function collectors(isWanted) {
  /** @type {Collector[]} */
  const found = [];
  for (const name of NAMES) {
    if (!isWanted(name)) continue;
    let one = loaded.get(name);
    if (one === undefined) {
      one = COLLECTORS[name]();
      loaded.set(name, one);
    }
    found.push(one);
  }
  return found;
}

/** @param {Context} context */
function declaredOf({ declared }) {
  return (/** @type {string} */ name) =>
    !Object.hasOwn(DECLARED, name) || declared[DECLARED[name]] !== undefined;
}

/**
 * The project that runs belong to: the folder with `.claude`, else that of the configuration, else the one with
 * the folder of runs.
 * @param {string} runsDir
 * @param {string | undefined} configFile
 * @returns {string}
 */
function projectOf(runsDir, configFile) {
  const parts = runsDir.split(path.sep);
  const at = parts.lastIndexOf('.claude');
  if (at > 0) return parts.slice(0, at).join(path.sep) || path.sep;
  return path.dirname(configFile ?? runsDir);
}

/**
 * @param {Omit<Context, 'timeoutMs' | 'record' | 'runDir'>} ground
 * @returns {Context}
 */
function contextOf(ground) {
  const runDir = path.join(ground.runsDir, ground.runId);
  /** @type {Record<string, any> | undefined} */
  let found;
  let isRead = false;
  return {
    ...ground,
    runDir,
    timeoutMs: ground.declared.timeoutMs ?? TIMEOUT_MS,
    record: () => {
      if (isRead) return found;
      isRead = true;
      try {
        found = JSON.parse(fs.readFileSync(path.join(runDir, 'run.json'), 'utf8'));
      } catch {
        // Taking the checkpoint says what is wrong with it.
      }
      return found;
    },
  };
}

/** @param {unknown} error @returns {{ failed: string }} */
function failure(error) {
  const { message } = /** @type {Error} */ (error);
  return { failed: String(message ?? error).slice(0, 500) };
}

/**
 * @param {Context} context
 * @param {number} now
 * @returns {Promise<Environment>}
 */
async function takeFingerprint(context, now) {
  return asked(context, now, declaredOf(context), (one) => one.collect(context));
}

/**
 * @param {Context} context
 * @param {number} now
 * @returns {Environment}
 */
function takeFingerprintSync(context, now) {
  const parts = collectors(declaredOf(context)).map((one) => {
    try {
      return [one.name, one.collectSync(context)];
    } catch (error) {
      return [one.name, failure(error)];
    }
  });
  return whole(context, now, parts);
}

/**
 * The same environment, as it is now.
 * @param {Context} context
 * @param {Environment | undefined} then
 * @param {number} now
 * @returns {Promise<Environment>}
 */
async function lookAgain(context, then, now) {
  const was = /** @type {any} */ (then ?? {});
  /** @param {string} name */
  const isTold = (name) => typeof was[name] === 'object' && was[name] && !was[name].failed;
  return asked(context, now, isTold, (one) =>
    one.look ? one.look(context, was[one.name]) : one.collect(context),
  );
}

/**
 * Asks all at once, each for as long as it may take.
 * @param {Context} context
 * @param {number} now
 * @param {(name: string) => boolean} isWanted
 * @param {(one: Collector) => unknown} ask
 * @returns {Promise<Environment>}
 */
async function asked(context, now, isWanted, ask) {
  const parts = collectors(isWanted).map((one) => {
    try {
      const told = ask(one);
      // Most are known at once, and need neither a promise nor a timer.
      return isPromise(told) ? inTime(one, told, context.timeoutMs) : [one.name, told];
    } catch (error) {
      return [one.name, failure(error)];
    }
  });
  return whole(context, now, await Promise.all(parts));
}

/**
 * Also one of another realm, such as the core's is where modules are loaded into a context of their own.
 * @param {any} told
 * @returns {told is Promise<unknown>}
 */
function isPromise(told) {
  return typeof told?.then === 'function';
}

/**
 * @param {Collector} one
 * @param {Promise<unknown>} told
 * @param {number} timeoutMs
 * @returns {Promise<unknown[]>}
 */
async function inTime(one, told, timeoutMs) {
  try {
    return [one.name, await (one.unlimited ? told : limited(told, timeoutMs))];
  } catch (error) {
    return [one.name, failure(error)];
  }
}

/**
 * @param {Context} context
 * @param {number} now
 * @param {unknown[][]} parts
 * @returns {Environment}
 */
function whole({ declared }, now, parts) {
  const told = Object.fromEntries(parts.filter(([, part]) => part !== null && part !== undefined));
  const expires = expiryOf(declared.expires, now);
  const taken = new Date(now).toISOString();
  return { format: FORMAT, taken, ...(expires === undefined ? {} : { expires }), ...told };
}

/**
 * @param {Date | string | undefined} expires
 * @param {number} now
 * @returns {string | undefined}
 */
function expiryOf(expires, now) {
  if (expires === undefined) return undefined;
  if (expires instanceof Date) return expires.toISOString();
  const time = /^\d{4}-\d\d/.test(expires) ? Date.parse(expires) : now + spanMs(expires);
  return new Date(time).toISOString();
}

/** @param {string} text such as 7d @returns {number} */
function spanMs(text) {
  const ms = native().spanMsSync(text);
  if (typeof ms === 'number') return ms;
  throw new WaymarkError(
    'ERR_OPTION_INVALID',
    `${JSON.stringify(text)} is no length of time; give whole numbers with w, d, h, min or s, such as 14d`,
  );
}

/**
 * As the manifest takes it. What is too large for it gives way, the largest part first.
 * @param {Environment} environment
 * @returns {string}
 */
function textOf(environment) {
  /** @type {any} */
  const left = { ...environment };
  for (;;) {
    const text = JSON.stringify(left);
    if (Buffer.byteLength(text) <= MAX_BYTES) return text;
    let [largest, size] = ['', 0];
    for (const [name, part] of Object.entries(left)) {
      const bytes = JSON.stringify(part).length;
      if (bytes > size) [largest, size] = [name, bytes];
    }
    left[largest] = { failed: `too large: ${size} bytes` };
  }
}

/**
 * Where a run's fingerprints are taken, and what is declared for them.
 * @param {import('../native.js').Place} place
 * @param {string} runId
 * @param {ReturnType<typeof import('./settings.js').configured>} file
 * @param {(EnvironmentOptions | false | undefined)[]} layers on top of the configuration
 */
function groundOf(place, runId, file, layers) {
  const all = declared(file.environment, ...layers);
  const runsDir = file.runsDir ?? native().locateSync(place, runId);
  if (typeof runsDir !== 'string') throw WaymarkError.from(runsDir, groundOf);
  const root = projectOf(runsDir, file.file);
  return {
    place,
    root,
    runsDir,
    storeDir: place.store === undefined ? undefined : path.resolve(place.store),
    declared: all === false ? {} : all,
    isOff: all === false,
  };
}

/**
 * @typedef {{ text: string, revision: string | undefined }} Taken
 */

/**
 * Takes the fingerprint of one checkpoint, with what was accepted to get there; undefined if none is wanted.
 * @param {import('../native.js').Place} place
 * @param {string} runId
 * @param {ReturnType<typeof import('./settings.js').configured>} file
 * @param {(EnvironmentOptions | false | undefined)[]} layers
 */
function prints(place, runId, file, layers) {
  let ground;
  try {
    ground = groundOf(place, runId, file, layers);
  } catch {
    // Where there are no runs, taking the checkpoint says so.
    return undefined;
  }
  if (ground.isOff) return undefined;
  const context = contextOf({ ...ground, runId });
  return {
    take: async () => withNotes(await takeFingerprint(context, Date.now()), context),
    takeSync: () => withNotes(takeFingerprintSync(context, Date.now()), context),
    /** @param {Taken | undefined} taken what is in a checkpoint now */
    done: (taken) => {
      keepParsed(place);
      if (taken?.revision === undefined) return;
      try {
        removeNotes(place, runId, taken.revision);
      } catch {
        // They would be in the checkpoint after this one as well: no harm.
      }
    },
  };
}

/**
 * @param {Environment} environment
 * @param {Context} context
 * @returns {Taken}
 */
function withNotes(environment, { place, runId, runDir }) {
  let found;
  try {
    found = hasNotes(runDir) ? readNotes(place, runId) : undefined;
  } catch (error) {
    const message = `what was accepted can't be told: ${failure(error).failed}`;
    const did = [{ option: 'unknown', message }];
    return { text: textOf({ ...environment, did }), revision: undefined };
  }
  if (!found) return { text: textOf(environment), revision: undefined };
  const { accepted, did } = found.notes;
  return { text: textOf({ ...environment, accepted, did }), revision: found.revision };
}

module.exports = {
  FORMAT,
  contextOf,
  groundOf,
  prints,
  lookAgain,
  projectOf,
  spanMs,
  takeFingerprint,
  takeFingerprintSync,
  textOf,
};
