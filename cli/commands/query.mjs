import { parseCount, parseEach } from '../input.mjs';
import { age, table } from '../output.mjs';

/** Each is a member of the filter of that name. */
const LISTS = /** @type {const} */ ([
  ['run', 'of this run'],
  ['workflow', 'of this workflow'],
  ['task', 'of this task'],
  ['worker', 'of this worker'],
  ['phase', 'of this phase'],
  ['label', 'with this label'],
  ['state', 'in this state: created, active, completed, failed or restored'],
  ['type', 'that came about so: automatic, manual, workflow, emergency or rescue'],
  ['trigger', 'made due by this, such as risk or milestone'],
  ['scope', 'about this: framework, project, agent or workflow'],
  ['priority', 'of this priority: low, normal, high or critical'],
  ['class', 'of this retention class: frequent, milestone or critical'],
]);
const FLAGS = /** @type {const} */ (['damaged', 'pinned', 'resumable']);

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'query',
  usage: '[options]',
  summary: 'find checkpoints of all runs',
  about:
    'Finds checkpoints of all runs, the newest first. Everything that is given has to hold; of an option that is repeated one value.',
  arguments: [],
  options: [
    ...LISTS.map(([name, about]) => ({
      flags: `--${name} <value>`,
      about: `${about}; can be repeated`,
      parse: parseEach,
    })),
    { flags: '--from <time>', about: 'taken at this time or later, as ISO 8601' },
    { flags: '--until <time>', about: 'taken before this time, as ISO 8601' },
    { flags: '--damaged', about: 'damaged ones only' },
    { flags: '--no-damaged', about: 'no damaged ones' },
    { flags: '--pinned', about: 'pinned ones only' },
    { flags: '--no-pinned', about: 'no pinned ones' },
    {
      flags: '--resumable',
      about: 'the newest good one of each run that is neither completed nor cancelled',
    },
    { flags: '--no-resumable', about: 'not those' },
    { flags: '--oldest', about: 'the oldest first' },
    { flags: '--limit <n>', about: 'at most so many; 0 for all (default: 50)', parse: parseCount },
  ],
  examples: [
    ['waymark query --resumable', 'what can go on'],
    ['waymark query --state failed --worker coder --from 2026-01-01', ''],
    ['waymark query --label beta --limit 0 --json', 'for a script'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options }) {
  const limit = options.limit ?? 50;
  /** @type {Record<string, any>} */
  const filter = { order: options.oldest ? 'oldest' : 'newest' };
  for (const name of [...LISTS.map(([one]) => one), ...FLAGS, 'from', 'until']) {
    if (options[name] !== undefined) filter[name] = options[name];
  }
  /** @type {import('../../index.js').QueryRow[]} */
  const rows = [];
  let more = false;
  for await (const row of manager.query(filter)) {
    if (limit > 0 && rows.length === limit) {
      more = true;
      break;
    }
    rows.push(row);
  }
  return {
    data: rows,
    text: (style) => {
      if (rows.length === 0) return 'no checkpoints';
      const columns = [
        { title: 'RUN' },
        { title: 'CHECKPOINT' },
        { title: 'STEP' },
        { title: 'STATE' },
        { title: 'AGE', right: true },
        { title: 'LABELS' },
      ];
      return table(
        columns,
        rows.map((row) => [
          row.runId,
          row.checkpointId,
          row.step === undefined ? '' : String(row.step),
          row.damage === undefined
            ? `${row.state}${row.pin ? ', pinned' : ''}`
            : { text: row.damage, format: /** @type {const} */ ('red') },
          age(row.timestamp, style),
          (row.facts?.labels ?? []).join(', '),
        ]),
        style,
      );
    },
    notices: more ? [`only the first ${limit} are shown; --limit 0 shows all`] : [],
  };
}
