// The workflow file a runner executes: only its steps and their order.

const fs = require('node:fs');
const { WaymarkError } = require('./error.js');
const { stepFromText } = require('./options.js');

/**
 * @typedef {{ step: number | string, name?: string, agent?: string, outputs: string[], parallel?: string, timeLimitMs?: number }} WorkflowStep
 */

/** @type {Record<string, number>} */
const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

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
      parallel: groupName(entry.parallel ?? entry.parallel_group),
      timeLimitMs: milliseconds(entry.timeout_ms, entry.timeout),
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
 * Entries that follow each other with the same `parallel` (a name, or true) may run side by side.
 * @param {unknown} value
 * @returns {string | undefined}
 */
function groupName(value) {
  if (value === true) return 'parallel';
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * A step's own time limit: `timeout_ms`, or `timeout` as text with its unit. A bare number has none, and every runner
 * means another one.
 * @param {unknown} ms
 * @param {unknown} text
 * @returns {number | undefined}
 */
function milliseconds(ms, text) {
  if (typeof ms === 'number' && ms > 0) return ms;
  const [, number, unit] = /^(\d+(?:\.\d+)?) ?(ms|s|m|h)$/.exec(String(text ?? '')) ?? [];
  if (unit === undefined) return undefined;
  return Number(number) * UNITS_MS[unit];
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
