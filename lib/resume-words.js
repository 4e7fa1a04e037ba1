// A resume in words: the same in a step's process, of `waymark resume` and of the supervisor.

/**
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').ResumeReason} ResumeReason
 * @typedef {import('../index.js').SkippedCheckpoint} SkippedCheckpoint
 */

/**
 * What was done when the checkpoint that a run goes on from was taken.
 * @param {Step | null} from
 */
function behind(from) {
  return from === null ? 'no step was done' : `step ${from}`;
}

/**
 * What a run goes on with all the same, and what was done about the rest. Damage has lines of its own.
 * @param {ResumeReason[]} reasons
 * @param {{ option: string, message: string }[]} [did]
 * @returns {string[]}
 */
function circumstances(reasons, did = []) {
  return [
    ...reasons
      .filter(({ type, severity }) => severity !== 'note' && type !== 'state_damaged')
      .map(({ type, accepted, message }) => `${accepted ? 'accepted: ' : ''}${message} (${type})`),
    ...did.map(({ option, message }) => `${option}: ${message}`),
  ];
}

/**
 * @param {SkippedCheckpoint[]} skipped
 * @returns {string[]}
 */
function passedOver(skipped) {
  return skipped.map(({ checkpointId, message }) => `passed over ${checkpointId}: ${message}`);
}

module.exports = { behind, circumstances, passedOver };
