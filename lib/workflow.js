// The workflow file a runner executes: only its steps and their order.

const fs = require('node:fs');
const { WaymarkError } = require('./error.js');
const { stepFromText } = require('./options.js');

/**
 * @typedef {{ step: number | string, name?: string, agent?: string, outputs: string[] }} WorkflowStep
 */

/**
 * Reads the steps of a workflow file (YAML or JSON), in file order.
 * @param {string} path
 * @returns {WorkflowStep[]}
 */
function readSteps(path) {
  let text;
  try {
    text = fs.readFileSync(path, 'utf8');
  } catch (cause) {
    throw new WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      `the workflow file ${path} can't be read: ${/** @type {Error} */ (cause).message}; check --workflow`,
      { path, cause },
    );
  }
  /** @param {string} reason @param {unknown} [cause] */
  const invalid = (reason, cause) =>
    new WaymarkError(
      'ERR_WORKFLOW_INVALID',
      `the workflow file ${path} is not usable: ${reason}; it needs "steps:" with a "step:" each`,
      { path, cause },
    );
  let parsed;
  try {
    // Loaded here: YAML is only needed for a resume and at the end of a step.
    parsed = require('yaml').parse(text);
  } catch (cause) {
    throw invalid(/** @type {Error} */ (cause).message, cause);
  }
  const listed = parsed?.steps;
  if (!Array.isArray(listed) || listed.length === 0) throw invalid('it lists no steps');
  const steps = listed.map((entry, at) => {
    const step = stepFromText(entry?.step);
    if (typeof step !== 'number' && typeof step !== 'string') {
      throw invalid(`entry ${at + 1} has no step`);
    }
    /** @param {unknown} value */
    const text = (value) => (typeof value === 'string' ? value : undefined);
    return {
      step,
      name: text(entry.name),
      agent: text(entry.agent),
      outputs: Array.isArray(entry.outputs)
        ? entry.outputs.filter((/** @type {unknown} */ output) => typeof output === 'string')
        : [],
    };
  });
  const seen = new Set();
  for (const { step } of steps) {
    if (seen.has(step)) throw invalid(`step ${step} is listed twice`);
    seen.add(step);
  }
  return steps;
}

/**
 * The step that follows in the file's order; undefined after the last one.
 * @param {string} path the workflow file, for the error
 * @param {WorkflowStep[]} steps
 * @param {number | string} step
 * @returns {WorkflowStep | undefined}
 */
function stepAfter(path, steps, step) {
  const at = steps.findIndex((one) => one.step === step);
  if (at === -1) {
    throw new WaymarkError(
      'ERR_WORKFLOW_STEP_MISSING',
      `the checkpoint was taken after step ${step}, which the workflow file ${path} does not list (it lists ${steps
        .map((one) => one.step)
        .join(
          ', ',
        )}); restore another checkpoint, or give the workflow file the run was started with`,
      { path },
    );
  }
  return steps[at + 1];
}

module.exports = { readSteps, stepAfter };
