// The drop-in: the functions of the runner's checkpoint manager, with its names, arguments and
// results. Nothing here writes to stdout.

const { WaymarkError } = require('./error.js');
const { CheckpointManager } = require('./manager.js');
const { stepFromText } = require('./options.js');

const manager = new CheckpointManager();

/**
 * @param {string} runId
 * @param {number | string} step
 * @param {unknown} [stepState]
 * @returns {Promise<import('../index.js').Checkpoint>}
 */
async function createCheckpoint(runId, step, stepState = {}) {
  const created = await manager.create(
    runId,
    /** @type {number | string} */ (stepFromText(step)),
    stepState,
  );
  return created.checkpoint;
}

/**
 * @param {string} runId
 * @param {string | null} [checkpointId]
 * @returns {Promise<import('../index.js').RestoredCheckpoint>}
 */
async function restoreFromCheckpoint(runId, checkpointId) {
  const restored = await manager.restore(
    runId,
    checkpointId === undefined || checkpointId === null ? {} : { checkpointId },
  );
  return {
    checkpoint: restored.checkpoint,
    restored_step: restored.step,
    artifacts_restored: restored.artifactsRestored,
    recovery_instructions: restored.recoveryInstructions,
    skipped: restored.skipped,
  };
}

/**
 * @param {string} runId
 * @param {{ includeDamaged?: boolean }} [options]
 * @returns {Promise<import('../index.js').ListedCheckpoint[]>}
 */
async function listCheckpoints(runId, options) {
  /** @type {(import('../index.js').CheckpointInfo | import('../index.js').DamagedCheckpoint)[]} */
  const found = await manager.list(runId, options);
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

exports.createCheckpoint = createCheckpoint;
exports.restoreFromCheckpoint = restoreFromCheckpoint;
exports.listCheckpoints = listCheckpoints;
exports.CheckpointManager = CheckpointManager;
exports.WaymarkError = WaymarkError;
// The default export holds the named ones, for tools that import it so.
exports.default = module.exports;
