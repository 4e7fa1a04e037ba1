import fs from 'node:fs';
import path from 'node:path';
import { RUN_ID_OPTION, runOf } from '../input.mjs';
import { lib } from '../library.mjs';
import { age, size, table } from '../output.mjs';

const { listedCheckpoints } = lib.dropInShapes;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'list',
  usage: '<run> [options]',
  summary: 'list the checkpoints of a run, newest first',
  about:
    'Lists the checkpoints of a run that can be restored, newest first. Damaged ones are left out and mentioned on stderr. Checksums are not computed: waymark verify does that.',
  arguments: [['run', "the run's id"]],
  options: [
    { flags: '--include-damaged', about: "list those that can't be restored, too, at the end" },
    RUN_ID_OPTION,
  ],
  examples: [
    ['waymark list demo', ''],
    ['waymark list demo --json', 'for a script'],
    ['waymark list demo --include-damaged', 'with those that are damaged, and what is wrong'],
    ['waymark list --run-id demo', 'as the old tool'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run(input) {
  const { manager, options } = input;
  const { runId, oldForm } = runOf(input);
  const includeDamaged = options.includeDamaged === true;
  /** @type {import('../../index.js').CheckpointInfo[]} */
  const good = [];
  /** @type {import('../../index.js').DamagedCheckpoint[]} */
  const damaged = [];
  for (const one of manager.listSync(runId, { includeDamaged: true })) {
    if ('damage' in one) damaged.push(one);
    else good.push(one);
  }
  const data = includeDamaged ? [...good, ...damaged] : good;
  const notices = damaged.map(
    (one) => `damaged, can't be restored: ${one.checkpointId}: ${one.message}`,
  );
  if (good.length + damaged.length === 0) {
    const runsDir = manager.runsDir(runId);
    if (!fs.existsSync(path.join(runsDir, runId))) {
      notices.push(`there is no run ${runId} in ${runsDir}`);
    }
  }
  if (oldForm) return { data: listedCheckpoints(data), text: undefined, notices };
  return {
    data,
    text: (style) => {
      if (data.length === 0) return 'no checkpoints';
      const columns = [
        { title: 'CHECKPOINT' },
        { title: 'STEP' },
        { title: 'STATE' },
        { title: 'TAKEN' },
        { title: 'AGE', right: true },
        { title: 'SIZE', right: true },
      ];
      const marked = includeDamaged && damaged.length > 0;
      const rows = good.map((one) => [
        one.checkpointId,
        String(one.step),
        one.pin ? `${one.state}, pinned` : one.state,
        one.timestamp,
        age(one.timestamp, style),
        size(one.size),
        ...(marked ? [''] : []),
      ]);
      if (!marked) return table(columns, rows, style);
      const marks = damaged.map((one) => [
        one.checkpointId,
        '',
        '',
        '',
        '',
        '',
        { text: one.damage, format: /** @type {const} */ ('red') },
      ]);
      return table([...columns, { title: 'DAMAGE' }], [...rows, ...marks], style);
    },
    notices,
  };
}
