import { parseKeepLast } from '../input.mjs';
import { collected, count, size, table } from '../output.mjs';
import { watched } from '../progress.mjs';

/** Why the retention policy decides as it does, by its stable words. @type {Record<string, string>} */
const REASONS = {
  keep_last: 'among the newest',
  superseded: 'enough newer ones are kept',
  damaged: 'damaged: neither counts nor goes',
};

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'prune',
  usage: '<run> [options]',
  summary: 'drop all checkpoints of a run but the newest',
  about:
    'Drops all checkpoints of a run but the newest. Damaged ones neither count nor go. The newest is never dropped.',
  arguments: [['run', "the run's id"]],
  options: [
    {
      flags: '--keep-last <n>',
      about: 'how many stay: a number, or all (default: 5)',
      parse: parseKeepLast,
    },
    { flags: '--dry-run', about: 'tell what would be dropped, drop nothing' },
    { flags: '--no-gc', about: 'leave what only they needed in the store until a later gc' },
  ],
  examples: [
    ['waymark prune demo --keep-last 2 --dry-run', 'what would go, and why'],
    ['waymark prune demo --keep-last 2', ''],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const dryRun = options.dryRun === true;
  const runId = /** @type {string} */ (args[0]);
  const outcome = await watched('prune', options, (watch) =>
    manager.prune(runId, {
      keepLast: options.keepLast,
      dryRun,
      gc: options.gc !== false,
      ...watch,
    }),
  );
  return {
    data: { runId, dryRun, ...outcome },
    text: (style) => {
      const { decisions, dropped, freedBytes } = outcome;
      if (decisions.length === 0) return 'no checkpoints';
      const columns = [
        { title: 'CHECKPOINT' },
        { title: 'VERDICT' },
        { title: 'SIZE', right: true },
        { title: 'REASON' },
      ];
      const rows = decisions.map((one) => [
        one.checkpointId,
        one.keep ? 'keep' : { text: 'drop', format: /** @type {const} */ ('yellow') },
        one.reason === 'damaged' ? '' : size(one.size),
        REASONS[one.reason] ?? one.reason,
      ]);
      const done = `${dryRun ? 'would drop' : 'dropped'} ${count(dropped.length, 'checkpoint')}, ${size(freedBytes)}`;
      return `${table(columns, rows, style)}\n\n${done}${collected(outcome)}`;
    },
    notices: outcome.warnings,
  };
}
