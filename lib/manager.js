const channels = require('node:diagnostics_channel');
const path = require('node:path');
const { version } = require('../package.json');
const archives = require('./archive.js');
const {
  lazyCheckpoint,
  parseCheckpoint,
  withEnvironment,
  withLazyCheckpoint,
} = require('./checkpoint.js');
const diffing = require('./diff.js');
const { WaymarkError } = require('./error.js');
const captured = require('./files.js');
const leasing = require('./lease.js');
const { freeBeside, freeLater, libc, native } = require('./native.js');
const {
  checkCheckpointId,
  checkOptions,
  checkRunId,
  checkStep,
  EVENT_KINDS,
  stateToJson,
} = require('./options.js');
const { notePlace, placeOf } = require('./place.js');
const { configured } = require('./settings.js');
const { gcRequest, ofOneRun, thenGc, thenGcSync, verifyRequest } = require('./upkeep.js');

/**
 * @typedef {import('../native.js').Failure} Failure
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').CancelToken} CancelToken
 * @typedef {import('../native.js').Listing} Listing
 * @typedef {(token: CancelToken) => void} Tell
 */

const MAX_STATE_BYTES = 64 * 1024 * 1024;
const MAX_AGE_DAYS = 7;

const CREATE = /** @type {const} */ ({
  keepLast: 'keepLast',
  retention: 'retention',
  maxStateBytes: 'number',
  capture: 'capture',
  maxBytes: 'number',
  facts: 'facts',
  environment: 'environment',
  signal: 'signal',
  onProgress: 'function',
});
/** Whether checkpoints take facts: tasks, guards and triggers then say what theirs are of. */
const FACTS = Object.hasOwn(CREATE, 'facts');
const RECOVERY = /** @type {const} */ ({ recovery: 'recovery' });
const RECOVER = /** @type {const} */ ({ unfinished: 'unfinished' });
const LIST = /** @type {const} */ ({ includeDamaged: 'boolean', signal: 'signal' });
const SHOW = /** @type {const} */ ({ signal: 'signal' });
const VERIFY_STORE = /** @type {const} */ ({
  data: 'boolean',
  share: 'number',
  heal: 'boolean',
  signal: 'signal',
  onProgress: 'function',
});
const VERIFY = /** @type {const} */ ({ checkpointId: 'id', ...VERIFY_STORE });
const GC = /** @type {const} */ ({
  dryRun: 'boolean',
  maxUnused: 'number',
  forgetRoots: 'strings',
  signal: 'signal',
  onProgress: 'function',
});
const PRUNE = /** @type {const} */ ({
  keepLast: 'keepLast',
  retention: 'retention',
  archive: 'boolean',
  explain: 'boolean',
  dryRun: 'boolean',
  gc: 'boolean',
  signal: 'signal',
  onProgress: 'function',
});
const CLEANUP = /** @type {const} */ ({
  runId: 'id',
  statuses: 'strings',
  maxAgeDays: 'number',
  dryRun: 'boolean',
  report: 'boolean',
  reportPath: 'string',
  gc: 'boolean',
  signal: 'signal',
  onProgress: 'function',
});
const DOCTOR = /** @type {const} */ ({ path: 'string', signal: 'signal' });
const RUN_STATE = /** @type {const} */ ({ quietMs: 'positive' });
const MOVE_RUN = /** @type {const} */ ({
  by: 'string',
  reason: 'string',
  again: 'boolean',
  stale: 'any',
});
const MANAGER = /** @type {const} */ ({
  runsDir: 'string',
  root: 'string',
  store: 'string',
  keepLast: 'keepLast',
  retention: 'retention',
  maxStateBytes: 'number',
  capture: 'capture',
  maxBytes: 'number',
  restore: 'restore',
  alerts: 'alerts',
  recovery: 'recovery',
  environment: 'environment',
});

/**
 * Operations on one run wait for each other here rather than in a thread of libuv's pool: the pool
 * has four, and the caller's own file system calls need them too.
 * @type {Map<string, Promise<unknown>>}
 */
const turns = new Map();

/**
 * @template T
 * @param {string} key
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
function inTurn(key, work) {
  const before = turns.get(key) ?? Promise.resolve();
  const result = before.then(work, work);
  const done = result.then(
    () => {},
    () => {},
  );
  turns.set(key, done);
  done.then(() => {
    if (turns.get(key) === done) turns.delete(key);
  });
  return result;
}

/**
 * Throws a failure; gives anything else.
 * @template T
 * @param {Failure | T} reply
 * @param {Function} above
 * @returns {T}
 */
function unwrap(reply, above) {
  if (
    typeof reply === 'object' &&
    reply !== null &&
    /** @type {Failure} */ (reply).failed === true
  ) {
    throw WaymarkError.from(/** @type {Failure} */ (reply), above);
  }
  return /** @type {T} */ (reply);
}

/** How often progress is told, in milliseconds. */
const PROGRESS_MS = 100;

/**
 * Runs an asynchronous native call with an AbortSignal, and tells how far it is.
 * @template T
 * @param {AbortSignal | undefined} signal
 * @param {(token: CancelToken | undefined) => Promise<Failure | T>} call
 * @param {string | undefined} key the run whose turn to wait for
 * @param {((progress: import('../index.js').Progress) => void) | undefined} [onProgress]
 * @param {Tell} [tell] hears what the operation noted
 * @returns {Promise<T>}
 */
