import { ARGUMENTS, become } from '../changes.mjs';
import { FACTS, factsOf } from '../facts.mjs';
/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'complete',
  usage: '<run> <checkpoint> [options]',
  summary: 'say that what a checkpoint was taken for is done',
  about: 'Says that what a checkpoint was taken for is done: active becomes completed.',
  arguments: ARGUMENTS,
  options: [...FACTS],
  examples: [['waymark complete demo checkpoint-step-2-1767323045678 --label shipped', '']],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const [runId, id] = /** @type {string[]} */ (args);
  return become(runId, manager.completeSync(runId, id, { update: factsOf(options) }));
}
