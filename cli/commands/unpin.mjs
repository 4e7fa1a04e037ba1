import { ARGUMENTS, become } from '../changes.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'unpin',
  usage: '<run> <checkpoint>',
  summary: 'let the policy decide on a checkpoint again',
  about: 'Takes the pin of a checkpoint away. One without a pin stays as it is.',
  arguments: ARGUMENTS,
  options: [],
  examples: [['waymark unpin demo checkpoint-step-2-1767323045678', '']],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args }) {
  const [runId, id] = /** @type {string[]} */ (args);
  return become(runId, manager.unpinSync(runId, id));
}
