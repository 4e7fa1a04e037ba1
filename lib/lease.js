// Leases: who goes on with a run. A lease that is held in this process, or named in WAYMARK_LEASE, goes with every
// verb that records something; what a holder that was followed by another still writes is refused.

const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { freeLater, native } = require('./native.js');
const { checkOptions, checkRunId } = require('./options.js');
const { isOwnCommand } = require('./own-command.js');

/**
 * @typedef {import('../native.js').Failure} Failure
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').LeaseTaken} LeaseTaken
 */

const LEASE = /** @type {const} */ ({
  holder: 'string',
  ttlMs: 'positive',
  keep: 'boolean',
  token: 'positive',
  force: 'boolean',
});

/** The tokens of the leases that are held in this process, by their runs' folders. @type {Map<string, number>} */
const held = new Map();
/**
 * Those that a resume took, for whoever it gives them to: another resume of this process is somebody else.
 * @type {Map<string, number>}
 */
const ofResumes = new Map();

/**
 * @template T
 * @param {Failure | T} reply
 * @param {Function} above
 * @returns {T}
 */
function unwrap(reply, above) {
  if (/** @type {Failure | null} */ (reply)?.failed === true) {
    throw WaymarkError.from(/** @type {Failure} */ (reply), above);
  }
  return /** @type {T} */ (reply);
}

/** @param {Place} place @param {string} runId */
function folderOf(place, runId) {
  return path.join(unwrap(native().locateSync(place, runId), folderOf), runId);
}

/**
 * The token in WAYMARK_LEASE=<run>=<token>, if it is about this run. The preload also knows `off` there.
 * @param {string} runId
 */
function inherited(runId) {
  const text = process.env.WAYMARK_LEASE;
  if (!text || text === 'off') return undefined;
  const at = text.lastIndexOf('=');
  const token = Number(text.slice(at + 1));
  if (at < 1 || !Number.isSafeInteger(token) || token < 1) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `WAYMARK_LEASE is ${JSON.stringify(text)}; it must be <run>=<token>`,
    );
  }
  return text.slice(0, at) === runId ? token : undefined;
}

/**
 * The token that goes with what is recorded of a run; undefined without a lease.
 * @param {Place} place
 * @param {string} runId
 * @returns {number | undefined}
 */
function leaseToken(place, runId) {
  // Where the run lies is only looked up where it matters.
  const own = held.size > 0 ? held.get(folderOf(place, runId)) : undefined;
  return own ?? inherited(runId);
}

/**
 * The token under which a resume goes on, or a step begins: of a lease of this process that is not another resume's,
 * or of the process that started this one, while that holds it.
 * @param {Place} place
 * @param {string} runId
 * @returns {number | undefined}
 */
function tokenToGoOn(place, runId) {
  const folder = held.size > 0 ? folderOf(place, runId) : undefined;
  const own = folder === undefined ? undefined : held.get(folder);
  if (own !== undefined)
    return ofResumes.get(/** @type {string} */ (folder)) === own ? undefined : own;
  const given = inherited(runId);
  if (given === undefined) return undefined;
  const now = readLeaseSync(place, runId);
  if (now?.token === given && now.live) return given;
  throw new WaymarkError(
    'ERR_LEASE_LOST',
    `the lease of run ${runId} that this process was given (WAYMARK_LEASE) is no longer held${now?.live ? `: ${inWords(now)} has it since ${now.since}` : ''}; start the run anew, without WAYMARK_LEASE`,
    { runId },
  );
}

/**
 * Who holds a lease, for people.
 * @param {{ holder?: string, pid?: number, host?: string }} lease
 */
function inWords({ holder = 'somebody', pid, host }) {
  // Of a lease whose file is damaged nobody knows more than that there is one.
  const where = [pid ? `pid ${pid}` : '', host ? `on ${host}` : ''].filter(Boolean).join(' ');
  return where === '' ? holder : `${holder} (${where})`;
}

/** This process, for others. */
function holderName() {
  const script = process.argv[1];
  if (isOwnCommand(script)) return 'waymark';
  return script ? path.basename(script) : 'node';
}

/** The right to go on with a run. */
class Lease {
  /** @type {Place} */
  #place;
  /** @type {string} */
  #folder;
  /** @type {number | undefined} */
  #ttlMs;

