import { UsageError } from '../input.mjs';
import { count, duration, plain, size, table } from '../output.mjs';

/** @typedef {import('../../index.js').HealthCheckName} Name */

const CROSSED = 3;
/** So many runs are shown; --json has them all. */
const RUNS = 10;
const FORMATS = /** @type {const} */ ({ ok: 'green', warn: 'yellow', alert: 'red' });

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'health',
  usage: '[options]',
  summary: 'tell whether one could go on: what is damaged, old, failing',
  about:
    'Tells whether one could go on from the checkpoints that there are: how many operations succeed, what is damaged or was not verified, how old the newest good checkpoint of each run is and how long a restore of it would take, how full the store is; and which thresholds that crosses (alerts in waymark.config.json).',
  arguments: [],
  options: [
    {
      flags: '--fail-on <level>',
      about: 'end with 3 from this level on: warn or alert (default: warn)',
      parse: parseLevel,
    },
  ],
  examples: [
    ['waymark health', ''],
    [
      'waymark health --fail-on alert > health.txt || mail -s waymark ada < health.txt',
      'in a crontab',
    ],
  ],
  exits: [
    ['0', 'no threshold is crossed'],
    ['1', 'refused or failed; also misuse'],
    [String(CROSSED), 'a threshold is crossed'],
  ],
};

/** @param {string} text */
function parseLevel(text) {
  if (text === 'warn' || text === 'alert') return text;
  throw new UsageError(`--fail-on must be warn or alert, not "${text}"`);
}

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options }) {
  const health = await manager.health();
  const bad = options.failOn === 'alert' ? ['alert'] : ['warn', 'alert'];
  return {
    data: health,
    text: (style) => shown(health, style),
    exitCode: bad.includes(health.level) ? CROSSED : 0,
  };
}

/** @type {Record<Name, { title: string, show: (value: number) => string }>} */
const CHECKS = {
  successRate: { title: 'operations that succeed', show: percent },
  verifiedShare: { title: 'checkpoints verified in time', show: percent },
  checkpointAgeHours: { title: 'oldest newest checkpoint of a run', show: hours },
  restoreSeconds: { title: 'longest restore, estimated', show: seconds },
  damaged: { title: 'damaged checkpoints', show: String },
  unready: { title: 'runs without a good checkpoint', show: String },
  storeShare: { title: 'of the budget used', show: percent },
  brokenEvents: { title: 'broken lines of the audit log', show: String },
};

/**
 * @param {import('../../index.js').Health} health
 * @param {import('../output.mjs').Style} style
 */
function shown({ level, checks, checkpoints, runs, unready, operations }, style) {
  const columns = [
    { title: 'LEVEL' },
    { title: 'CHECK' },
    { title: 'VALUE', right: true },
    { title: 'WARN', right: true },
    { title: 'ALERT', right: true },
  ];
  const rows = checks.map((check) => {
    const { title, show } = CHECKS[check.name];
    const cell = (/** @type {number | null} */ value) => (value === null ? '-' : show(value));
    return [
      { text: check.level, format: FORMATS[check.level] },
      title,
      cell(check.value),
      cell(check.warn),
      cell(check.alert),
    ];
  });
  const lines = [table(columns, rows, style)];
  if (runs.length > 0) {
    const wide = [
      { title: 'RUN' },
      { title: 'NEWEST GOOD CHECKPOINT' },
      { title: 'AGE', right: true },
      { title: 'SIZE', right: true },
      { title: 'RESTORE', right: true },
    ];
    const cells = runs
      .slice(0, RUNS)
      .map((run) => [
        run.runId,
        run.checkpointId,
        duration(run.ageMs),
        size(run.bytes),
        seconds(run.restoreMs / 1000),
      ]);
    lines.push('', table(wide, cells, style));
    if (runs.length > RUNS) lines.push(`… and ${runs.length - RUNS} more (--json)`);
  }
  for (const runId of unready) lines.push(plain(`${runId}: no good checkpoint`));
  const { succeeded, failed, refused } = operations;
  lines.push(
    '',
    `${style.paint(FORMATS[level], level)}: ${count(checkpoints.total, 'checkpoint')}, ${checkpoints.damaged} damaged; ${count(runs.length, 'run')} can go on; ${succeeded} operations succeeded, ${failed} failed, ${refused} refused since ${operations.since}`,
  );
  return lines.join('\n');
}

/** @param {number} share */
function percent(share) {
  return `${+(share * 100).toFixed(1)} %`;
}

/** @param {number} value */
function hours(value) {
  return value < 48 ? `${+value.toFixed(1)} h` : `${+(value / 24).toFixed(1)} d`;
}

/** @param {number} value */
function seconds(value) {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${+value.toFixed(1)} s`;
}
