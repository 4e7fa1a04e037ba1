import { parseCount } from '../input.mjs';
import { plain, size } from '../output.mjs';
import { watched } from '../progress.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'unarchive',
  usage: '<run> <checkpoint> [options]',
  summary: 'bring an archived checkpoint back into its run',
  about:
    'Brings an archived checkpoint back into its run, byte for byte; a run that is gone is made anew. All of the archive is checked before anything is written. The archive stays unless --remove is given: the next prune may drop the checkpoint again.',
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', 'from waymark archived'],
  ],
  options: [
    { flags: '--remove', about: 'delete the archive once the checkpoint is safe in its run' },
    {
      flags: '--max-bytes <bytes>',
      about: "the store's budget (default: maxBytes of waymark.config.json, else none)",
      parse: parseCount,
    },
  ],
  examples: [['waymark unarchive demo checkpoint-step-2-1767323045678', '']],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed, nothing was written; also misuse'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [runId, checkpointId] = /** @type {string[]} */ (args);
  const { remove, maxBytes } = options;
  const done = await watched('unarchive', options, (watch) =>
    manager.unarchive(runId, checkpointId, { remove, maxBytes, ...watch }),
  );
  const { written } = done;
  const here = done.checkpoints.every((one) => one.wasHere);
  return {
    data: done,
    text: () =>
      here
        ? `${checkpointId} is in the run already`
        : `brought ${checkpointId} back into ${plain(written?.path ?? '')}; ${size(written?.addedBytes ?? 0)} added to the store`,
    notices: written?.warnings ?? [],
  };
}
