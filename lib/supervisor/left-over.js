// Steps that are still at work although the supervisor that started them is gone. Their work counts: they are waited
// for, so that no step is ever at work twice.

const os = require('node:os');
const { WaymarkError } = require('../error.js');
const { native } = require('../native.js');

/**
 * A step that is at work, as the supervisor keeps it.
 * @typedef {object} UnderWay
 * @property {number} pid
 * @property {string} host
 * @property {string | null} started what tells this process from a later one with its number
 * @property {import('../../index.js').Step} step
 * @property {number} attempt
 * @property {string} worker
 * @property {string} since
 * @property {number} [timeLimitMs]
 */

const POLL_MS = 20;

/** @param {number} pid @returns {import('../../native.js').ProcessIdentity} */
function look(pid) {
  const found = native().processIdentitySync(pid);
  if ('failed' in found) throw WaymarkError.from(found, look);
  return found;
}

/** Who a process is. @param {number} pid @returns {{ pid: number, host: string, started: string | null }} */
function identityOf(pid) {
  const found = look(pid);
  return {
    pid,
    host: os.hostname(),
    started: found.started == null ? null : String(found.started),
  };
}

/** Whether it still runs, and is no later process with its number. @param {Pick<UnderWay, 'pid' | 'host' | 'started'>} one */
function isAlive({ pid, host, started }) {
  // Of another host's nobody can tell; its lease says when it may be taken over.
  if (host !== os.hostname()) return false;
  const found = look(pid);
  if (!found.alive) return false;
  // One that had ended before it was looked at has no beginning; where the system tells of none, its number must do.
  return found.started == null ? started === null : String(found.started) === started;
}

/**
 * Waits until none is left. One that is over its time limit is ended, and with `end` all are.
 * @param {UnderWay[]} left
 * @param {{ orphans: 'wait' | 'end', graceMs: number, sleep: (ms: number) => Promise<void>, tell: (message: string) => void }} how
 * @returns {Promise<Set<number>>} the processes that were seen to be gone
 */
async function endLeftOver(left, { orphans, graceMs, sleep, tell }) {
  for (const one of left) {
    if (!isAlive(one)) continue;
    const limit = one.timeLimitMs ?? Number.POSITIVE_INFINITY;
    const until = orphans === 'end' ? 0 : Date.parse(one.since) + limit;
    const what = orphans === 'end' ? 'it is ended' : 'its end is waited for';
    tell(
      `step ${one.step} is still at work (pid ${one.pid}), left by a supervisor that is gone: ${what}`,
    );
    let askedAt;
    while (isAlive(one)) {
      if (askedAt === undefined && Date.now() >= until) {
        askedAt = performance.now();
        kill(one.pid, 'SIGTERM');
      } else if (askedAt !== undefined && performance.now() - askedAt >= graceMs) {
        kill(one.pid, 'SIGKILL');
      }
      await sleep(POLL_MS);
    }
  }
  return new Set(left.map((one) => one.pid));
}

/** @param {number} pid @param {NodeJS.Signals} signal */
function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

module.exports = { endLeftOver, identityOf, isAlive };
