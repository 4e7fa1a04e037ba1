// What a resume leaves behind for the checkpoint that follows it: which reasons were accepted, and what was done
// about the others. Kept in the run's record `resume` until that checkpoint is there.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');

/**
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../index.js').AcceptedReason} AcceptedReason
 *
 * @typedef {object} Notes
 * @property {string} at
 * @property {string} checkpointId what the run went on from
 * @property {AcceptedReason[]} accepted
 * @property {{ option: string, message: string }[]} did
 */

const NAME = 'resume';

/** @template T @param {T | import('../native.js').Failure} reply @returns {T} */
function unwrap(reply) {
  const failure = /** @type {any} */ (reply);
  if (failure?.failed === true) throw WaymarkError.from(failure, unwrap);
  return /** @type {T} */ (reply);
}

/**
 * Whether there may be any: asked at each checkpoint, and most have none.
 * @param {string} runDir
 */
function hasNotes(runDir) {
  return fs.existsSync(path.join(runDir, 'checkpoints', '.waymark', 'records', `${NAME}.json`));
}

/**
 * @param {Place} place
 * @param {string} runId
 * @returns {{ notes: Notes, revision: string } | undefined}
 */
function readNotes(place, runId) {
  const found = unwrap(native().readRecordSync(place, runId, NAME));
  return found ? { notes: JSON.parse(found.json), revision: found.revision } : undefined;
}

/**
 * @param {Place} place
 * @param {string} runId
 * @param {Notes} notes
 * @returns {string} their revision
 */
function writeNotes(place, runId, notes) {
  return unwrap(native().writeRecordSync(place, runId, NAME, JSON.stringify(notes))).revision;
}

/**
 * They are in a checkpoint now. Other ones that came since stay.
 * @param {Place} place
 * @param {string} runId
 * @param {string} revision
 */
function removeNotes(place, runId, revision) {
  try {
    unwrap(native().removeRecordSync(place, runId, NAME, { revision }));
  } catch (error) {
    const { code } = /** @type {{ code?: unknown }} */ (error);
    if (code !== 'ERR_RECORD_CHANGED') throw error;
  }
}

module.exports = { hasNotes, readNotes, removeNotes, writeNotes };
