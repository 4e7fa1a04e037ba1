// The right to go on with a run: one holder at a time. Whoever holds it here, or was given it by the process that
// started this one, names it with every verb that changes the run.

const path = require('node:path');
const { held } = require('./held.js');
const { native } = require('./native.js');
const { checkOptions, checkRunId } = require('./options.js');
const { placeOfManager } = require('./place.js');
const { readLease, unwrap, whoami } = require('./run-state.js');

/**
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../index.js').CheckpointManager} Manager
 */

const TTL_MS = 60_000;
const LEASE = /** @type {const} */ ({ holder: 'string', ttlMs: 'positive', keep: 'boolean' });

/** The lease of a run, held until it is let go, lost, or its process ends. */
class Lease {
  #place;
  #runDir;
  #ttlMs;

  /**
   * @param {Place} place
   * @param {string} runId
   * @param {string} runDir
   * @param {number} ttlMs
   * @param {{ token: number, since: string, expires: string }} got
   */
  constructor(place, runId, runDir, ttlMs, { token, since, expires }) {
    this.#place = place;
    this.#runDir = runDir;
    this.#ttlMs = ttlMs;
    this.runId = runId;
    this.token = token;
    this.since = since;
    this.expires = expires;
    held.set(runDir, token);
  }

  /** What a process that is started for this run is given, so that it may change it. */
  get env() {
    return { WAYMARK_LEASE: `${this.runId}=${this.token}` };
  }

  /** Whether it is somebody else's by now, or expired. Reads the lease. */
  get lost() {
    const now = readLease(this.#place, this.runId);
    return now === undefined || now.token !== this.token || !now.live;
  }

  /** Makes it last so long again from now on. */
  renew() {
    const renewed = unwrap(
      native().renewLeaseSync(this.#place, this.runId, this.token, this.#ttlMs),
    );
    this.expires = renewed.expires;
    return { expires: this.expires };
  }

  /** Keeps it while this process lives, also while its event loop is blocked. */
  keep() {
    unwrap(native().keepLeaseSync(this.#place, this.runId, this.token, this.#ttlMs));
  }

  /** Lets it go. It is no error if it was lost. @returns {boolean} whether it was still held */
  release() {
    if (held.get(this.#runDir) === this.token) held.delete(this.#runDir);
    return unwrap(native().releaseLeaseSync(this.#place, this.runId, this.token));
  }
}

/**
 * Takes the lease of a run.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {import('../index.js').LeaseOptions} [options]
 */
function lease(manager, runId, options) {
  const run = checkRunId(runId);
  const checked = checkOptions(options, LEASE, 'lease');
  const { holder = `${whoami()} (${scriptName()})`, ttlMs = TTL_MS, keep = true } = checked;
  const place = placeOfManager(manager);
  const runDir = path.join(manager.runsDir(run), run);
  const got = unwrap(native().acquireLeaseSync(place, run, { holder, ttlMs }));
  const taken = new Lease(place, run, runDir, ttlMs, got);
  if (keep) taken.keep();
  return taken;
}

/** What this process is, for people. */
function scriptName() {
  return process.argv[1] === undefined ? 'node' : path.basename(process.argv[1]);
}

module.exports = { Lease, lease, scriptName };
