// Requests and results of verify and gc, and the gc after what drops checkpoints.

const path = require('node:path');
const { WaymarkError } = require('./error.js');

/**
 * @typedef {import('../index.js').GcOutcome} GcOutcome
 * @typedef {{ gc?: GcOutcome, warnings?: string[] }} Collected
 */

/**
 * @param {Record<string, any>} options
 * @returns {import('../native.js').VerifyRequest}
 */
function verifyRequest({ checkpointId, data = false, share, heal = false }) {
  return { checkpointId, data, share, heal };
}

/**
 * @param {import('../native.js').VerifyOutcome} found
 * @returns {import('../index.js').VerifyResult}
 */
function ofOneRun({ runs, ...found }) {
  const [{ checkpoints, damaged }] = runs;
  return { ...found, checkpoints, damaged };
}

/**
 * @param {Record<string, any>} options
 * @returns {import('../native.js').GcRequest}
 */
function gcRequest({ dryRun = false, maxUnused, forgetRoots = [] }) {
  if (forgetRoots.includes('')) {
    throw new WaymarkError('ERR_OPTION_INVALID', 'gc: option "forgetRoots" has an empty path');
  }
  return {
    dryRun,
    maxUnused,
    forgetRoots: forgetRoots.map((/** @type {string} */ root) => path.resolve(root)),
  };
}

/**
 * A gc that fails is no failure of what was done before it.
 * @param {unknown} error
 * @returns {string[]}
 */
function notCollected(error) {
  const { code, message } = /** @type {{ code?: string, message: string }} */ (error);
  const why = code === 'ERR_ABORTED' ? 'aborted' : `${message} [${code}]`;
  return [`gc, to free what is needed no more: ${why}`];
}

/**
 * @template {object} T
 * @param {T} outcome
 * @param {Record<string, any>} options
 * @param {(watch: import('../index.js').ProgressOptions) => Promise<GcOutcome>} gc
 * @returns {Promise<T & Collected>}
 */
async function thenGc(outcome, { gc: wanted, dryRun, signal, onProgress }, gc) {
  if (wanted !== true || dryRun === true) return /** @type {T & Collected} */ (outcome);
  try {
    return { ...outcome, gc: await gc({ signal, onProgress }) };
  } catch (error) {
    return withoutGc(outcome, error);
  }
}

/**
 * @template {object} T
 * @param {T} outcome
 * @param {unknown} error
 * @returns {T & Collected}
 */
function withoutGc(outcome, error) {
  const before = /** @type {Collected} */ (outcome).warnings ?? [];
  return { ...outcome, warnings: [...before, ...notCollected(error)] };
}

/**
 * @template {object} T
 * @param {T} outcome
 * @param {Record<string, any>} options
 * @param {() => GcOutcome} gc
 * @returns {T & Collected}
 */
function thenGcSync(outcome, { gc: wanted, dryRun }, gc) {
  if (wanted !== true || dryRun === true) return /** @type {T & Collected} */ (outcome);
  try {
    return { ...outcome, gc: gc() };
  } catch (error) {
    return withoutGc(outcome, error);
  }
}

module.exports = { verifyRequest, ofOneRun, gcRequest, thenGc, thenGcSync };
