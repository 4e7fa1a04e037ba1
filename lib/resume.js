const { WaymarkError } = require('./error.js');
const { readSteps, stepAfter } = require('./workflow.js');

/**
 * @typedef {import('../index.js').CheckpointManager} CheckpointManager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').RestoreResult} RestoreResult
 * @typedef {import('../index.js').SkippedCheckpoint} SkippedCheckpoint
 *
 * @typedef {object} ResumeRequest
 * @property {string} workflow the workflow file
 * @property {Step} [step] resume after the newest good checkpoint of this step
 * @property {string} [checkpointId] resume after this checkpoint
 * @property {import('../index.js').OnConflict} [onConflict]
 * @property {boolean} [files] whether files are put back
 * @property {boolean} [dryRun] tell what would be done, change nothing
 *
 * @typedef {object} ResumePoint
 * @property {string} checkpointId the checkpoint the run goes on from
 * @property {Step | null} from the last step that was done by then; null if none was
 * @property {Step | undefined} next the step to go on with; undefined if all are done
 * @property {SkippedCheckpoint[]} skipped damaged checkpoints that were passed over
 * @property {RestoreResult | undefined} restored absent in a dry run, and if no step is left
 */

/**
 * Puts a run back to a checkpoint and tells the step to go on with, by the workflow file's order.
 * Whatever refuses the resume does so before anything is changed; a run that is through stays as it
 * is.
 * @param {CheckpointManager} manager
 * @param {string} runId
 * @param {ResumeRequest} request
 * @returns {ResumePoint}
 */
function resumeSync(manager, runId, request) {
  const { workflow, step, checkpointId, dryRun = false, onConflict, files } = request;
  const steps = readSteps(workflow);
  // A restore that was killed is part of the run's state: finished before checkpoints are judged.
  if (!dryRun) recover(manager, runId);
  const chosen = choose(manager, runId, step, checkpointId);
  const from = doneBy(manager, runId, steps, chosen);
  const next = from === null ? steps[0].step : stepAfter(workflow, steps, from)?.step;
  const point = { checkpointId: chosen.checkpointId, from, next, skipped: chosen.skipped };
  if (dryRun || next === undefined) return { ...point, restored: undefined };
  const restored = manager.restoreSync(runId, {
    checkpointId: chosen.checkpointId,
    onConflict,
    files,
  });
  return { ...point, restored };
}

/**
 * The last step of the workflow that was done when a checkpoint was taken. Tasks and guards take theirs in the middle of
 * a step: what they were taken after is no step of the workflow, and the step that they lie in is not done.
 * @param {CheckpointManager} manager
 * @param {string} runId
 * @param {import('./workflow.js').WorkflowStep[]} steps
 * @param {{ checkpointId: string, step: Step }} chosen
 * @returns {Step | null} null if none was; one that the workflow does not list if that is not known
 */
function doneBy(manager, runId, steps, { checkpointId, step }) {
  // Loaded here: a runner that starts with the preload pays for every file.
  const { forestIn, isGuards } = require('./task-history.js');
  const place = (/** @type {Step | undefined} */ one) =>
    steps.findIndex((each) => each.step === one);
  const rows = new Map(manager.listSync(runId).map((row) => [row.checkpointId, row]));
  let row = rows.get(checkpointId);
  for (; row !== undefined; row = rows.get(row.parentCheckpointId ?? '')) {
    const { facts } = row;
    // Only of these it is looked at what they hold.
    if (facts?.type === 'automatic' && facts.task !== undefined) {
      const { checkpoint } = manager.showSync(runId, row.checkpointId);
      const forest = forestIn(checkpoint.step_state);
      if (forest) {
        const whole = forest.roots.filter(({ status }) => status === 'completed');
        // A runner may make a task of each of its steps.
        const done = [forest.base, ...whole.map(({ name }) => name)].map(place);
        const last = Math.max(...done);
        if (last >= 0) return steps[last].step;
        return forest.base ?? null;
      }
    }
    if (!isGuards(row)) return place(row.step) >= 0 ? row.step : step;
    // What a fork began from lies in another run: what was done there is not known.
    if (row.parentCheckpointId === undefined) return facts?.parent === undefined ? null : step;
  }
  return step;
}

/**
 * @param {CheckpointManager} manager
 * @param {string} runId
 */
function recover(manager, runId) {
  try {
    manager.recoverSync(runId);
  } catch (error) {
    // The restore that follows writes anew whatever the journal meant to write.
    const { code } = /** @type {{ code?: unknown }} */ (error);
    if (code !== 'ERR_JOURNAL_DAMAGED') throw error;
  }
}

/**
 * @param {CheckpointManager} manager
 * @param {string} runId
 * @param {Step | undefined} step
 * @param {string | undefined} checkpointId
 * @returns {{ checkpointId: string, step: Step, skipped: SkippedCheckpoint[] }}
 */
function choose(manager, runId, step, checkpointId) {
  if (checkpointId !== undefined) {
    const shown = manager.showSync(runId, checkpointId);
    return { checkpointId: shown.checkpointId, step: shown.step, skipped: [] };
  }
  const { checkpoints, damaged } = manager.verifySync(runId);
  const skipped = damaged.map(({ checkpointId: id, damage, message }) => ({
    checkpointId: id,
    damage,
    message,
  }));
  const found = step === undefined ? checkpoints[0] : checkpoints.find((one) => one.step === step);
  if (found) return { checkpointId: found.checkpointId, step: found.step, skipped };
  const passedOver = skipped.map((one) => `${one.checkpointId} (${one.message})`).join(', ');
  if (step !== undefined && checkpoints.length > 0) {
    const steps = checkpoints.map((one) => one.step).join(', ');
    throw new WaymarkError(
      'ERR_CHECKPOINT_NOT_FOUND',
      `Checkpoint not found: step ${step} of run ${runId}; there are checkpoints of the steps ${steps}${
        passedOver && `; damaged: ${passedOver}`
      }`,
      { runId, skipped },
    );
  }
  if (skipped.length > 0) {
    throw new WaymarkError(
      'ERR_NO_GOOD_CHECKPOINT',
      `none of the ${skipped.length} checkpoints of run ${runId} can be restored: ${passedOver}; nothing was changed`,
      { runId, skipped },
    );
  }
  throw new WaymarkError(
    'ERR_NO_CHECKPOINT',
    `run ${runId} has no checkpoint; start it from its first step`,
    { runId },
  );
}

module.exports = { resumeSync };
