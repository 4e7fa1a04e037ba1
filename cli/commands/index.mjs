import { UsageError } from '../input.mjs';
import { count } from '../output.mjs';
import { watched } from '../progress.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'index',
  usage: 'rebuild [options]',
  summary: 'make the index of checkpoints anew',
  about:
    'Makes the index that queries are answered from anew, by reading all runs. It is made by itself where it is missing; nothing is lost with it.',
  arguments: [['what', 'rebuild']],
  options: [],
  examples: [['waymark index rebuild', '']],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  if (args[0] !== 'rebuild') {
    const given = args[0] === undefined ? 'nothing was given' : `not "${args[0]}"`;
    throw new UsageError(`waymark index knows rebuild only, ${given}`);
  }
  const made = await watched('index', options, (watch) => manager.rebuildIndex(watch));
  return {
    data: made,
    text: () => `${count(made.checkpoints, 'checkpoint')} of ${count(made.runs, 'run')}`,
  };
}
