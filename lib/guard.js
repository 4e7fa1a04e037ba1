// Guards: a checkpoint before something risky, and the way back if it throws.

const { WaymarkError } = require('./error.js');
const { checkOptions, checkRunId } = require('./options.js');
const { checkName, tellOn, withFacts } = require('./task-values.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').RestoreResult} RestoreResult
 * @typedef {import('../index.js').Step} Step
 * @typedef {{ checkpointId: string, sequence: number, timestamp: string }} Made
 *
 * How a guard takes its checkpoint and goes back to it.
 * @typedef {object} Way
 * @property {(step: Step, facts: Record<string, unknown>) => Promise<Made>} take
 * @property {(made: Made, how: Record<string, any>) => Promise<RestoreResult>} restore
 */

const INNER = /** @type {const} */ ({ rollback: 'boolean', restore: 'any' });
const GUARD = /** @type {const} */ ({
  ...INNER,
  state: 'any',
  keepLast: 'keepLast',
  maxStateBytes: 'number',
  capture: 'capture',
  maxBytes: 'number',
  signal: 'signal',
});
const RESTORE = /** @type {const} */ ({
  files: 'boolean',
  onConflict: 'policy',
  only: 'parts',
  capture: 'capture',
  maxBytes: 'number',
  strategy: 'strategy',
  batch: 'positive',
  check: 'function',
});

/**
 * @param {Manager} manager
 * @param {boolean} factsKnown
 * @param {unknown[]} words run, name, function, options
 */
async function guard(manager, factsKnown, [runId, name, fn, options]) {
  const run = checkRunId(runId);
  const checked = checkOptions(options, GUARD, 'guard');
  const { rollback, restore, state = {}, ...how } = checked;
  return guarded(
    name,
    fn,
    { rollback, restore },
    {
      take: (step, facts) => manager.create(run, step, state, withFacts(factsKnown, how, facts)),
      restore: (made, { ...restored }) =>
        manager.restore(run, { ...restored, checkpointId: made.checkpointId }),
    },
  );
}

/**
 * @param {unknown} name
 * @param {unknown} fn
 * @param {unknown} options
 * @param {Way} way
 * @returns {Promise<any>}
 */
async function guarded(name, fn, options, way) {
  const { rollback = false, restore } = checkOptions(options, INNER, 'guard');
  const how = checkOptions(restore, RESTORE, 'guard: restore');
  if (typeof fn !== 'function') {
    throw new WaymarkError('ERR_OPTION_INVALID', `guard: give a function, not ${typeof fn}`);
  }
  const step = checkName(name);
  const facts = { type: 'automatic', trigger: 'risk', description: `before ${step}` };
  const made = await way.take(step, facts);
  const { checkpointId } = made;
  try {
    return await fn({ checkpointId });
  } catch (error) {
    tellOn(error, { checkpointId, rolledBack: false });
    if (rollback) {
      try {
        tellOn(error, { rolledBack: true, restored: await way.restore(made, how) });
      } catch (refused) {
        // What went wrong first is what the caller has to know of.
        tellOn(error, { refused });
      }
    }
    throw error;
  }
}

module.exports = { guard, guarded };
