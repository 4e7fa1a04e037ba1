// Numbers as Prometheus reads them. The library that writes the text is loaded only here.

const { AggregatorRegistry } = require('prom-client');

/**
 * @typedef {import('../index.js').Metrics} Metrics
 * @typedef {{ labels: Record<string, string | number>, value: number, metricName?: string }} Value
 * @typedef {{ le: number | null, count: number }} Bucket
 */

/** @param {string} name @param {'counter' | 'gauge' | 'histogram'} type @param {string} help @param {Value[]} values */
function metric(name, type, help, values) {
  // The registry adds up what several processes have; here is one of each.
  return { name, type, help, values, aggregator: 'sum' };
}

/**
 * @param {string} name
 * @param {Record<string, string>} labels
 * @param {Bucket[]} buckets
 * @param {number} sum
 * @param {number} per how many of the numbers' unit make one of the metric's
 * @returns {Value[]}
 */
function histogram(name, labels, buckets, sum, per) {
  const bound = (/** @type {number | null} */ le) => (le === null ? '+Inf' : le / per);
  return [
    ...buckets.map(({ le, count }) => ({
      metricName: `${name}_bucket`,
      labels: { ...labels, le: bound(le) },
      value: count,
    })),
    { metricName: `${name}_sum`, labels, value: sum / per },
    { metricName: `${name}_count`, labels, value: buckets.at(-1)?.count ?? 0 },
  ];
}

/**
 * @param {Metrics} metrics
 * @returns {Promise<string>} the text format 0.0.4
 */
function prometheus({ operations, events, checkpoints, dedup, store, log }) {
  const all = Object.entries(operations);
  const bare = (/** @type {number} */ value) => [{ labels: {}, value }];
  const { path: _, bytes: __, ...parts } = store;
  const duration = 'waymark_operation_duration_seconds';
  const size = 'waymark_checkpoint_size_bytes';
  const list = [
    metric(
      'waymark_operations_total',
      'counter',
      'Operations that the audit log tells of.',
      all.flatMap(([operation, { succeeded, failed }]) => [
        { labels: { operation, outcome: 'success' }, value: succeeded },
        { labels: { operation, outcome: 'failure' }, value: failed },
      ]),
    ),
    metric(
      'waymark_operation_failures_total',
      'counter',
      'Operations that failed, by the code of the error.',
      all.flatMap(([operation, { failures }]) =>
        Object.entries(failures).map(([code, value]) => ({ labels: { operation, code }, value })),
      ),
    ),
    metric(
      duration,
      'histogram',
      'How long operations took that succeeded.',
      all.flatMap(([operation, { latency }]) =>
        histogram(duration, { operation }, latency.buckets, latency.sumMs, 1000),
      ),
    ),
    metric(
      'waymark_operation_bytes_total',
      'counter',
      'Bytes that operations wrote, put back or dropped.',
      all.map(([operation, { bytes }]) => ({ labels: { operation }, value: bytes })),
    ),
    metric(
      'waymark_events_total',
      'counter',
      'Events in the audit log, by kind.',
      Object.entries(events).map(([event, value]) => ({ labels: { event }, value })),
    ),
    metric(
      size,
      'histogram',
      'The manifests of checkpoints that were taken.',
      histogram(size, {}, checkpoints.sizes, checkpoints.bytes, 1),
    ),
    metric(
      'waymark_store_added_bytes_total',
      'counter',
      'Bytes that checkpoints added to the store.',
      bare(checkpoints.addedBytes),
    ),
    metric(
      'waymark_store_bytes',
      'gauge',
      'What the store takes on the disk, by part.',
      Object.entries(parts).map(([part, value]) => ({ labels: { part }, value })),
    ),
    metric(
      'waymark_dedup_ratio',
      'gauge',
      'Full copies of what was taken, by what it took.',
      dedup.ratio === null ? [] : bare(dedup.ratio),
    ),
    metric(
      'waymark_log_broken_events',
      'gauge',
      'Lines of the audit log that are not what was written.',
      bare(log.broken),
    ),
    metric('waymark_log_position', 'gauge', 'The number of the last event.', bare(log.position)),
    metric(
      'waymark_log_since_timestamp_seconds',
      'gauge',
      'Since when the audit log reaches.',
      log.since === undefined ? [] : bare(Date.parse(log.since) / 1000),
    ),
  ].filter((one) => one.values.length > 0);
  return AggregatorRegistry.aggregate([list]).metrics();
}

module.exports = { prometheus };
