// Which steps are done and which come next: by the order of the workflow file and what is recorded. Pure.

const { WaymarkError } = require('../error.js');

/**
 * @typedef {import('../../index.js').Step} Step
 * @typedef {import('../workflow.js').WorkflowStep} WorkflowStep
 * @typedef {{ step: Step, sequence?: number, checkpointId: string }} Row a good checkpoint
 *
 * Steps that may run side by side; most groups have one.
 * @typedef {{ name: string | undefined, steps: WorkflowStep[] }} Group
 *
 * A step that is done, as the supervisor keeps it.
 * @typedef {object} Done
 * @property {Step} step
 * @property {'checkpoint' | 'skipped' | 'decided'} how `skipped`: its condition was false; `decided`: a person said so
 * @property {string | null} checkpointId of `skipped` and `decided`: the newest there was
 * @property {number} attempts
 * @property {number} ms
 * @property {string} at
 * @property {string} worker
 * @property {string} [strategy] what got it done after failures
 */

/**
 * The steps are done in the file's order: one that waits for a later one can't be.
 * @param {string} path the workflow file, for the error
 * @param {WorkflowStep[]} steps
 */
function checkOrder(path, steps) {
  /** @type {Set<Step>} */
  const later = new Set(steps.map(({ step }) => step));
  for (const { step, after = [] } of steps) {
    later.delete(step);
    const wanted = after.find((one) => later.has(one));
    if (wanted !== undefined) {
      throw new WaymarkError(
        'ERR_WORKFLOW_INVALID',
        `the workflow file ${path} is not usable here: step ${step} waits for step ${wanted}, which stands behind it, and steps are done in the file's order; put step ${wanted} before step ${step}`,
        { path },
      );
    }
  }
}

/**
 * Entries that follow each other and are of one group run side by side, unless one waits for another.
 * @param {WorkflowStep[]} steps
 * @returns {Group[]}
 */
function groupsOf(steps) {
  /** @type {Group[]} */
  const groups = [];
  for (const one of steps) {
    const last = groups.at(-1);
    const waits = last?.steps.some(({ step }) => one.after?.includes(step));
    if (one.group !== undefined && last?.name === one.group && !waits) last.steps.push(one);
    else groups.push({ name: one.group, steps: [one] });
  }
  return groups;
}

/**
 * Which steps need not run again. What has a good checkpoint is done, and so is all before it in the file; of steps
 * side by side only those that have one each. Steps that leave no checkpoint are done if they were noted after the
 * newest.
 * @param {string} workflow the file, for the error
 * @param {WorkflowStep[]} steps
 * @param {Row | undefined} head the checkpoint that the run goes on from
 * @param {Row[]} rows the run's good checkpoints, newest first
 * @param {Done[]} noted
 * @returns {Set<Step>}
 */
function doneSteps(workflow, steps, head, rows, noted) {
  const groups = groupsOf(steps);
  /** @type {Set<Step>} */
  const done = new Set();
  let next = 0;
  if (head !== undefined) {
    const at = groups.findIndex((group) => group.steps.some((one) => one.step === head.step));
    if (at === -1) throw notListed(workflow, steps, head.step);
    for (const group of groups.slice(0, at)) for (const { step } of group.steps) done.add(step);
    const members = groups[at].steps.map((one) => one.step);
    const isBefore = (/** @type {Row} */ row) => (row.sequence ?? 0) <= (head.sequence ?? 0);
    const since = rows.find((row) => isBefore(row) && !members.includes(row.step))?.sequence ?? -1;
    const there = new Set(rows.map((row) => row.checkpointId));
    for (const step of members) {
      const hasOne = rows.some(
        (row) => row.step === step && isBefore(row) && (row.sequence ?? 0) > since,
      );
      // Its checkpoint may have made way for newer ones meanwhile.
      const isNoted = noted.some((one) => one.step === step && one.how === 'checkpoint');
      if (step === head.step || hasOne || (isNoted && there.has(head.checkpointId))) done.add(step);
    }
    next = at;
  }
  const after = noted.filter(
    (one) => one.how !== 'checkpoint' && one.checkpointId === (head?.checkpointId ?? null),
  );
  for (const group of groups.slice(next)) {
    for (const { step } of group.steps) if (after.some((one) => one.step === step)) done.add(step);
    // One that is open keeps all behind it open.
    if (!group.steps.every((one) => done.has(one.step))) break;
  }
  return done;
}

/**
 * The next steps to run, side by side; none if all are done.
 * @param {WorkflowStep[]} steps
 * @param {Set<Step>} done
 * @returns {WorkflowStep[]}
 */
function nextSteps(steps, done) {
  for (const group of groupsOf(steps)) {
    const open = group.steps.filter((one) => !done.has(one.step));
    if (open.length > 0) return open;
  }
  return [];
}

/** @param {WorkflowStep[]} steps */
const listed = (steps) => `it lists ${steps.map((one) => one.step).join(', ')}`;

/**
 * @param {string} path
 * @param {WorkflowStep[]} steps
 * @param {Step} step of the checkpoint
 */
function notListed(path, steps, step) {
  return new WaymarkError(
    'ERR_WORKFLOW_STEP_MISSING',
    `the checkpoint was taken after step ${step}, which the workflow file ${path} does not list (${listed(steps)}); go on after another one (--resume-step), or give the workflow file the run was started with`,
    { path },
  );
}

/**
 * @param {string} path
 * @param {WorkflowStep[]} steps
 * @param {Step} step that was asked for
 * @param {'paused' | 'resumed'} what becomes of the run after it
 */
function noSuchStep(path, steps, step, what) {
  return new WaymarkError(
    'ERR_WORKFLOW_STEP_MISSING',
    `the workflow file ${path} does not list step ${step}, after which the run is to be ${what} (${listed(steps)}); nothing was started`,
    { path },
  );
}

module.exports = { checkOrder, doneSteps, groupsOf, nextSteps, noSuchStep };
