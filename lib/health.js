// Whether one could go on from the checkpoints that there are: what is damaged, old, not verified, what fails, and
// which thresholds that crosses.

const { alertsOf, isOff, levelOf, NAMES } = require('./alerts.js');
const { taken } = require('./metrics.js');
const { checkOptions } = require('./options.js');

/**
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../index.js').Health} Health
 * @typedef {import('../index.js').HealthCheckName} Name
 * @typedef {import('../index.js').QueryRow} QueryRow
 */

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const HEALTH = /** @type {const} */ ({ thresholds: 'alerts', signal: 'signal' });
/** What a restore is taken to need where none was done yet: so long, and so many bytes in a second. */
const ASSUMED = { fixedMs: 50, bytesPerSecond: 50 * 1024 * 1024 };
/** By how many restores the assumption is given up. */
const RESTORES_MIN = 3;
/** So many runs are listed side by side. */
const SIDE_BY_SIDE = 2;

/** What is refused because it can't be done: the caller's business, and no sign of ill health. */
const REFUSED = new Set([
  'ERR_CHECKPOINT_ID_INVALID',
  'ERR_CHECKPOINT_NOT_FOUND',
  'ERR_FACTS_INVALID',
  'ERR_IMPORT_CONFLICT',
  'ERR_NOTHING_TO_UNDO',
  'ERR_NO_CHECKPOINT',
  'ERR_OPTION_INVALID',
  'ERR_PATH_EXISTS',
  'ERR_PLAN_NOT_FOUND',
  'ERR_PLAN_STALE',
  'ERR_RESTORE_CHECK_FAILED',
  'ERR_RESTORE_CONFLICT',
  'ERR_RUN_ID_INVALID',
  'ERR_RUN_NOT_FOUND',
  'ERR_STATE_TOO_LARGE',
  'ERR_STATE_TRANSITION',
  'ERR_STEP_INVALID',
]);

/**
 * @typedef {object} Ground
 * @property {import('../index.js').CheckpointManager} manager
 * @property {Calls} calls
 * @property {Place} place
 * @property {InstanceType<typeof import('./metrics.js').Numbers>} numbers
 * @property {(import('../index.js').AlertSettings | undefined)[]} alerts those of the project and of the manager
 * @property {number | undefined} maxBytes the store's budget
 */

/**
 * @param {() => Ground} ground
 * @param {unknown} options
 * @returns {Promise<Health>}
 */
async function health(ground, options) {
  const { thresholds: asked, signal } = checkOptions(options, HEALTH, 'health');
  const { manager, calls, place, numbers, alerts: layers, maxBytes } = ground();
  const alerts = alertsOf(...layers, asked);
  const now = Date.now();
  const { reader, folder } = await numbers.read(calls, place, signal);
  const since = now - alerts.windowHours * HOUR_MS;
  const operations = outcomes(reader.sums(since).sums);
  const restore = restoreModel(reader.sums().sums);
  const verifyFrom = now - alerts.verifiedWithinDays * DAY_MS;
  const seen = await look(manager, verifyFrom, signal);
  const verified = isOff(alerts.thresholds.verifiedShare)
    ? undefined
    : await verifiedOf(manager, seen.due, verifyFrom, signal);
  const runsDir = seen.newest.length === 0 ? '' : manager.runsDir();
  const runs = seen.newest.map((row) => {
    const bytes = reader.sizeOf(runsDir, row.runId, row.checkpointId) ?? row.size;
    return {
      runId: row.runId,
      checkpointId: row.checkpointId,
      timestamp: row.timestamp,
      ageMs: Math.max(0, now - Date.parse(row.timestamp)),
      bytes,
      restoreMs: Math.round(restore.fixedMs + (bytes / restore.bytesPerSecond) * 1000),
    };
  });
  const store = await taken(folder);
  // What the budget counts: the log and what is archived do not.
  const counted = store.bytes - store.log - store.archive;
  const log = reader.log();
  const tried = operations.succeeded + operations.failed;
  const enough = tried > 0 && tried >= alerts.minOperations;
  const due = verified === undefined ? null : verified.due;
  /** @type {Record<Name, number | null>} */
  const values = {
    successRate: enough ? operations.succeeded / tried : null,
    verifiedShare: verified && verified.due > 0 ? verified.verified / verified.due : null,
    checkpointAgeHours: largest(runs.map((run) => run.ageMs / HOUR_MS)),
    restoreSeconds: largest(runs.map((run) => run.restoreMs / 1000)),
    damaged: seen.damaged,
    unready: seen.unready.length,
    storeShare: maxBytes === undefined || maxBytes === 0 ? null : counted / maxBytes,
    brokenEvents: log.broken,
  };
  const checks = NAMES.map((name) => {
    const limits = alerts.thresholds[name];
    const value = values[name];
    return { name, level: levelOf(name, value, limits), value, ...limits };
  });
  /** @param {import('../index.js').HealthLevel} level */
  const has = (level) => checks.some((check) => check.level === level);
  return {
    level: has('alert') ? 'alert' : has('warn') ? 'warn' : 'ok',
    at: new Date(now).toISOString(),
    checks,
    operations: { since: new Date(since).toISOString(), ...operations },
    checkpoints: {
      total: seen.total,
      damaged: seen.damaged,
      due,
      verified: verified?.verified ?? null,
    },
    restore,
    runs: runs.sort((a, b) => b.ageMs - a.ageMs),
    unready: seen.unready,
    store: { path: store.path, bytes: store.bytes, counted, ...(maxBytes ? { maxBytes } : {}) },
    log,
  };
}

