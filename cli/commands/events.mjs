import { once } from 'node:events';
import { parseCount, parseNames, UsageError } from '../input.mjs';
import { plain, table } from '../output.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'events',
  usage: '[options]',
  summary: 'show what happened: the audit log of the project, or follow it',
  about:
    'Shows what happened in the project, oldest first: checkpoints taken, restored and dropped, runs cleaned up, damage found, operations that failed; each with its time, process and user. Without --after the newest. With --follow it goes on with what happens, until Ctrl-C.',
  arguments: [],
  options: [
    { flags: '--run <run>', about: 'only events of this run' },
    {
      flags: '--kind <kinds>',
      about: 'only these, such as created,restored; can be repeated',
      parse: parseNames,
    },
    {
      flags: '--after <number>',
      about: 'those behind this number; the last one seen, to go on from there',
      parse: parseCount,
    },
    {
      flags: '--limit <count>',
      about: 'at most so many (default: 1000); with --follow it ends after so many',
      parse: parseCount,
    },
    { flags: '--follow', about: 'wait for what comes; without --after only that' },
  ],
  examples: [
    ['waymark events --run demo', ''],
    ['waymark events --kind damaged,operation_failed', 'what went wrong'],
    ['waymark events --follow --json --after 1200', 'for a script: one line of JSON each'],
  ],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed; also misuse'],
    ['130', '--follow was stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options }) {
  const { run: runId, kind: kinds, after, limit, follow, json } = options;
  if (follow === true) {
    if (limit === 0) throw new UsageError('--limit must be at least 1 with --follow');
    return followed(manager, { runId, kinds, after }, limit ?? Number.POSITIVE_INFINITY, json);
  }
  const events = await manager.events({ runId, kinds, after, limit });
  return {
    data: events,
    text: (style) => {
      if (events.length === 0) return 'no events';
      const columns = [
        { title: 'SEQ', right: true },
        { title: 'TIME' },
        { title: 'EVENT' },
        { title: 'RUN' },
        { title: 'CHECKPOINT' },
        { title: 'BY' },
        { title: 'DATA' },
      ];
      return table(columns, events.map(cells), style);
    },
  };
}

/**
 * Prints each event as soon as it is there.
 * @param {import('../input.mjs').Manager} manager
 * @param {import('../../index.js').FollowEventsOptions} wanted
 * @param {number} limit
 * @param {boolean} json
 * @returns {Promise<import('../input.mjs').Result>}
 */
async function followed(manager, wanted, limit, json) {
  const stop = new AbortController();
  let isLeft = false;
  const onInterrupt = () => stop.abort();
  process.once('SIGINT', onInterrupt);
  // A reader that went away (`| head`) wants no more.
  process.stdout.once('error', () => {
    isLeft = true;
    stop.abort();
  });
  let count = 0;
  try {
    for await (const event of manager.followEvents({ ...wanted, signal: stop.signal })) {
      const line = json ? JSON.stringify(event) : cells(event).join('  ');
      // As fast as it is read: the whole log may come.
      if (!process.stdout.write(`${line}\n`)) await drained(stop.signal);
      count += 1;
      if (count >= limit) break;
    }
  } finally {
    process.off('SIGINT', onInterrupt);
  }
  const exitCode = stop.signal.aborted && !isLeft ? 130 : 0;
  return { data: undefined, text: undefined, printed: true, exitCode };
}

/** Waits until standard output takes more, or nobody wants any. @param {AbortSignal} signal */
async function drained(signal) {
  await once(process.stdout, 'drain', { signal }).catch(() => {});
}

/** @param {import('../../index.js').AuditEvent} event @returns {string[]} */
function cells(event) {
  const by = [event.user, event.host].filter((part) => part).join('@');
  const data = Object.entries(event.data).filter(([name]) => name !== 'took_us');
  return [
    String(event.seq),
    event.time,
    event.event,
    event.run ?? '',
    event.checkpoint ?? '',
    `${by}:${event.pid}`,
    data.map(([name, value]) => `${name}=${shown(value)}`).join(' '),
  ].map(plain);
}

/** @param {unknown} value */
function shown(value) {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
