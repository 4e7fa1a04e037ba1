// Steps that are at work although whoever held their run is gone: he was killed, and they were not. Until they have
// ended nobody else begins, so that no step is ever at work twice.

const { WaymarkError } = require('./error.js');
const { inWords, readLeaseSync } = require('./lease.js');
const { Records } = require('./records.js');
const { stepInWords } = require('./run-state.js');
const { isAlive } = require('./supervisor/left-over.js');

/**
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../index.js').Step} Step
 * @typedef {{ step?: Step, pid: number, host?: string, started?: string | null, since: string }} Left
 */

/**
 * @param {Place} place
 * @param {string} runId
 * @param {{ why: string } | null} [lease] of the run, if it was read
 * @returns {Left[]}
 */
function leftAtWork(place, runId, lease = readLeaseSync(place, runId)) {
  // A holder that lives keeps others out; one that gave the run back has waited for what he started. One that is only
  // late may be frozen, and what he started with him.
  if (lease?.why !== 'dead') return [];
  const records = new Records(place, runId);
  /** @param {string} name */
  const kept = (name) => {
    try {
      return /** @type {any} */ (records.readSync(name)?.value);
    } catch {
      // Damaged: what it said is lost, and whoever needs it says so.
      return undefined;
    }
  };
  /** @type {Left[]} */
  const noted = [kept('run-state')?.underWay, ...(kept('supervisor')?.running ?? [])];
  /** @type {Map<number, Left>} */
  const left = new Map();
  for (const one of noted) {
    if (one === undefined || one.pid === process.pid || left.has(one.pid)) continue;
    if (one.host !== undefined && isAlive({ ...one, host: one.host, started: one.started ?? null }))
      left.set(one.pid, one);
  }
  return [...left.values()];
}

/**
 * What there is to be done about them, for people.
 * @param {Left[]} left
 * @param {{ holder?: string, pid?: number, host?: string } | null} [lease] of whoever started them
 */
function leftInWords(left, lease) {
  const who = lease ? inWords(lease) : 'whoever started it';
  const [first] = left;
  const pids = left.map((one) => one.pid).join(' ');
  return `${stepInWords(first)} is still at work (pid ${first.pid}), although ${who} is gone: wait for its end, or end it (kill ${pids})`;
}

/**
 * Refuses to take a run on which a step is still at work.
 * @param {Place} place
 * @param {string} runId
 */
function refuseLeft(place, runId) {
  const lease = readLeaseSync(place, runId);
  const left = leftAtWork(place, runId, lease);
  if (left.length === 0) return;
  throw new WaymarkError('ERR_LEASE_HELD', `run ${runId}: ${leftInWords(left, lease)}`, { runId });
}

module.exports = { leftAtWork, leftInWords, refuseLeft };
