import { ARGUMENTS, become } from '../changes.mjs';
import { FACTS, factsOf } from '../facts.mjs';
/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'fail',
  usage: '<run> <checkpoint> [options]',
  summary: 'say that what a checkpoint was taken for failed',
  about:
    'Says that what a checkpoint was taken for failed, and why: created or active becomes failed. A restore of it makes it restored.',
  arguments: ARGUMENTS,
  options: [
    { flags: '--message <text>', about: 'what went wrong' },
    { flags: '--code <code>', about: 'its code' },
    ...FACTS,
  ],
  examples: [["waymark fail demo checkpoint-step-2-1767323045678 --message 'the tests fail'", '']],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const [runId, id] = /** @type {string[]} */ (args);
  return become(runId, manager.failSync(runId, id, failure(options), { update: factsOf(options) }));
}

/** @param {Record<string, any>} options */
function failure({ message, code }) {
  return message === undefined && code === undefined ? undefined : { message, code };
}
