import { UsageError } from '../input.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'recover',
  usage: '<run> [options]',
  summary: 'finish or undo a restore that was cut off',
  about:
    'Finishes a restore that was cut off, or undoes it. Every command that writes begins with finishing it; this is for those who want it undone, or who read the files of the run by themselves.',
  arguments: [['run', "the run's id"]],
  options: [
    {
      flags: '--unfinished <what>',
      about: 'finish or undo (default: finish)',
      parse: (text) => {
        if (text === 'finish' || text === 'undo') return text;
        throw new UsageError(`--unfinished must be finish or undo, not "${text}"`);
      },
    },
  ],
  examples: [
    ['waymark recover demo', 'finish it'],
    ['waymark recover demo --unfinished undo', 'everything as it was before'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options: { unfinished } }) {
  const runId = /** @type {string} */ (args[0]);
  const recovered = manager.recoverSync(runId, { unfinished });
  return {
    data: { runId, recovered },
    text: () =>
      recovered === 'nothing'
        ? `no restore of run ${runId} was cut off`
        : `a restore of run ${runId} had been cut off and was ${recovered}`,
  };
}
