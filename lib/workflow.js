// The workflow file a runner executes: only its steps and their order.

const fs = require('node:fs');
const { WaymarkError } = require('./error.js');
const { stepFromText } = require('./options.js');

/**
 * @typedef {object} WorkflowStep
 * @property {number | string} step
 * @property {string} [name]
 * @property {string} [agent]
 * @property {string[]} outputs
 * @property {(number | string)[]} [after] the steps it waits for, where the file names them (`depends_on`, `needs`)
 * @property {string} [group] steps of one group run side by side (`parallel_group`, `parallel` with a name, or
 * neighbours with `parallel: true`)
 * @property {number} [timeLimitMs] its own time limit (`timeout_ms`, or `timeout` with a unit)
 */

/** @type {Record<string, number>} */
const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/**
 * Reads the steps of a workflow file (YAML or JSON), in file order.
 * @param {string} path
 * @returns {WorkflowStep[]}
 */
function readSteps(path) {
  return stepsIn(readText(path), path);
}

/**
 * @param {string} path
 * @returns {string}
 */
function readText(path) {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch (cause) {
    throw new WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      `the workflow file ${path} can't be read: ${/** @type {Error} */ (cause).message}; check --workflow`,
      { path, cause },
    );
  }
}

/**
 * The steps in the text of a workflow file.
 * @param {string} text
 * @param {string} path for errors
 * @returns {WorkflowStep[]}
 */
function stepsIn(text, path) {
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
  let run = 0;
  const steps = listed.map((entry, at) => {
    const step = stepFromText(entry?.step);
    if (typeof step !== 'number' && typeof step !== 'string') {
      throw invalid(`entry ${at + 1} has no step`);
    }
    return {
      step,
      name: wordsOf(entry.name),
      agent: wordsOf(entry.agent),
      outputs: Array.isArray(entry.outputs)
        ? entry.outputs.filter((/** @type {unknown} */ output) => typeof output === 'string')
        : [],
      timeLimitMs: milliseconds(entry.timeout_ms, entry.timeout),
      ...sideBySide(entry),
    };
  });
  /** @param {any} entry what the file says of the steps that it may run beside */
  function sideBySide(entry) {
    const waitsFor = entry.depends_on ?? entry.needs;
    const after = (Array.isArray(waitsFor) ? waitsFor : waitsFor === undefined ? [] : [waitsFor])
      .map(stepFromText)
      .filter((one) => typeof one === 'number' || typeof one === 'string');
    // Neighbours are of one group until a step comes that is not.
    if (entry.parallel !== true) run += 1;
    const name = wordsOf(entry.parallel_group) || wordsOf(entry.parallel);
    const group = name || (entry.parallel === true ? ` ${run}` : undefined);
    return {
      ...(waitsFor === undefined ? {} : { after }),
      ...(group === undefined ? {} : { group }),
    };
  }
  const seen = new Set();
  for (const { step } of steps) {
    if (seen.has(step)) throw invalid(`step ${step} is listed twice`);
    seen.add(step);
  }
  if (steps.some(({ after }) => after !== undefined)) {
    const circle = require('./resume-steps.js').circleIn(steps);
    if (circle !== undefined) {
      throw invalid(
        `step ${circle} waits for itself (a step waits for what its depends_on or needs names, and where it has neither for all steps before it)`,
      );
    }
  }
  return steps;
}

/** @param {unknown} value */
function wordsOf(value) {
  return typeof value === 'string' ? value : undefined;
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

module.exports = { readSteps, readText, stepsIn };