/**
 * How many operations succeeded, and how many failed by no fault of what was asked for. Those whose success the log
 * does not tell don't count.
 * @param {InstanceType<typeof import('./aggregate.js').Sums>} sums
 */
function outcomes({ operations }) {
  let [succeeded, failed, refused] = [0, 0, 0];
  for (const [name, tally] of operations) {
    if (name === 'verify' || name === 'gc') continue;
    succeeded += tally.succeeded;
    for (const [code, count] of tally.failures) {
      if (REFUSED.has(code)) refused += count;
      else failed += count;
    }
  }
  return { succeeded, failed, refused };
}

/**
 * What a restore needs, by those that were done: half of them took no longer than `fixedMs`, and those that put
 * files back wrote so many bytes in a second.
 * @param {InstanceType<typeof import('./aggregate.js').Sums>} sums
 * @returns {import('../index.js').Health['restore']}
 */
function restoreModel(sums) {
  const latency = sums.operations.get('restore')?.latency;
  const measured = latency?.count ?? 0;
  if (measured < RESTORES_MIN) return { ...ASSUMED, measured };
  const fixedMs = latency?.quantile(0.5) ?? ASSUMED.fixedMs;
  const { restoredBytes, restoredMs } = sums;
  const bytesPerSecond =
    restoredBytes > 0 && restoredMs > 0
      ? (restoredBytes / restoredMs) * 1000
      : ASSUMED.bytesPerSecond;
  return { fixedMs, bytesPerSecond, measured };
}

/**
 * @param {import('../index.js').CheckpointManager} manager
 * @param {number} verifyFrom
 * @param {AbortSignal | undefined} signal
 */
async function look(manager, verifyFrom, signal) {
  let [total, damaged] = [0, 0];
  /** @type {QueryRow[]} */
  const newest = [];
  /** Runs with checkpoints that are old enough to have been verified. @type {Set<string>} */
  const due = new Set();
  /** Whether a run has a good one. @type {Map<string, boolean>} */
  const good = new Map();
  for await (const row of manager.query({ signal })) {
    total += 1;
    if (row.damage !== undefined) {
      damaged += 1;
      if (!good.has(row.runId)) good.set(row.runId, false);
      continue;
    }
    good.set(row.runId, true);
    if (row.resumable) newest.push(row);
    if (Date.parse(row.timestamp) < verifyFrom) due.add(row.runId);
  }
  const unready = [...good].filter(([, one]) => !one).map(([runId]) => runId);
  return { total, damaged, newest, due: [...due], unready: unready.sort() };
}

/**
 * How many checkpoints are due for a verification of their contents, and how many of them had one. Only runs that have
 * such checkpoints are looked at.
 * @param {import('../index.js').CheckpointManager} manager
 * @param {string[]} runs
 * @param {number} verifyFrom
 * @param {AbortSignal | undefined} signal
 */
async function verifiedOf(manager, runs, verifyFrom, signal) {
  let [due, verified] = [0, 0];
  const left = [...runs];
  const work = async () => {
    for (let runId = left.pop(); runId !== undefined; runId = left.pop()) {
      // Between two looks a run may be dropped.
      const rows = await manager.list(runId, { signal }).catch((error) => {
        if (error.code === 'ERR_RUN_NOT_FOUND') return [];
        throw error;
      });
      for (const { timestamp, lastVerifiedAt } of rows) {
        if (Date.parse(timestamp) >= verifyFrom) continue;
        due += 1;
        if (lastVerifiedAt !== undefined && Date.parse(lastVerifiedAt) >= verifyFrom) verified += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work));
  return { due, verified };
}

/** @param {number[]} values @returns {number | null} */
function largest(values) {
  return values.length === 0 ? null : values.reduce((a, b) => Math.max(a, b));
}

module.exports = { health };