  /**
   * @param {Place} place
   * @param {string} runId
   * @param {string} holder
   * @param {number | undefined} ttlMs
   * @param {LeaseTaken} taken
   */
  constructor(place, runId, holder, ttlMs, taken) {
    this.#place = place;
    this.#folder = folderOf(place, runId);
    this.#ttlMs = ttlMs;
    this.runId = runId;
    this.holder = holder;
    /** The fencing token. */
    this.token = taken.token;
    this.since = taken.since;
    /** Who held it before and had not given it back. @type {import('../native.js').LeaseStanding | undefined} */
    this.tookOver = taken.tookOver;
    held.set(this.#folder, this.token);
  }

  /** Whether it is somebody else's by now, or was given back. */
  get lost() {
    const found = unwrap(native().readLeaseSync(this.#place, this.runId), this.renewSync);
    if (found?.why === 'damaged') return false;
    return found === null || found.token !== this.token || found.why === 'released';
  }

  /** What a child process is given, so that what it records is recorded by this lease. */
  get environment() {
    return { WAYMARK_LEASE: `${this.runId}=${this.token}` };
  }

  async renew() {
    const reply = await native().renewLease(this.#place, this.runId, this.token, this.#ttlMs);
    return { expires: unwrap(reply, this.renew).expires };
  }

  renewSync() {
    const reply = native().renewLeaseSync(this.#place, this.runId, this.token, this.#ttlMs);
    return { expires: unwrap(reply, this.renewSync).expires };
  }

  async release() {
    const reply = await native().releaseLease(this.#place, this.runId, this.token);
    this.#forget();
    return unwrap(reply, this.release);
  }

  releaseSync() {
    const reply = native().releaseLeaseSync(this.#place, this.runId, this.token);
    this.#forget();
    return unwrap(reply, this.releaseSync);
  }

  /** It is for whoever a resume gives it to. */
  reserve() {
    ofResumes.set(this.#folder, this.token);
  }

  /** It is this process's own: it goes on with the run itself. */
  adopt() {
    ofResumes.delete(this.#folder);
  }

  #forget() {
    if (held.get(this.#folder) !== this.token) return;
    held.delete(this.#folder);
    ofResumes.delete(this.#folder);
  }
}

/** @param {string} runId @param {unknown} options @param {string} where */
function asked(runId, options, where) {
  const checked = checkOptions(options, LEASE, where);
  const { holder = holderName(), ttlMs, keep = true, token, force } = checked;
  return { id: checkRunId(runId), keep, request: { holder, ttlMs, token, force } };
}

/**
 * @param {Place} place
 * @param {string} runId
 * @param {import('../index.js').LeaseOptions} [options]
 */
async function takeLease(place, runId, options) {
  const { id, keep, request } = asked(runId, options, 'lease');
  const taken = unwrap(await native().acquireLease(place, id, request), takeLease);
  freeLater();
  const lease = new Lease(place, id, request.holder, request.ttlMs, taken);
  try {
    if (keep) unwrap(await native().keepLease(place, id, taken.token, request.ttlMs), takeLease);
  } catch (error) {
    lease.releaseSync();
    throw error;
  }
  return lease;
}

/**
 * @param {Place} place
 * @param {string} runId
 * @param {import('../index.js').LeaseOptions} [options]
 */
function takeLeaseSync(place, runId, options) {
  const { id, keep, request } = asked(runId, options, 'leaseSync');
  const taken = unwrap(native().acquireLeaseSync(place, id, request), takeLeaseSync);
  freeLater();
  const lease = new Lease(place, id, request.holder, request.ttlMs, taken);
  try {
    if (keep) unwrap(native().keepLeaseSync(place, id, taken.token, request.ttlMs), takeLeaseSync);
  } catch (error) {
    lease.releaseSync();
    throw error;
  }
  return lease;
}

/** @param {Place} place @param {string} runId */
async function readLease(place, runId) {
  return unwrap(await native().readLease(place, checkRunId(runId)), readLease);
}

/** @param {Place} place @param {string} runId */
function readLeaseSync(place, runId) {
  return unwrap(native().readLeaseSync(place, checkRunId(runId)), readLeaseSync);
}

module.exports = {
  Lease,
  holderName,
  inWords,
  inherited,
  leaseToken,
  readLease,
  readLeaseSync,
  takeLease,
  takeLeaseSync,
  tokenToGoOn,
};
