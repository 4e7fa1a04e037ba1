import { parseSince, UsageError } from '../input.mjs';
import { age, count, factList, plain, size, table } from '../output.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'stats',
  usage: '[options]',
  summary: 'show what all processes did: counts, failures, durations, sizes',
  about:
    'Shows what all processes did to the checkpoints of the project, added up from the audit log: how often each operation succeeded and failed, how long it took, what it wrote, and what the store takes. Prometheus reads it with --prometheus.',
  arguments: [],
  options: [
    {
      flags: '--since <time>',
      about: 'only what happened since: ISO 8601, or how long ago, such as 24h or 7d',
      parse: (text) => parseSince('--since', text, Date.now()),
    },
    { flags: '--prometheus', about: "as Prometheus reads it, for a textfile collector's folder" },
  ],
  examples: [
    ['waymark stats --since 24h', ''],
    ['waymark stats --json', 'for a script'],
    ['waymark stats --prometheus > waymark.prom', 'for the node exporter'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options }) {
  const { since } = options;
  if (options.prometheus === true) {
    if (options.json === true) throw new UsageError('give --json or --prometheus, not both');
    const text = await manager.prometheus({ since });
    return { data: text, text: undefined, bytes: Buffer.from(text) };
  }
  const metrics = await manager.metrics({ since });
  return { data: metrics, text: (style) => shown(metrics, style), notices: notices(metrics) };
}

/** @param {import('../../index.js').Metrics} metrics @returns {string[]} */
function notices({ log }) {
  const told = [];
  if (log.missed > 0) {
    told.push(`${count(log.missed, 'event')} went from the audit log before they were read`);
  }
  if (log.broken > 0) {
    told.push(
      `${count(log.broken, 'line')} of the audit log are not what was written; waymark verify tells where`,
    );
  }
  return told;
}

/**
 * @param {import('../../index.js').Metrics} metrics
 * @param {import('../output.mjs').Style} style
 */
function shown({ log, since, operations, checkpoints, dedup, growth, restores, store }, style) {
  const used = Object.entries(operations).filter(([, one]) => one.count > 0);
  const columns = [
    { title: 'OPERATION' },
    ...['COUNT', 'FAILED', 'P50', 'P95', 'P99', 'MAX', 'BYTES'].map((title) => ({
      title,
      right: true,
    })),
  ];
  const rows = used.map(([name, { count: all, failed, latency, bytes }]) => [
    name,
    String(all),
    failed > 0
      ? { text: String(failed), format: /** @type {const} */ ('red') }
      : /** @type {import('../output.mjs').Cell} */ ('0'),
    ...[latency.p50, latency.p95, latency.p99, latency.maxMs].map(ms),
    bytes > 0 ? size(bytes) : '',
  ]);
  const codes = used.flatMap(([name, { failures }]) =>
    Object.entries(failures).map(([code, times]) => `${name}: ${code} ${times} ×`),
  );
  const lines = used.length === 0 ? ['nothing happened'] : [table(columns, rows, style)];
  if (codes.length > 0) lines.push('', ...codes.map(plain));
  const [atLeast, ratio] = [dedup.atLeast ? 'at least ' : '', dedup.ratio];
  /** @type {[string, string][]} */
  const facts = [
    ['counted since', since === undefined ? '-' : `${since} (${age(since, style)})`],
    [
      'the log reaches',
      log.since === undefined ? 'no event' : `${log.since}, ${count(log.events, 'event')}`,
    ],
    [
      'checkpoints',
      `${checkpoints.created} taken, ${size(checkpoints.bytes)}, the largest ${size(checkpoints.maxBytes ?? 0)}`,
    ],
    [
      'dedup',
      ratio === null
        ? '-'
        : `${atLeast}${ratio.toFixed(2)} (${size(dedup.logicalBytes)} in ${size(dedup.storedBytes)})`,
    ],
    ['growth', `${size(growth.bytes)}, ${size(growth.perDay)} a day`],
    [
      'restores',
      restores.rate === null
        ? 'none'
        : `${restores.succeeded} succeeded, ${restores.failed} failed (${percent(restores.rate)})`,
    ],
    [
      'store',
      `${size(store.bytes)} (objects ${size(store.objects)}, log ${size(store.log)}, archive ${size(store.archive)})`,
    ],
  ];
  return [...lines, '', factList(facts, style)].join('\n');
}

/** @param {number | null} value */
function ms(value) {
  if (value === null) return '';
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** @param {number} share */
function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}
