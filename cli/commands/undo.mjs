import { ask, asks } from '../ask.mjs';
import { HOW } from '../how.mjs';
import { watched } from '../progress.mjs';
import { refusable, resultOf } from './restore.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'undo',
  usage: '<run> [options]',
  summary: 'put back what was there before the last restore',
  about:
    'Puts back what was there before the last restore of a run: its state and its files. What is there now is kept in turn: undo it once more, and it is back. On a terminal it asks.',
  arguments: [['run', "the run's id"]],
  options: HOW,
  examples: [
    ['waymark undo demo', ''],
    ['waymark undo demo --yes', 'without a question'],
    ['waymark undo demo --on-conflict overwrite', 'also over files changed since the restore'],
  ],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed, or the answer was no; also misuse'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options, tell }) {
  const runId = /** @type {string} */ (args[0]);
  const question = `put back what was there before the last restore of run ${runId}?`;
  if (asks(options) && !(await ask('', question))) {
    const text = () => 'nothing was changed';
    return { data: { runId, restored: false }, text, exitCode: 1 };
  }
  const files = options.stateOnly === true ? false : undefined;
  const { onConflict } = options;
  const restored = await refusable(tell, () =>
    watched('undo', options, (watch) => manager.undo(runId, { files, onConflict, ...watch })),
  );
  return resultOf(runId, restored, false, 'put back');
}
