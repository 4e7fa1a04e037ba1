// The drop-in: the functions of the runner's checkpoint manager, with its names, arguments and
// results. Nothing here writes to stdout.

const { listedCheckpoints, restoredCheckpoint } = require('./drop-in-shapes.js');
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
  return restoredCheckpoint(restored);
}

/**
 * @param {string} runId
 * @param {{ includeDamaged?: boolean }} [options]
 * @returns {Promise<import('../index.js').ListedCheckpoint[]>}
 */
async function listCheckpoints(runId, options) {
  return listedCheckpoints(await manager.list(runId, options));
}

/**
 * @param {import('../index.js').RestorePlan | import('../index.js').RestoreResult} of
 * @param {'markdown' | 'json'} [format]
 * @returns {string}
 */
function restoreReport(of, format) {
  // Loaded when it is asked for: a runner's start pays for every file.
  return require('./restore-report.js').restoreReport(of, format);
}

exports.createCheckpoint = createCheckpoint;
exports.restoreFromCheckpoint = restoreFromCheckpoint;
exports.listCheckpoints = listCheckpoints;
exports.restoreReport = restoreReport;
exports.CheckpointManager = CheckpointManager;
exports.WaymarkError = WaymarkError;
// The default export holds the named ones, for tools that import it so.
exports.default = module.exports;
