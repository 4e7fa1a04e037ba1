import { count, size, table } from '../output.mjs';

const DAMAGED = 3;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'verify',
  usage: '<run> [checkpoint] [options]',
  summary: 'compute the checksums of all checkpoints of a run, or of one',
  about:
    'Computes the checksums of all checkpoints of a run, or of one. Changes and deletes nothing.',
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', 'only this one'],
  ],
  options: [],
  examples: [
    ['waymark verify demo', ''],
    ['waymark verify demo --json || echo damaged', ''],
  ],
  exits: [
    ['0', 'all are good'],
    ['1', 'refused or failed; also misuse'],
    [String(DAMAGED), 'a checkpoint is damaged'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args }) {
  const [runId, checkpointId] = args;
  const found = manager.verifySync(/** @type {string} */ (runId), { checkpointId });
  const { checkpoints, damaged } = found;
  return {
    data: found,
    text: (style) => {
      const total = `${count(checkpoints.length + damaged.length, 'checkpoint')}, ${damaged.length} damaged`;
      if (checkpoints.length + damaged.length === 0) return 'no checkpoints';
      const columns = [
        { title: 'CHECKPOINT' },
        { title: 'STEP' },
        { title: 'SIZE', right: true },
        { title: 'RESULT' },
      ];
      /** @type {import('../output.mjs').Cell[][]} */
      const rows = [
        ...checkpoints.map((one) => [
          one.checkpointId,
          String(one.step),
          size(one.size),
          { text: 'good', format: /** @type {const} */ ('green') },
        ]),
        ...damaged.map((one) => [
          one.checkpointId,
          '',
          '',
          { text: `${one.damage}: ${one.message}`, format: /** @type {const} */ ('red') },
        ]),
      ];
      return `${table(columns, rows, style)}\n\n${total}`;
    },
    exitCode: found.ok ? 0 : DAMAGED,
  };
}
