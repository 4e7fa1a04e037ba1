import { parseStep, UsageError } from '../input.mjs';
import { lib } from '../library.mjs';

const { inWords } = lib.lease;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'pause',
  usage: '<run> [options]',
  summary: 'stop a run between two steps',
  about:
    'Asks for a pause. A step that is at work ends first; then a checkpoint is taken, the run is paused, and its process ends with 75. Where nobody is at work it is paused at once. It is durable: also a process that is started later finds it. A paused run does not begin another step until it is resumed.',
  arguments: [['run', "the run's id"]],
  options: [
    { flags: '--reason <text>', about: 'why' },
    {
      flags: '--after-step <step>',
      about: 'not before this step is done',
      parse: parseStep,
    },
    {
      flags: '--workflow <path>',
      about: "the workflow file (default: the one of the run's record)",
    },
    { flags: '--withdraw', about: 'take back what was asked for; a paused run stays paused' },
  ],
  examples: [
    ["waymark pause demo --reason 'look at the plan first'", ''],
    ['waymark pause demo --after-step 3', ''],
    ['waymark pause demo --withdraw', 'go on after all'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const runId = /** @type {string} */ (args[0]);
  const { reason, afterStep, workflow, withdraw } = options;
  if (withdraw) {
    if ([reason, afterStep, workflow].some((one) => one !== undefined)) {
      throw new UsageError('--withdraw takes no other option');
    }
    const data = manager.withdrawPause(runId);
    return {
      data,
      text: () =>
        data.withdrawn
          ? `run ${runId} goes on: no pause is asked for any more`
          : `no pause was asked for of run ${runId}`,
    };
  }
  const data = manager.pause(runId, { reason, afterStep, workflow });
  return { data, text: () => textOf(data) };
}

/** @param {import('../../index.js').PauseResult} result */
function textOf({ runId, pending, afterStep, holder }) {
  if (!pending) return `run ${runId} is paused`;
  const who = holder ? `; ${inWords(holder)} is at work` : '';
  const when = afterStep === undefined ? 'its step is done' : `step ${afterStep} is done`;
  return `run ${runId} is paused when ${when}${who}`;
}
