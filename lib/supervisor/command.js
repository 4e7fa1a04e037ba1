// The command of a step: the caller's words, with the step, the run and the workflow in them. Pure.

const { readFlags, withoutFlags } = require('../arguments.js');

/**
 * @param {string[]} command
 * @param {import('../../index.js').Step} step
 * @param {string} runId
 * @param {string} [workflow] appended where the command names none
 * @returns {string[]}
 */
function commandFor(command, step, runId, workflow) {
  if (command.length === 0) return [];
  const has = (/** @type {string} */ mark) => command.some((word) => word.includes(mark));
  const [hasStep, hasRun, hasWorkflow] = [has('{step}'), has('{run}'), has('{workflow}')];
  const flags = readFlags(command);
  const gone = ['resume', 'resume-step'];
  const stepValue = flags.get('step');
  if (typeof stepValue !== 'string' || !stepValue.includes('{step}')) gone.push('step');
  if (flags.get('run-id') === true) gone.push('run-id');
  const words = withoutFlags(command, gone).map((word) =>
    word
      .replaceAll('{step}', () => String(step))
      .replaceAll('{run}', () => runId)
      .replaceAll('{workflow}', () => workflow ?? '{workflow}'),
  );
  // A command that says itself where the step goes is of another kind.
  const appends = workflow !== undefined && !hasStep && !hasWorkflow;
  if (appends && typeof flags.get('workflow') !== 'string') words.push('--workflow', workflow);
  if (!hasStep) words.push('--step', String(step));
  if (!hasRun && typeof flags.get('run-id') !== 'string') words.push('--run-id', runId);
  return words;
}

module.exports = { commandFor };
