'use strict';

// The results of the drop-in functions, as the runner and the old tools know them.

/**
 * @typedef {import('../index.js').RestoreResult} RestoreResult
 * @typedef {import('../index.js').CheckpointInfo} CheckpointInfo
 * @typedef {import('../index.js').DamagedCheckpoint} DamagedCheckpoint
 */

/**
 * @param {RestoreResult} restored
 * @returns {import('../index.js').RestoredCheckpoint}
 */
function restoredCheckpoint(restored) {
  return {
    checkpoint: restored.checkpoint,
    restored_step: restored.step,
    artifacts_restored: restored.artifactsRestored,
    recovery_instructions: restored.recoveryInstructions,
    skipped: restored.skipped,
  };
}

/**
 * @param {(CheckpointInfo | DamagedCheckpoint)[]} found
 * @returns {import('../index.js').ListedCheckpoint[]}
 */
function listedCheckpoints(found) {
  return found.map((one) =>
    'damage' in one
      ? {
          checkpoint_id: one.checkpointId,
          path: one.path,
          damage: one.damage,
          message: one.message,
        }
      : {
          checkpoint_id: one.checkpointId,
          step: one.step,
          timestamp: one.timestamp,
          path: one.path,
        },
  );
}

module.exports = { restoredCheckpoint, listedCheckpoints };
