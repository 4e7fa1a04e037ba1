import path from 'node:path';
import { oneOf, parseDays, parseNames, UsageError } from '../input.mjs';
import { collected, count, plain, size, table } from '../output.mjs';
import { watched } from '../progress.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'cleanup',
  usage: '[run] [options]',
  summary: 'drop old failed runs, with everything in their folders',
  about:
    'Drops old failed runs: their whole folders. Never one in progress, nor one that a live process has locked. Writes a Markdown report, also in a dry run.',
  arguments: [['run', 'only this run']],
  options: [
    { flags: '--dry-run', about: 'tell what would be dropped, drop nothing' },
    {
      flags: '--max-age-days <days>',
      about: 'only runs whose last update is older (default: 7)',
      parse: parseDays,
    },
    { flags: '--run-id <run>', about: 'only this run, as the old tool took it' },
    {
      flags: '--status <names>',
      about:
        'runs of these statuses: failed, error, cancelled, completed, handed_off, pending; with commas, or repeated (default: failed)',
      parse: parseNames,
    },
    {
      flags: '--report <path>',
      about:
        'where the report goes (default: .claude/context/reports/checkpoint-cleanup-report.md)',
    },
    { flags: '--no-report', about: 'write no report' },
    { flags: '--no-gc', about: 'leave what only they needed in the store until a later gc' },
  ],
  examples: [
    ['waymark cleanup --dry-run', 'what would go'],
    ['waymark cleanup', 'failed runs without an update in 7 days'],
    ['waymark cleanup --status failed,cancelled --max-age-days 30', ''],
    ['waymark cleanup --run-id demo --max-age-days 0', 'this one, if it failed'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const runId = oneOf([
    ['[run]', args[0]],
    ['--run-id', options.runId],
  ]);
  const { status: statuses = ['failed'], maxAgeDays = 7 } = options;
  const dryRun = options.dryRun === true;
  if (options.report === '') throw new UsageError('--report needs a path');
  const outcome = await watched('cleanup', options, (watch) =>
    manager.cleanup({
      runId,
      statuses,
      maxAgeDays,
      dryRun,
      report: options.report !== false,
      reportPath: typeof options.report === 'string' ? path.resolve(options.report) : undefined,
      gc: options.gc !== false,
      ...watch,
    }),
  );
  const runsDir = manager.runsDir(runId);
  const { scanned, cleaned, left, freedBytes, reportPath } = outcome;
  return {
    data: { runsDir, dryRun, ...outcome },
    text: (style) => {
      const lines = [];
      if (cleaned.length > 0) {
        const columns = [
          { title: 'RUN' },
          { title: 'STATUS' },
          { title: 'AGE', right: true },
          { title: 'SIZE', right: true },
        ];
        const rows = cleaned.map((one) => [
          one.runId,
          one.status,
          `${Math.floor(one.ageDays)} d`,
          size(one.bytes),
        ]);
        lines.push(table(columns, rows, style), '');
      }
      const which = `${statuses.join(' or ')}, older than ${count(maxAgeDays, 'day')}`;
      lines.push(
        `${dryRun ? 'would drop' : 'dropped'} ${cleaned.length} of ${count(scanned, 'run')} in ${plain(runsDir)}, ${size(freedBytes)} (${which})${collected(outcome)}`,
      );
      if (reportPath !== undefined) lines.push(`report: ${plain(reportPath)}`);
      return lines.join('\n');
    },
    notices: [
      ...left.map((one) => `left alone: ${one.runId}: ${one.reason}`),
      ...(outcome.warnings ?? []),
    ],
  };
}
