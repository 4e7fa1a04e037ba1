// The leases that this process holds, and the one that it was given: their tokens go with every verb that changes a run.

const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');

/** @typedef {import('../native.js').Place} Place */

/** By the run's folder. @type {Map<string, number>} */
const held = new Map();

/**
 * The lease that a process was given by the one that started it: `WAYMARK_LEASE=<run>=<token>`.
 * @param {NodeJS.ProcessEnv} env
 * @returns {{ runId: string, token: number } | undefined}
 */
function givenLease(env) {
  const text = env.WAYMARK_LEASE;
  if (!text || text === 'off') return undefined;
  const at = text.lastIndexOf('=');
  const token = Number(text.slice(at + 1));
  if (at < 1 || !Number.isSafeInteger(token) || token <= 0) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `WAYMARK_LEASE must be <run>=<token>, or off, not ${JSON.stringify(text.slice(0, 80))}`,
    );
  }
  return { runId: text.slice(0, at), token };
}

/**
 * The token to name when a run is changed.
 * @param {Place} place
 * @param {string} runId
 * @returns {number | undefined}
 */
function tokenFor(place, runId) {
  if (held.size > 0) {
    const runsDir = native().locateSync(place, runId);
    const token = typeof runsDir === 'string' ? held.get(path.join(runsDir, runId)) : undefined;
    if (token !== undefined) return token;
  }
  const given = givenLease(process.env);
  return given?.runId === runId ? given.token : undefined;
}

module.exports = { givenLease, held, tokenFor };
