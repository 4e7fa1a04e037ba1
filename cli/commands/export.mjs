import { UsageError } from '../input.mjs';
import { count, plain, size } from '../output.mjs';
import { watched } from '../progress.mjs';

const INCOMPLETE = 3;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'export',
  usage: '<run> [checkpoint] [options]',
  summary: 'write a run, or one checkpoint, to a file that shows whether it is whole',
  about:
    'Writes all checkpoints of a run, or one, with everything they need to one file, for another machine or a bug report; waymark import takes it. With --folder one checkpoint becomes a folder for people: metadata, state, files and a report of what was checked. Contents of withheld secrets are in neither.',
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', 'only this one, from waymark list'],
  ],
  options: [
    {
      flags: '-o, --out <path>',
      about:
        'where it goes (default: <run>.wmk or <checkpoint>.wmk here; with --folder <checkpoint>)',
    },
    { flags: '--folder', about: 'make a folder of the checkpoint, new or empty until then' },
    { flags: '--overwrite', about: 'replace a file that is there; a folder never is' },
    {
      flags: '--allow-damaged',
      about: 'leave damaged checkpoints out; with --folder: export what is whole of it',
    },
  ],
  examples: [
    ['waymark export demo', 'the whole run as demo.wmk'],
    ['waymark export demo checkpoint-step-2-1767323045678 -o bug.wmk', ''],
    ['waymark export demo checkpoint-step-2-1767323045678 --folder -o look', 'to look into it'],
  ],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed; also misuse'],
    [String(INCOMPLETE), 'done with --allow-damaged, and something is left out'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [runId, checkpointId] = /** @type {[string, string | undefined]} */ (args);
  const { overwrite, allowDamaged } = options;
  if (options.folder === true) {
    if (checkpointId === undefined) {
      throw new UsageError('--folder needs a checkpoint: take one from waymark list');
    }
    if (overwrite) throw new UsageError('a folder is never replaced: leave out --overwrite');
    const out = options.out ?? fileName(checkpointId);
    const done = await watched('export', options, (watch) =>
      manager.exportCheckpoint(runId, checkpointId, out, {
        format: 'folder',
        allowDamaged,
        ...watch,
      }),
    );
    return folderResult(done);
  }
  const out = options.out ?? `${fileName(checkpointId ?? runId)}.wmk`;
  const done = await watched('export', options, (watch) =>
    checkpointId === undefined
      ? manager.exportRun(runId, out, { overwrite, allowDamaged, ...watch })
      : manager.exportCheckpoint(runId, checkpointId, out, { overwrite, allowDamaged, ...watch }),
  );
  return {
    data: done,
    text: () =>
      [
        `exported ${count(done.checkpoints.length, 'checkpoint')} to ${plain(done.path)}, ${size(done.fileBytes)} (${size(done.bytes)} unpacked)`,
        `blake3 ${done.hash}`,
      ].join('\n'),
    notices: done.leftOut.map((one) => `left out ${one.checkpointId}: ${one.message}`),
    exitCode: done.leftOut.length > 0 ? INCOMPLETE : 0,
  };
}

/** @param {import('../../index.js').ExportFolderOutcome} done @returns {import('../input.mjs').Result} */
function folderResult(done) {
  const { summary, whole } = done;
  /** @type {[number, string][]} */
  const told = [
    [summary.withheld, 'withheld as secrets'],
    [summary.skipped, 'skipped when the checkpoint was taken'],
    [summary.described, 'links only described'],
    [summary.refused, 'with names that this system does not have'],
    [summary.damaged, 'damaged'],
  ];
  const rest = told.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  return {
    data: done,
    text: () => {
      const line = `exported ${done.checkpointId} to ${plain(done.path)}: ${count(summary.files, 'file')}, ${size(summary.bytes)}`;
      return [line, ...rest.map((one) => `  ${one}`)].join('\n');
    },
    notices: whole ? [] : [`not everything is there: see ${done.path}/report.md`],
    exitCode: whole ? 0 : INCOMPLETE,
  };
}

/** An id as a file's name: only `:` is not one everywhere. @param {string} id @returns {string} */
function fileName(id) {
  return id.replaceAll(':', '_');
}
