import { parseStep } from '../input.mjs';
import { count, plain, size } from '../output.mjs';
import { watched } from '../progress.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'fork',
  usage: '<run> <new-run> [options]',
  summary: 'begin another run where a run was at a checkpoint',
  about:
    "Begins another run where a run was at a checkpoint: with its state and its captured files, the run's own folder apart from all others. What lies in the store is shared. The run that it comes from goes on as it was.",
  arguments: [
    ['run', "the run's id"],
    ['new-run', 'the id of the new run'],
  ],
  options: [
    {
      flags: '--checkpoint <id>',
      about: 'at this checkpoint (default: the newest good one)',
      conflicts: ['step'],
    },
    {
      flags: '--step <step>',
      about: 'at the newest good checkpoint of this step',
      parse: parseStep,
    },
  ],
  examples: [
    ['waymark fork demo demo-b', 'try something else from where demo is'],
    ['waymark fork demo demo-b --step 2', 'from where it was after step 2'],
    ['waymark tree demo', 'what came of what'],
  ],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed, there is no new run; also misuse'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [runId, newRunId] = /** @type {string[]} */ (args);
  const { checkpoint, step } = options;
  const forked = await watched('fork', options, (watch) =>
    manager.fork(runId, newRunId, { checkpointId: checkpoint, step, ...watch }),
  );
  const { skipped, warnings, withheld } = forked;
  return {
    data: forked,
    text: (style) =>
      [
        style.paint('bold', forked.checkpointId),
        `run ${forked.runId} begins where ${plain(runId)} was after step ${plain(String(forked.step))} (${forked.baseCheckpointId})`,
        `${plain(forked.path)}: ${count(forked.files, 'captured file')}, ${size(forked.bytes)}; ${size(forked.addedBytes)} added to the store`,
      ].join('\n'),
    notices: [
      ...skipped.map((one) => `passed over ${one.checkpointId}: ${one.message}`),
      ...(withheld > 0
        ? [`${count(withheld, 'file')} with secrets were never captured and are not there`]
        : []),
      ...warnings,
    ],
  };
}
