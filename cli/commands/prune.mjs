import { parseCount, parseEach, parseKeepLast, UsageError } from '../input.mjs';
import { collected, count, plain, size, table } from '../output.mjs';
import { watched } from '../progress.mjs';

/** The usual reasons, in short. @type {Record<string, string>} */
const REASONS = {
  keep_last: 'among the newest',
  superseded: 'enough newer ones are kept',
  damaged: 'damaged: neither counts nor goes',
};

/** What is counted by which rule. @type {Record<string, string>} */
const PERIODS = {
  hourly: 'hours',
  daily: 'days',
  weekly: 'weeks',
  monthly: 'months',
  yearly: 'years',
};

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'prune',
  usage: '<run> [options]',
  summary: 'drop the checkpoints of a run that the retention policy does not keep',
  about:
    'Drops the checkpoints of a run that no rule keeps; the rules add up. What is not given is as configured (retention in waymark.config.json), else --keep-last 5. Damaged ones neither count nor go; the newest, pinned ones and those that another run began from are never dropped.',
  arguments: [['run', "the run's id"]],
  options: [
    {
      flags: '--keep-last <n>',
      about: 'how many of the newest stay: a number, or all (default: 5)',
      parse: parseKeepLast,
    },
    ...Object.entries(PERIODS).map(([rule, units]) => ({
      flags: `--keep-${rule} <n>`,
      about: `the newest of each of the last n ${units} that have any`,
      parse: parseCount,
    })),
    { flags: '--keep-within <time>', about: 'all that are younger: 36h, 30d, 2w, 1d12h …' },
    {
      flags: '--keep-label <label>',
      about: 'all with this label; can be given more than once',
      parse: parseEach,
    },
    {
      flags: '--utc-offset <minutes>',
      about: 'where days begin, in minutes east of UTC (default: 0)',
      parse: parseOffset,
    },
    {
      flags: '--archive',
      about: 'move what goes to an archive, from which it can be brought back',
    },
    { flags: '--explain', about: 'tell every reason for each checkpoint' },
    { flags: '--dry-run', about: 'tell what would be dropped, drop nothing' },
    { flags: '--no-gc', about: 'leave what only they needed in the store until a later gc' },
  ],
  examples: [
    ['waymark prune demo --keep-last 2 --dry-run', 'what would go'],
    ['waymark prune demo --keep-daily 7 --keep-weekly 4 --explain --dry-run', 'and why'],
    ['waymark prune demo --keep-last 2 --archive', 'see waymark archived'],
  ],
};

/** @param {string} text @returns {number} */
function parseOffset(text) {
  const number = /^[+-]?\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (Math.abs(number) <= 1439) return number;
  throw new UsageError(`--utc-offset must be minutes from -1439 to 1439, not "${text}"`);
}

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const dryRun = options.dryRun === true;
  const runId = /** @type {string} */ (args[0]);
  const outcome = await watched('prune', options, (watch) =>
    manager.prune(runId, {
      retention: {
        keepLast: options.keepLast,
        keepHourly: options.keepHourly,
        keepDaily: options.keepDaily,
        keepWeekly: options.keepWeekly,
        keepMonthly: options.keepMonthly,
        keepYearly: options.keepYearly,
        keepWithin: options.keepWithin,
        keepLabels: options.keepLabel,
        utcOffsetMinutes: options.utcOffset,
        archive: options.archive,
      },
      explain: true,
      dryRun,
      gc: options.gc !== false,
      ...watch,
    }),
  );
  return {
    data: { runId, dryRun, ...outcome },
    text: (style) => {
      const { decisions, dropped, freedBytes, archived } = outcome;
      if (decisions.length === 0) return 'no checkpoints';
      const shown = options.explain === true ? explained(decisions) : verdicts(decisions);
      const verb = archived.length > 0 ? 'archived' : 'dropped';
      const done = `${dryRun ? 'would drop' : verb} ${count(dropped.length, 'checkpoint')}, ${size(freedBytes)}`;
      return `${table(shown.columns, shown.rows, style)}\n\n${done}${collected(outcome)}`;
    },
    notices: outcome.warnings,
  };
}

/** @typedef {import('../../index.js').RetentionDecision} Decision */

/** @param {Decision} one */
function verdict({ keep }) {
  return keep ? 'keep' : { text: 'drop', format: /** @type {const} */ ('yellow') };
}

/** @param {Decision[]} decisions */
function verdicts(decisions) {
  return {
    columns: [
      { title: 'CHECKPOINT' },
      { title: 'VERDICT' },
      { title: 'SIZE', right: true },
      { title: 'REASON' },
    ],
    rows: decisions.map((one) => [
      one.checkpointId,
      verdict(one),
      one.reason === 'damaged' ? '' : size(one.size),
      REASONS[one.reason] ?? plain(one.explanation ?? one.reason),
    ]),
  };
}

/** @param {Decision[]} decisions */
function explained(decisions) {
  return {
    columns: [
      { title: 'CHECKPOINT' },
      { title: 'STEP' },
      { title: 'TAKEN' },
      { title: 'VERDICT' },
      { title: 'REASONS' },
    ],
    rows: decisions.map((one) => [
      one.checkpointId,
      one.step === undefined ? '' : plain(String(one.step)),
      one.timestamp ?? '',
      verdict(one),
      plain(one.explanation ?? ''),
    ]),
  };
}
