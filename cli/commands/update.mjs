import { ARGUMENTS, become } from '../changes.mjs';
import { FACTS, factsOf } from '../facts.mjs';
import { UsageError } from '../input.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'update',
  usage: '<run> <checkpoint> [options]',
  summary: 'change what is said of a checkpoint',
  about:
    'Changes what is said of a checkpoint. What --facts says is merged: members of objects one by one, null takes one away. The manifest stays as it is; the change is in the log of the run.',
  arguments: ARGUMENTS,
  options: [...FACTS],
  examples: [
    ['waymark update demo checkpoint-step-2-1767323045678 --class milestone --label beta', ''],
    [
      'waymark update demo checkpoint-step-2-1767323045678 --facts \'{"progress":{"done":3,"total":5}}\'',
      '',
    ],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const [runId, id] = /** @type {string[]} */ (args);
  const facts = factsOf(options);
  if (facts === undefined)
    throw new UsageError('nothing is said: give --label, --facts or another fact');
  return become(runId, manager.updateSync(runId, id, facts));
}
