import { UsageError } from '../input.mjs';
import { count, plain, table } from '../output.mjs';

/** @typedef {import('../../index.js').DrillOutcome} Outcome */

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'drill',
  usage: '<run> [options]',
  summary: 'rehearse on copies of a run what may happen to it',
  about:
    'Rehearses on copies of a run, in a folder of their own, what may happen to it: crashes, damage, a lost store or workspace, a full disk, edits by hand. Tells what was survived, how long it took to go on, and what would have been lost. The run itself is only read.',
  arguments: [['run', "the run's id"]],
  options: [
    { flags: '--only <names>', about: 'rehearse only these, with commas: agent-crash,full-disk' },
    {
      flags: '--rounds <n>',
      about: 'how many times a process is killed (default 3)',
      parse: (text) => {
        const rounds = Number(text);
        if (!Number.isSafeInteger(rounds) || rounds < 1) {
          throw new UsageError(`--rounds must be a whole number from 1 on, not ${text}`);
        }
        return rounds;
      },
    },
    {
      flags: '--folder <path>',
      about: "where the copies are made (default: the system's for temporary files)",
    },
    { flags: '--keep', about: 'leave the copies, to be looked at' },
  ],
  examples: [
    ['waymark drill demo', ''],
    ['waymark drill demo --only damaged-checkpoint,full-disk --json', 'for a script'],
  ],
  exits: [
    ['0', 'everything that was rehearsed was survived'],
    ['1', 'no drill was held; also misuse'],
    ['3', 'something was not survived'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const runId = /** @type {string} */ (args[0]);
  const { only, rounds, folder, keep } = options;
  const scenarios = only?.split(',').map((/** @type {string} */ name) => name.trim());
  const data = await manager.drill(runId, { scenarios, rounds, folder, keep: keep === true });
  const columns = [
    { title: 'SCENARIO' },
    { title: 'RESULT' },
    { title: 'BACK IN', right: true },
    { title: 'GOES ON AFTER' },
    { title: 'LOST' },
  ];
  return {
    data,
    exitCode: data.survived < data.rehearsed ? 3 : 0,
    text: (style) => {
      const rows = data.scenarios.map((one) => [
        one.name,
        result(one),
        one.took === undefined ? '' : `${one.took} ms`,
        one.step === undefined ? '' : `step ${one.step}`,
        one.lost.join(', '),
      ]);
      const more = data.scenarios.flatMap((one) =>
        [
          ...one.told,
          ...(one.problem ? [one.problem] : []),
          ...(one.skipped ? [one.skipped] : []),
        ].map((line) => `${style.paint('bold', one.name)}: ${plain(line)}`),
      );
      return [
        table(columns, rows, style),
        '',
        ...more,
        '',
        `${data.survived} of ${count(data.rehearsed, 'rehearsal')} survived; run ${plain(runId)} was only read`,
      ].join('\n');
    },
    notices: [
      ...data.notRehearsed.map((one) => `not rehearsed, as it lies out of the project: ${one}`),
      ...(data.folder ? [`the copies are in ${data.folder}`] : []),
    ],
  };
}

/** @param {Outcome} one @returns {import('../output.mjs').Cell} */
function result({ survived, skipped }) {
  if (skipped !== undefined) return 'skipped';
  return survived ? 'survived' : { text: 'not survived', format: 'red' };
}
