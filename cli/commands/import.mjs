import { parseCount } from '../input.mjs';
import { count, plain, size, table } from '../output.mjs';
import { watched } from '../progress.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'import',
  usage: '<file> [options]',
  summary: 'bring the checkpoints of an exported file into this project',
  about:
    'Brings the checkpoints of a file that waymark export wrote into this project. All of it is checked before anything is written. A run that is not here is made, so that it can be restored at once; to one that is here those that it lacks are added.',
  arguments: [['file', 'the archive']],
  options: [
    { flags: '--check', about: 'check the file and tell what it holds; write nothing' },
    {
      flags: '--merge',
      about: 'add to a run of the same id though it is another one (its workflow or time differs)',
    },
    {
      flags: '--max-bytes <bytes>',
      about: "the store's budget (default: maxBytes of waymark.config.json, else none)",
      parse: parseCount,
    },
  ],
  examples: [
    ['waymark import demo.wmk --check', 'is it whole, and what is in it?'],
    ['waymark import demo.wmk', ''],
    ['waymark --root ../other import demo.wmk', 'into another project'],
  ],
  exits: [
    ['0', 'done; with --check: it is whole'],
    ['1', 'refused or failed, nothing was written; also misuse'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [file] = /** @type {string[]} */ (args);
  const { check, merge, maxBytes } = options;
  const done = await watched(check ? 'check' : 'import', options, (watch) =>
    manager.importArchive(file, { check, merge, maxBytes, ...watch }),
  );
  const { written } = done;
  return {
    data: done,
    text: (style) => {
      const rows = done.checkpoints.map((one) => [
        one.checkpointId,
        String(one.step),
        one.timestamp,
        written === undefined ? '' : one.wasHere ? 'was here' : 'imported',
      ]);
      const columns = [
        { title: 'CHECKPOINT' },
        { title: 'STEP' },
        { title: 'TAKEN' },
        ...(written === undefined ? [] : [{ title: 'RESULT' }]),
      ];
      const cells = rows.map((row) => row.slice(0, columns.length));
      return [table(columns, cells, style), '', summary(done)].join('\n');
    },
    notices: written?.warnings ?? [],
  };
}

/** @param {import('../../index.js').ImportOutcome} done @returns {string} */
function summary({ runId, wholeRun, checkpoints, objects, bytes, fileBytes, madeBy, written }) {
  if (written === undefined) {
    const what = wholeRun ? 'the whole run' : 'a part of run';
    return `whole: ${what} ${runId}, ${count(checkpoints.length, 'checkpoint')}, ${count(objects, 'object')}, ${size(bytes)} (${size(fileBytes)} packed), made by waymark ${plain(madeBy)}`;
  }
  const fresh = checkpoints.filter((one) => !one.wasHere).length;
  const where = written.newRun ? 'a new run' : 'the run that is here';
  return `imported ${count(fresh, 'checkpoint')} into ${where}, ${plain(written.path)}; ${size(written.addedBytes)} added to the store`;
}