async function run(signal, call, key, onProgress, tell) {
  /** @param {unknown} cause */
  const aborted = (cause) =>
    new WaymarkError('ERR_ABORTED', 'the operation was aborted; nothing was changed', { cause });
  if (signal?.aborted) throw aborted(signal.reason);
  const token = signal || onProgress || tell ? new (native().CancelToken)() : undefined;
  const cancel = () => token?.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  // Never keeps a process alive: the operation itself does.
  const timer =
    token && onProgress
      ? setInterval(() => onProgress(token.progress()), PROGRESS_MS).unref()
      : undefined;
  try {
    const work = () => call(token);
    const reply = await (key === undefined ? work() : inTurn(key, work));
    if (token) tell?.(token);
    const done = unwrap(reply, run);
    if (token && onProgress) onProgress(token.progress());
    return done;
  } catch (error) {
    const code = /** @type {{ code?: unknown }} */ (error).code;
    throw code === 'ERR_ABORTED' ? aborted(signal?.reason) : error;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
  }
}

/**
 * Runs a synchronous native call, and tells what it noted.
 * @template T
 * @param {(token: CancelToken) => Failure | T} call
 * @param {Function} above
 * @param {Tell} tell
 * @returns {T}
 */
function now(call, above, tell) {
  const token = new (native().CancelToken)();
  const reply = call(token);
  tell(token);
  return unwrap(reply, above);
}

/** Everything Waymark does, for one project. Holds no resources: there is nothing to close. */
class CheckpointManager {
  /** @type {Record<string, any>} */
  #options;
  /** @type {InstanceType<typeof import('./events.js')['Listeners']> | undefined} */
  #listeners;
  /** @type {Calls} */
  #calls;
  /** @type {InstanceType<typeof import('./metrics.js').Numbers> | undefined} */
  #numbers;

  /** @param {import('../index.js').CheckpointManagerOptions} [options] */
  constructor(options) {
    this.#options = checkOptions(options, MANAGER, 'CheckpointManager');
    /** @type {Tell} */
    const tell = (token) => {
      const told = token.told();
      if (told && (this.#listeners || told.warnings.length > 0 || subscribed())) {
        log().tell(told, this.#listeners);
      }
    };
    this.#calls = {
      run: (signal, call, key, onProgress) => run(signal, call, key, onProgress, tell),
      now: (call, above) => now(call, above, tell),
      unwrap,
      refuseAborted,
    };
    if (this.#options.retention) keeping().checkRetention(this.#options, 'CheckpointManager');
    notePlace(this, () => this.#place());
  }

  /** @returns {Place} */
  #place() {
    return placeOf(this.#options);
  }

  /**
   * @param {string} runId
   * @returns {string}
   */
  #key(runId) {
    return `${this.#options.runsDir ?? this.#options.root ?? ''}\0${runId}`;
  }

  /**
   * Where a run lies and what is configured for it, by one search.
   * @param {string} runId
   * @returns {{ place: Place, file: ReturnType<typeof configured> }}
   */
  #found(runId) {
    const asked = this.#place();
    const file = configured(asked, runId);
    const { runsDir } = file;
    return { place: runsDir === undefined ? asked : { ...asked, runsDir }, file };
  }

  /**
   * @param {Record<string, any>} options
   * @param {ReturnType<typeof configured>} file
   * @param {string} runId
   * @param {Place} place
   */
  #createRequest(options, file, runId, place) {
    const own = this.#options;
    return {
      retention: keeping().retentionRequest(file, own, options),
      maxStateBytes: options.maxStateBytes ?? own.maxStateBytes ?? MAX_STATE_BYTES,
      maxStoreBytes: options.maxBytes ?? own.maxBytes ?? file.maxBytes,
      capture: captureRequest(file.capture, own.capture, options.capture),
      facts: options.facts === undefined ? undefined : JSON.stringify(options.facts),
      lease: leasing.leaseToken(place, runId),
    };
  }

