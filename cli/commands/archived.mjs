import { existingRun } from '../input.mjs';
import { count, plain, size, table } from '../output.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'archived',
  usage: '[run]',
  summary: 'list the checkpoints that were archived instead of dropped',
  about:
    'Lists the archived checkpoints of a run, or of all runs: those that waymark prune --archive, or a policy with archive, moved out of their run. waymark unarchive brings one back. Each is one file, which may be copied, imported elsewhere, or deleted.',
  arguments: [['run', "only this run's"]],
  options: [],
  examples: [
    ['waymark archived', 'of all runs'],
    ['waymark archived demo', ''],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args }) {
  const checkpoints = await manager.archived(args[0]);
  // Of a run that is gone there may be archives.
  if (checkpoints.length === 0 && args[0] !== undefined) await existingRun(manager, args[0]);
  const bytes = checkpoints.reduce((sum, one) => sum + one.fileBytes, 0);
  return {
    data: { checkpoints, bytes },
    text: (style) => {
      if (checkpoints.length === 0) return 'nothing is archived';
      const columns = [
        { title: 'RUN' },
        { title: 'CHECKPOINT' },
        { title: 'STEP' },
        { title: 'TAKEN' },
        { title: 'SIZE', right: true },
      ];
      const rows = checkpoints.map((one) => [
        one.runId,
        one.checkpointId,
        one.step === undefined ? '' : plain(String(one.step)),
        one.timestamp ?? { text: 'damaged', format: /** @type {const} */ ('red') },
        size(one.fileBytes),
      ]);
      return `${table(columns, rows, style)}\n\n${count(checkpoints.length, 'checkpoint')}, ${size(bytes)}`;
    },
    notices: checkpoints.flatMap(({ problem }) => (problem === undefined ? [] : [problem])),
  };
}