  /**
   * The fingerprint of a checkpoint's environment; undefined if none is wanted.
   * @param {Record<string, any>} options
   * @param {string} runId
   * @param {ReturnType<typeof configured>} file
   * @param {Place} place
   */
  #prints(options, runId, file, place) {
    const layers = [this.#options.environment, options.environment];
    return require('./fingerprint.js').prints(place, runId, file, layers);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').PlanResumeOptions} [options]
   */
  async planResume(runId, options) {
    return require('./resume-plan.js').planResume(this.#resumeGround(), runId, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').ResumeOptions} [options]
   */
  async resume(runId, options) {
    return require('./resume-run.js').resume(this.#resumeGround(), runId, options);
  }

  /** @returns {import('./resume-plan.js').Ground} */
  #resumeGround() {
    return {
      manager: this,
      of: (runId) => {
        const { place, file } = this.#found(runId);
        const own = this.#options;
        return {
          ...require('./fingerprint.js').groundOf(place, runId, file, [own.environment]),
          policy: file.policy ?? {},
          files: own.restore?.files ?? file.restore?.files ?? true,
        };
      },
    };
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').LeaseOptions} [options]
   */
  async lease(runId, options) {
    return leasing.takeLease(this.#place(), runId, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').LeaseOptions} [options]
   */
  leaseSync(runId, options) {
    return leasing.takeLeaseSync(this.#place(), runId, options);
  }

  /** @param {string} runId */
  async readLease(runId) {
    return leasing.readLease(this.#place(), runId);
  }

  /** @param {string} runId */
  readLeaseSync(runId) {
    return leasing.readLeaseSync(this.#place(), runId);
  }

  /** @param {string | null} runId */
  records(runId) {
    const { Records } = require('./records.js');
    return new Records(this.#place(), runId === null ? null : checkRunId(runId));
  }

  /**
   * The folder that holds all runs, as it is found for a run.
   * @param {string} [runId]
   * @returns {string}
   */
  runsDir(runId) {
    const id = runId === undefined ? undefined : checkRunId(runId);
    return unwrap(native().locateSync(this.#place(), id), this.runsDir);
  }

  /**
   * @param {string} runId
   * @param {number | string} step
   * @param {unknown} [state]
   * @param {import('../index.js').CreateOptions} [options]
   */
  async create(runId, step, state = {}, options = undefined) {
    const checked = checkOptions(options, CREATE, 'create');
    if (checked.retention) keeping().checkRetention(checked, 'create');
    const id = checkRunId(runId);
    const wanted = checkStep(step);
    const { place, file } = this.#found(id);
    const request = { step: wanted, ...this.#createRequest(checked, file, id, place) };
    const text = stateToJson(state);
    const prints = this.#prints(checked, id, file, place);
    const environment = await prints?.take();
    const whole = { ...request, environment: environment?.text };
    const created = await this.#calls.run(
      checked.signal,
      (token) => native().create(place, id, whole, text, token),
      this.#key(id),
      checked.onProgress,
    );
    prints?.done(environment);
    freeBeside();
    return withCheckpoint(created, id, step, place, whole);
  }

  /**
   * @param {string} runId
   * @param {number | string} step
   * @param {unknown} [state]
   * @param {import('../index.js').CreateOptions} [options]
   */
  createSync(runId, step, state = {}, options = undefined) {
    const checked = checkOptions(options, CREATE, 'createSync');
    if (checked.retention) keeping().checkRetention(checked, 'createSync');
    const id = checkRunId(runId);
    const wanted = checkStep(step);
    const { place, file } = this.#found(id);
    const request = { step: wanted, ...this.#createRequest(checked, file, id, place) };
    const text = stateToJson(state);
    refuseAborted(checked.signal);
    const prints = this.#prints(checked, id, file, place);
    const environment = prints?.takeSync();
    const whole = { ...request, environment: environment?.text };
    const created = this.#calls.now(
      (token) => native().createSync(place, id, whole, text, token),
      this.createSync,
    );
    prints?.done(environment);
    freeBeside();
    return withCheckpoint(created, id, step, place, whole);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RestoreOptions} [options]
   */
  async restore(runId, options) {
    const restored = await restores().restore(
      this.#calls,
      (id) => this.#ground(id),
      runId,
      options,
    );
    freeLater();
    return restored;
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RestoreSyncOptions} [options]
   */
  restoreSync(runId, options) {
    const restored = restores().restoreSync(this.#calls, (id) => this.#ground(id), runId, options);
    freeLater();
    return restored;
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').PlanRestoreOptions} [options]
   */
  async planRestore(runId, options) {
    return restores().planRestore(this.#calls, (id) => this.#ground(id), runId, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').PlanRestoreSyncOptions} [options]
   */
  planRestoreSync(runId, options) {
    return restores().planRestoreSync(this.#calls, (id) => this.#ground(id), runId, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').UndoOptions} [options]
   */
  async undo(runId, options) {
    const undone = await restores().undo(this.#calls, (id) => this.#ground(id), runId, options);
    freeLater();
    return undone;
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').UndoSyncOptions} [options]
   */
  undoSync(runId, options) {
    const undone = restores().undoSync(this.#calls, (id) => this.#ground(id), runId, options);
    freeLater();
    return undone;
  }

  /**
   * @param {string} runId
   * @returns {import('./restore.js').Ground}
   */
  #ground(runId) {
    const { place, file } = this.#found(runId);
    const own = this.#options;
    return {
      place,
      key: this.#key(runId),
      settle: ({ files, onConflict, capture, maxBytes }) => ({
        // What was captured is restored, whatever is captured now.
        capture:
          (files ?? own.restore?.files ?? file.restore?.files ?? true)
            ? (captureRequest(file.capture, own.capture, capture) ?? captureRequest())
            : undefined,
        onConflict: onConflict ?? own.restore?.onConflict ?? file.restore?.onConflict,
        maxStoreBytes: maxBytes ?? own.maxBytes ?? file.maxBytes,
        lease: leasing.leaseToken(place, runId),
      }),
    };
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').ListOptions} [options]
   */
  async list(runId, options) {
    const { signal, includeDamaged } = checkOptions(options, LIST, 'list');
    const id = checkRunId(runId);
    const place = this.#place();
    const listing = await this.#calls.run(
      signal,
      (token) => native().list(place, id, token),
      undefined,
    );
    return rows(listing, includeDamaged);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').ListOptions} [options]
   */
  listSync(runId, options) {
    const { signal, includeDamaged } = checkOptions(options, LIST, 'listSync');
    const id = checkRunId(runId);
    refuseAborted(signal);
    return rows(unwrap(native().listSync(this.#place(), id), this.listSync), includeDamaged);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').SignalOptions} [options]
   */
  async show(runId, checkpointId, options) {
    const { signal } = checkOptions(options, SHOW, 'show');
    const [run_, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
    const place = this.#place();
    const shown = await this.#calls.run(
      signal,
      (token) => native().show(place, run_, id, token),
      undefined,
    );
    return { ...withEnvironment(shown.info), checkpoint: parseCheckpoint(shown.manifest) };
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   */
  showSync(runId, checkpointId) {
    const [run_, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
    const shown = unwrap(native().showSync(this.#place(), run_, id), this.showSync);
    return { ...withEnvironment(shown.info), checkpoint: parseCheckpoint(shown.manifest) };
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').SignalOptions} [options]
   */
  async activate(runId, checkpointId, options) {
    return this.#change('activate', runId, checkpointId, undefined, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').SignalOptions} [options]
   */
  activateSync(runId, checkpointId, options) {
    return this.#changeSync('activate', runId, checkpointId, undefined, options, this.activateSync);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').CompleteOptions} [options]
   */
  async complete(runId, checkpointId, options) {
    return this.#change('complete', runId, checkpointId, undefined, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').CompleteOptions} [options]
   */
  completeSync(runId, checkpointId, options) {
    return this.#changeSync('complete', runId, checkpointId, undefined, options, this.completeSync);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').FailureReason} [error]
   * @param {import('../index.js').FailOptions} [options]
   */
  async fail(runId, checkpointId, error, options) {
    return this.#change('fail', runId, checkpointId, error, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').FailureReason} [error]
   * @param {import('../index.js').FailOptions} [options]
   */
  failSync(runId, checkpointId, error, options) {
    return this.#changeSync('fail', runId, checkpointId, error, options, this.failSync);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').FactsUpdate} facts
   * @param {import('../index.js').SignalOptions} [options]
   */
  async update(runId, checkpointId, facts, options) {
    return this.#change('update', runId, checkpointId, facts, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').FactsUpdate} facts
   * @param {import('../index.js').SignalOptions} [options]
   */
  updateSync(runId, checkpointId, facts, options) {
    return this.#changeSync('update', runId, checkpointId, facts, options, this.updateSync);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').PinOptions} options
   */
  async pin(runId, checkpointId, options) {
    return this.#change('pin', runId, checkpointId, undefined, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').PinOptions} options
   */
  pinSync(runId, checkpointId, options) {
    return this.#changeSync('pin', runId, checkpointId, undefined, options, this.pinSync);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').SignalOptions} [options]
   */
  async unpin(runId, checkpointId, options) {
    return this.#change('unpin', runId, checkpointId, undefined, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').SignalOptions} [options]
   */
  unpinSync(runId, checkpointId, options) {
    return this.#changeSync('unpin', runId, checkpointId, undefined, options, this.unpinSync);
  }

  /**
   * @param {string} runId
   * @param {string} newRunId
   * @param {import('../index.js').ForkOptions} [options]
   */
  async fork(runId, newRunId, options) {
    return forks().fork(this.#calls, (id) => this.#forkGround(id), runId, newRunId, options);
  }

  /**
   * @param {string} runId
   * @param {string} newRunId
   * @param {import('../index.js').ForkOptions} [options]
   */
  forkSync(runId, newRunId, options) {
    const ground = (/** @type {string} */ id) => this.#forkGround(id);
    return forks().forkSync(this.#calls, ground, runId, newRunId, options, this.forkSync);
  }

  /** @param {string} runId */
  #forkGround(runId) {
    return { place: this.#place(), key: this.#key(runId), maxBytes: this.#maxBytes() };
  }

  /** @param {import('../index.js').FindOptions} [options] */
  async find(options) {
    return queries().find(this.#calls, () => this.#place(), options);
  }

  /** @param {import('../index.js').FindOptions} [options] */
  findSync(options) {
    return queries().findSync(this.#calls, () => this.#place(), options, this.findSync);
  }

  /** @param {import('../index.js').QueryOptions} [options] */
  query(options) {
    return queries().query(this.#calls, () => this.#place(), options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').SignalOptions} [options]
   */
  async tree(runId, options) {
    return queries().tree(this.#calls, () => this.#place(), runId, options);
  }

  /** @param {import('../index.js').ProgressOptions} [options] */
  async rebuildIndex(options) {
    return queries().rebuildIndex(this.#calls, () => this.#place(), options);
  }

  /**
   * @param {import('./lifecycle.js').Verb} verb
   * @param {string} runId
   * @param {string} checkpointId
   * @param {unknown} what
   * @param {unknown} options
   */
  #change(verb, runId, checkpointId, what, options) {
    const ground = (/** @type {string} */ id) => ({ place: this.#place(), key: this.#key(id) });
    return lives().change(this.#calls, ground, verb, runId, checkpointId, what, options);
  }

  /**
   * @param {import('./lifecycle.js').Verb} verb
   * @param {string} runId
   * @param {string} checkpointId
   * @param {unknown} what
   * @param {unknown} options
   * @param {Function} above
   */
  #changeSync(verb, runId, checkpointId, what, options, above) {
    const ground = (/** @type {string} */ id) => ({ place: this.#place(), key: this.#key(id) });
    return lives().changeSync(this.#calls, ground, verb, runId, checkpointId, what, options, above);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').VerifyOptions} [options]
   */
  async verify(runId, options) {
    const { signal, onProgress, ...checked } = checkOptions(options, VERIFY, 'verify');
    const id = checkRunId(runId);
    const [place, request] = [this.#place(), verifyRequest(checked)];
    const call = (/** @type {CancelToken | undefined} */ token) =>
      native().verify(place, id, request, token);
    return ofOneRun(await this.#calls.run(signal, call, undefined, onProgress));
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').VerifyOptions} [options]
   */
  verifySync(runId, options) {
    const { signal, ...checked } = checkOptions(options, VERIFY, 'verifySync');
    const id = checkRunId(runId);
    refuseAborted(signal);
    const [place, request] = [this.#place(), verifyRequest(checked)];
    const call = (/** @type {CancelToken} */ token) =>
      native().verifySync(place, id, request, token);
    return ofOneRun(this.#calls.now(call, this.verifySync));
  }

  /** @param {import('../index.js').VerifyStoreOptions} [options] */
  async verifyStore(options) {
    const { signal, onProgress, ...checked } = checkOptions(options, VERIFY_STORE, 'verifyStore');
    const [place, request] = [this.#place(), verifyRequest(checked)];
    const call = (/** @type {CancelToken | undefined} */ token) =>
      native().verifyStore(place, request, token);
    return this.#calls.run(signal, call, undefined, onProgress);
  }

  /** @param {import('../index.js').VerifyStoreOptions} [options] */
  verifyStoreSync(options) {
    const { signal, ...checked } = checkOptions(options, VERIFY_STORE, 'verifyStoreSync');
    refuseAborted(signal);
    const [place, request] = [this.#place(), verifyRequest(checked)];
    const call = (/** @type {CancelToken} */ token) =>
      native().verifyStoreSync(place, request, token);
    return this.#calls.now(call, this.verifyStoreSync);
  }

  /** @param {import('../index.js').GcOptions} [options] */
  async gc(options) {
    const { signal, onProgress, ...checked } = checkOptions(options, GC, 'gc');
    const [place, request] = [this.#place(), gcRequest(checked)];
    const call = (/** @type {CancelToken | undefined} */ token) =>
      native().gc(place, request, token);
    return this.#calls.run(signal, call, undefined, onProgress);
  }

  /** @param {import('../index.js').GcOptions} [options] */
  gcSync(options) {
    const { signal, ...checked } = checkOptions(options, GC, 'gcSync');
    refuseAborted(signal);
    const [place, request] = [this.#place(), gcRequest(checked)];
    const call = (/** @type {CancelToken} */ token) => native().gcSync(place, request, token);
    return this.#calls.now(call, this.gcSync);
  }

  /**
   * @param {Record<string, any>} options
   * @param {string} runId
   */
  #retention(options, runId) {
    return keeping().retentionRequest(configured(this.#place(), runId), this.#options, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').PruneOptions} [options]
   */
  async prune(runId, options) {
    const checked = checkOptions(options, PRUNE, 'prune');
    if (checked.retention) keeping().checkRetention(checked, 'prune');
    const id = checkRunId(runId);
    const policy = this.#retention(checked, id);
    const place = this.#place();
    const outcome = await this.#calls.run(
      checked.signal,
      (token) => native().prune(place, id, policy, checked.dryRun ?? false, token),
      this.#key(id),
    );
    return thenGc(keeping().pruned(outcome, checked.explain), checked, (watch) => this.gc(watch));
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').PruneOptions} [options]
   */
  pruneSync(runId, options) {
    const checked = checkOptions(options, PRUNE, 'pruneSync');
    if (checked.retention) keeping().checkRetention(checked, 'pruneSync');
    const id = checkRunId(runId);
    refuseAborted(checked.signal);
    const policy = this.#retention(checked, id);
    const outcome = this.#calls.now(
      (token) => native().pruneSync(this.#place(), id, policy, checked.dryRun ?? false, token),
      this.pruneSync,
    );
    return thenGcSync(keeping().pruned(outcome, checked.explain), checked, () => this.gcSync());
  }

  /**
   * @param {string} [runId]
   * @param {import('../index.js').SignalOptions} [options]
   */
  async archived(runId, options) {
    return keeping().archived(this.#calls, () => this.#place(), [runId, options]);
  }

  /**
   * @param {string} [runId]
   * @param {import('../index.js').SignalOptions} [options]
   */
  archivedSync(runId, options) {
    return keeping().archivedSync(this.#calls, () => this.#place(), [runId, options]);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').UnarchiveOptions} [options]
   */
  async unarchive(runId, checkpointId, options) {
    const [place, budget] = [() => this.#place(), () => this.#maxBytes()];
    return keeping().unarchive(this.#calls, place, budget, [runId, checkpointId, options]);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').UnarchiveOptions} [options]
   */
  unarchiveSync(runId, checkpointId, options) {
    const [place, budget] = [() => this.#place(), () => this.#maxBytes()];
    return keeping().unarchiveSync(this.#calls, place, budget, [runId, checkpointId, options]);
  }

  /** @param {import('../index.js').CleanupOptions} [options] */
  async cleanup(options) {
    const checked = checkOptions(options, CLEANUP, 'cleanup');
    const request = cleanupRequest(checked);
    const place = this.#place();
    const call = (/** @type {CancelToken | undefined} */ token) =>
      native().cleanup(place, request, token);
    const outcome = await this.#calls.run(checked.signal, call, undefined);
    return thenGc(outcome, checked, (watch) => this.gc(watch));
  }

  /** @param {import('../index.js').CleanupOptions} [options] */
  cleanupSync(options) {
    const checked = checkOptions(options, CLEANUP, 'cleanupSync');
    refuseAborted(checked.signal);
    const request = cleanupRequest(checked);
    const outcome = this.#calls.now(
      (token) => native().cleanupSync(this.#place(), request, token),
      this.cleanupSync,
    );
    return thenGcSync(outcome, checked, () => this.gcSync());
  }

  /** @param {import('../index.js').DoctorOptions} [options] */
  async doctor(options) {
    const { signal, path: folder } = checkOptions(options, DOCTOR, 'doctor');
    const place = this.#place();
    const found = await this.#calls.run(
      signal,
      (token) => native().doctor(place, resolved(folder), token),
      undefined,
    );
    return { ...found, versions: versions() };
  }

  /** @param {import('../index.js').DoctorOptions} [options] */
  doctorSync(options) {
    const { signal, path: folder } = checkOptions(options, DOCTOR, 'doctorSync');
    refuseAborted(signal);
    const found = unwrap(native().doctorSync(this.#place(), resolved(folder)), this.doctorSync);
    return { ...found, versions: versions() };
  }

  /**
   * @param {import('../index.js').CaptureOptions | false | undefined} capture
   * @param {string} runId
   */
  #capture(capture, runId) {
    const project = configured(this.#place(), runId).capture;
    return captureRequest(project, this.#options.capture, capture);
  }

  /**
   * @param {string} runId
   * @param {string} from
   * @param {string | null} [to]
   * @param {import('../index.js').DiffOptions} [options]
   */
  async diff(runId, from, to, options) {
    const words = [runId, from, to, options];
    return diffing.diff(
      this.#calls,
      () => this.#place(),
      (one) => this.#capture(one, runId),
      words,
    );
  }

  /**
   * @param {string} runId
   * @param {string} from
   * @param {string | null} [to]
   * @param {import('../index.js').DiffOptions} [options]
   */
  diffSync(runId, from, to, options) {
    const words = [runId, from, to, options];
    return diffing.diffSync(
      this.#calls,
      () => this.#place(),
      (one) => this.#capture(one, runId),
      words,
    );
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').FilesOptions} [options]
   */
  files(runId, checkpointId, options) {
    return captured.files(this.#calls, () => this.#place(), runId, checkpointId, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {import('../index.js').FilesOptions} [options]
   */
  filesSync(runId, checkpointId, options) {
    return captured.filesSync(this.#calls, () => this.#place(), runId, checkpointId, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {string | Uint8Array} path_
   * @param {import('../index.js').ReadFileOptions} [options]
   */
  async readFile(runId, checkpointId, path_, options) {
    return captured.readFile(this.#calls, () => this.#place(), runId, checkpointId, path_, options);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {string | Uint8Array} path_
   * @param {import('../index.js').ReadFileOptions} [options]
   */
  readFileSync(runId, checkpointId, path_, options) {
    return captured.readFileSync(
      this.#calls,
      () => this.#place(),
      runId,
      checkpointId,
      path_,
      options,
    );
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {string} target
   * @param {import('../index.js').ExportCheckpointOptions} [options]
   */
  async exportCheckpoint(runId, checkpointId, target, options) {
    const words = [runId, checkpointId, target, options];
    return archives.exportCheckpoint(this.#calls, () => this.#place(), words);
  }

  /**
   * @param {string} runId
   * @param {string} checkpointId
   * @param {string} target
   * @param {import('../index.js').ExportCheckpointOptions} [options]
   */
  exportCheckpointSync(runId, checkpointId, target, options) {
    const words = [runId, checkpointId, target, options];
    return archives.exportCheckpointSync(this.#calls, () => this.#place(), words);
  }

  /**
   * @param {string} runId
   * @param {string} target
   * @param {import('../index.js').ExportOptions} [options]
   */
  async exportRun(runId, target, options) {
    return archives.exportRun(this.#calls, () => this.#place(), [runId, target, options]);
  }

  /**
   * @param {string} runId
   * @param {string} target
   * @param {import('../index.js').ExportOptions} [options]
   */
  exportRunSync(runId, target, options) {
    return archives.exportRunSync(this.#calls, () => this.#place(), [runId, target, options]);
  }

  /** The store's budget where a call names none. */
  #maxBytes() {
    return this.#options.maxBytes ?? configured(this.#place()).maxBytes;
  }

  /**
   * @param {string} file
   * @param {import('../index.js').ImportOptions} [options]
   */
  async importArchive(file, options) {
    const [place, budget] = [() => this.#place(), () => this.#maxBytes()];
    return archives.importArchive(this.#calls, place, budget, [file, options]);
  }

  /**
   * @param {string} file
   * @param {import('../index.js').ImportOptions} [options]
   */
  importArchiveSync(file, options) {
    const [place, budget] = [() => this.#place(), () => this.#maxBytes()];
    return archives.importArchiveSync(this.#calls, place, budget, [file, options]);
  }

  /** @param {import('../index.js').EventsOptions} [options] */
  async events(options) {
    return log().events(this.#calls, () => this.#place(), options);
  }

  /** @param {import('../index.js').EventsOptions} [options] */
  eventsSync(options) {
    return log().eventsSync(this.#calls, () => this.#place(), options);
  }

  /** @param {import('../index.js').FollowEventsOptions} [options] */
  followEvents(options) {
    return log().followEvents(this.#calls, () => this.#place(), options);
  }

  /** What was read of the audit log is kept, and gone on from. */
  #counted() {
    this.#numbers ??= new (require('./metrics.js').Numbers)();
    return this.#numbers;
  }

  /** @param {import('../index.js').MetricsOptions} [options] */
  async metrics(options) {
    return this.#counted().metrics(this.#calls, () => this.#place(), options);
  }

  /** @param {import('../index.js').MetricsOptions} [options] */
  async prometheus(options) {
    const metrics = await this.metrics(options);
    return require('./prometheus.js').prometheus(metrics);
  }

  /** @param {import('../index.js').HealthOptions} [options] */
  async health(options) {
    const ground = () => {
      const place = this.#place();
      const file = configured(place);
      return {
        manager: this,
        calls: this.#calls,
        place,
        numbers: this.#counted(),
        alerts: [file.alerts, this.#options.alerts],
        maxBytes: this.#options.maxBytes ?? file.maxBytes,
      };
    };
    return require('./health.js').health(ground, options);
  }

  /**
   * @param {import('../index.js').EventKind} event
   * @param {(event: any) => void} listener
   */
  on(event, listener) {
    return this.#listen('on', event, listener);
  }

  /**
   * @param {import('../index.js').EventKind} event
   * @param {(event: any) => void} listener
   */
  once(event, listener) {
    return this.#listen('once', event, listener);
  }

  /**
   * @param {import('../index.js').EventKind} event
   * @param {(event: any) => void} listener
   */
  off(event, listener) {
    return this.#listen('off', event, listener);
  }

  /**
   * @param {'on' | 'once' | 'off'} how
   * @param {unknown} event
   * @param {unknown} listener
   */
  #listen(how, event, listener) {
    this.#listeners ??= new (log().Listeners)();
    this.#listeners.change(how, event, listener);
    return this;
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').Step} name
   * @param {any[]} rest options, a function
   * @returns {Promise<any>}
   */
  async task(runId, name, ...rest) {
    return require('./task.js').Task.run(this, FACTS, [runId, name, ...rest]);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').Step} name
   * @param {Function} fn
   * @param {import('../index.js').GuardOptions} [options]
   * @returns {Promise<any>}
   */
  async guard(runId, name, fn, options) {
    return require('./guard.js').guard(this, FACTS, [runId, name, fn, options]);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RecoverySettings} [settings]
   */
  recovery(runId, settings) {
    const { recovery } = checkOptions({ recovery: settings }, RECOVERY, 'recovery');
    const { Recovery } = require('./recovery/recovery.js');
    const place = () => this.#place();
    const file = configured(place(), checkRunId(runId));
    return new Recovery(this, place, runId, [file.recovery, this.#options.recovery, recovery]);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').SuperviseOptions} options
   */
  async supervise(runId, options) {
    return require('./supervisor/supervisor.js').supervise(this, runId, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').AutoOptions} options
   */
  auto(runId, options) {
    const { Auto } = require('./auto.js');
    return new Auto(this, FACTS, runId, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').DrillOptions} [options]
   */
  async drill(runId, options) {
    return require('./drill.js').drill(this, runId, options);
  }

  /** @param {string} runId */
  async timeline(runId) {
    return require('./timeline.js').timeline(this, runId);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RunStateOptions} [options]
   */
  runState(runId, options) {
    const checked = checkOptions(options, RUN_STATE, 'runState');
    return require('./run-state.js').runState(this, runId, checked);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RunStateName} to
   * @param {import('../index.js').MoveRunOptions} [options]
   */
  moveRunState(runId, to, options) {
    const checked = checkOptions(options, MOVE_RUN, 'moveRunState');
    return require('./run-state.js').moveRunState(this, runId, to, checked);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').PauseOptions} [options]
   */
  pause(runId, options) {
    return require('./pause.js').pause(this, runId, options);
  }

  /** @param {string} runId */
  withdrawPause(runId) {
    return require('./pause.js').withdrawPause(this, runId);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').Step} step
   * @param {unknown} [state]
   * @param {import('../index.js').BoundaryOptions} [options]
   */
  async boundary(runId, step, state = {}, options = undefined) {
    return require('./pause.js').boundary(this, runId, step, state, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RunsOptions} [options]
   */
  async status(runId, options) {
    return require('./status.js').status(this, runId, options);
  }

  /** @param {import('../index.js').RunsOptions} [options] */
  async runs(options) {
    return require('./status.js').runs(this, options);
  }

  /**
   * @param {string} runId
   * @param {import('../index.js').RecoverOptions} [options]
   * @returns {'nothing' | 'finished' | 'undone'}
   */
  recoverSync(runId, options) {
    const { unfinished } = checkOptions(options, RECOVER, 'recoverSync');
    const id = checkRunId(runId);
    return /** @type {'nothing' | 'finished' | 'undone'} */ (
      unwrap(native().recoverSync(this.#place(), id, unfinished === 'undo'), this.recoverSync)
    );
  }
}

/**
 * Loaded when a checkpoint is taken, and not when a runner starts with the preload.
 * @param {(import('../index.js').CaptureOptions | false | undefined)[]} layers
 */
function captureRequest(...layers) {
  return require('./capture.js').captureRequest(...layers);
}

/** True if anybody subscribed to a channel of ours. */
function subscribed() {
  return EVENT_KINDS.some((kind) => channels.hasSubscribers(`waymark:${kind}`));
}

/** Loaded when there is something to tell, or to read. @returns {typeof import('./events.js')} */
function log() {
  return require('./events.js');
}

/** Loaded when something is kept or dropped. @returns {typeof import('./retention.js')} */
function keeping() {
  return require('./retention.js');
}

/** Loaded when something is restored. @returns {typeof import('./restore.js')} */
function restores() {
  return require('./restore.js');
}

/** Loaded when runs are searched. @returns {typeof import('./query.js')} */
function queries() {
  return require('./query.js');
}

/** Loaded when a run is forked. @returns {typeof import('./fork.js')} */
function forks() {
  return require('./fork.js');
}

/** Loaded when something is said of a checkpoint. @returns {typeof import('./lifecycle.js')} */
function lives() {
  return require('./lifecycle.js');
}

/** @param {string | undefined} folder as a person would write it, without `..` */
function resolved(folder) {
  return folder === undefined ? undefined : path.resolve(folder);
}

/** What a report of a problem should say of the machine. @returns {import('../index.js').Versions} */
function versions() {
  const { platform, arch } = process;
  return { waymark: version, node: process.versions.node, platform, arch, libc: libc() };
}

/** @param {AbortSignal | undefined} signal */
function refuseAborted(signal) {
  if (signal?.aborted) {
    throw new WaymarkError('ERR_ABORTED', 'the operation was aborted; nothing was changed', {
      cause: signal.reason,
    });
  }
}

/** @param {Record<string, any>} options */
function cleanupRequest(options) {
  return {
    runId: options.runId,
    statuses: options.statuses ?? ['failed'],
    maxAgeDays: options.maxAgeDays ?? MAX_AGE_DAYS,
    dryRun: options.dryRun ?? false,
    report: options.report ?? true,
    reportPath: options.reportPath,
  };
}

/** Members of a manifest that are only there if they were asked for. */
const OPTIONAL = /** @type {const} */ (['facts', 'environment']);

/**
 * @param {import('../native.js').CreateOutcome} created
 * @param {string} runId
 * @param {number | string} step
 * @param {Place} place
 * @param {{ facts?: string, environment?: string }} request what it was asked to hold
 */
function withCheckpoint(created, runId, step, place, request) {
  const { manifest, ...result } = created;
  const known = {
    checkpoint_id: created.checkpointId,
    run_id: runId,
    // JSON has no -0.
    step: step === 0 ? 0 : step,
    timestamp: created.timestamp,
  };
  const absent = new Set(OPTIONAL.filter((name) => request[name] === undefined));
  // Large ones are not kept in memory; perhaps somebody looks at them.
  const readBack = () =>
    unwrap(native().showSync(place, runId, created.checkpointId), readBack).manifest;
  return withLazyCheckpoint({ ...result, runId, step: known.step }, () =>
    lazyCheckpoint(() => manifest ?? readBack(), known, absent),
  );
}

/**
 * @param {Listing} listing
 * @param {boolean | undefined} includeDamaged
 * @returns {any[]} index.d.ts tells by overloads which rows there are
 */
function rows(listing, includeDamaged) {
  listing.checkpoints.forEach(withEnvironment);
  return includeDamaged ? [...listing.checkpoints, ...listing.damaged] : listing.checkpoints;
}

/**
 * How the verbs of a manager call the addon. What an operation noted is told to the manager's listeners.
 * @typedef {object} Calls
 * @property {<T>(signal: AbortSignal | undefined, call: (token: CancelToken | undefined) => Promise<Failure | T>, key: string | undefined, onProgress?: ((progress: import('../index.js').Progress) => void) | undefined) => Promise<T>} run
 * @property {<T>(call: (token: CancelToken) => Failure | T, above: Function) => T} now
 * @property {typeof unwrap} unwrap
 * @property {typeof refuseAborted} refuseAborted
 */

module.exports = { CheckpointManager };
