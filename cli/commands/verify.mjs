import { parseShare, UsageError } from '../input.mjs';
import { count, plain, size, table } from '../output.mjs';
import { watched } from '../progress.mjs';

const DAMAGED = 3;
/** So many places of an object are shown; --json has them all. */
const PLACES = 10;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'verify',
  usage: '[run] [checkpoint] [options]',
  summary: 'check that all checkpoints of a run, or one, or the whole store are whole',
  about:
    'Checks that all checkpoints of a run, or one, are whole: their checksums, and that everything they need is in the store. With --data the contents are read too, each once. Deletes nothing.',
  arguments: [
    ['run', "the run's id; needed without --store"],
    ['checkpoint', 'only this one'],
  ],
  options: [
    { flags: '--data', about: 'read all contents and hold them against their hashes' },
    {
      flags: '--share <share>',
      about: 'of the contents only this share (0.001 to 1), the next one each time: 0.1 ten times',
      parse: (text) => parseShare('--share', text),
    },
    { flags: '--store', about: 'the whole store, and the checkpoints of all runs that need it' },
    {
      flags: '--heal',
      about: 'let the next checkpoint store anew what is damaged, where it meets the same content',
    },
  ],
  examples: [
    ['waymark verify demo', ''],
    ['waymark verify demo --data', 'every byte'],
    ['waymark verify --store --share 0.1', 'in a nightly job: all of it in ten nights'],
    ['waymark verify demo --json || echo damaged', ''],
  ],
  exits: [
    ['0', 'all are good'],
    ['1', 'refused or failed; also misuse'],
    [String(DAMAGED), 'a checkpoint or the store is damaged'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [runId, checkpointId] = args;
  const { data, share, heal } = options;
  if (options.store === true) {
    if (runId !== undefined) throw new UsageError('give a run or --store, not both');
    const found = await watched('verify', options, (watch) =>
      manager.verifyStore({ data, share, heal, ...watch }),
    );
    const all = found.runs.map((one) => ({ prefix: `${one.runId}  `, ...one }));
    return result(found, all, found.runs.length);
  }
  if (runId === undefined) throw new UsageError('the run is missing: give <run>, or --store');
  const found = await watched('verify', options, (watch) =>
    manager.verify(runId, { checkpointId, data, share, heal, ...watch }),
  );
  return result(found, [{ prefix: '', ...found }], undefined);
}

/**
 * @param {import('../../index.js').VerifyResult | import('../../index.js').VerifyStoreResult} found
 * @param {({ prefix: string } & import('../../index.js').Listing)[]} groups
 * @param {number | undefined} runs
 * @returns {import('../input.mjs').Result}
 */
function result(found, groups, runs) {
  const good = groups.flatMap((one) => one.checkpoints.map((row) => ({ ...row, ...one })));
  const bad = groups.flatMap((one) => one.damaged.map((row) => ({ ...row, prefix: one.prefix })));
  return {
    data: found,
    text: (style) => {
      const lines = [];
      const total = good.length + bad.length;
      if (total === 0) lines.push('no checkpoints');
      else {
        const columns = [
          { title: 'CHECKPOINT' },
          { title: 'STEP' },
          { title: 'SIZE', right: true },
          { title: 'VERIFIED' },
          { title: 'RESULT' },
        ];
        /** @type {import('../output.mjs').Cell[][]} */
        const rows = [
          ...good.map((one) => [
            one.prefix + one.checkpointId,
            String(one.step),
            size(one.size),
            one.lastVerifiedAt ?? '',
            { text: 'good', format: /** @type {const} */ ('green') },
          ]),
          ...bad.map((one) => [
            one.prefix + one.checkpointId,
            '',
            '',
            '',
            { text: `${one.damage}: ${one.message}`, format: /** @type {const} */ ('red') },
          ]),
        ];
        // Until the data was verified once, nothing stands there.
        if (good.every((one) => one.lastVerifiedAt === undefined)) {
          columns.splice(3, 1);
          for (const row of rows) row.splice(3, 1);
        }
        lines.push(table(columns, rows, style));
      }
      for (const one of found.objects) lines.push('', ...touchedBy(one));
      for (const one of found.problems) lines.push('', plain(`${one.path}: ${one.reason}`));
      for (const { damage, path, seq, reason } of found.events) {
        lines.push('', plain(`${damage}: event ${seq} in ${path}: ${reason}`));
      }
      if (total > 0 || found.problems.length + found.events.length > 0)
        lines.push('', summary(found, total, bad, runs));
      return lines.join('\n');
    },
    notices: found.warnings,
    exitCode: found.ok ? 0 : DAMAGED,
  };
}

/**
 * @param {import('../../index.js').VerifyResult | import('../../index.js').VerifyStoreResult} found
 * @param {number} total
 * @param {unknown[]} bad
 * @param {number | undefined} runs
 * @returns {string}
 */
function summary({ mode, share, checkedObjects, checkedBytes, healed }, total, bad, runs) {
  const of = runs === undefined ? '' : ` of ${count(runs, 'run')}`;
  const words = [`${count(total, 'checkpoint')}${of}, ${bad.length} damaged`];
  if (checkedObjects > 0) {
    const part = share ? `, share ${share.part} of ${share.of}` : '';
    words.push(
      mode === 'data'
        ? `${count(checkedObjects, 'object')} checked${part}, ${size(checkedBytes)} read`
        : `${count(checkedObjects, 'object')} looked up`,
    );
  }
  if (healed.length > 0) words.push(`${count(healed.length, 'object')} to be stored anew`);
  return words.join('; ');
}

/** @param {import('../../index.js').DamagedObject} object @returns {string[]} */
function touchedBy({ object, missing, reason, path, touches }) {
  const what = missing ? 'missing' : 'damaged';
  const lines = [plain(`object ${object} ${what} in ${path}: ${reason}`)];
  for (const one of touches.slice(0, PLACES)) {
    const place =
      one.kind === 'state'
        ? `state: ${one.path}`
        : `${one.kind}: ${[one.root, one.path].filter((part) => part).join('/')}`;
    lines.push(plain(`  ${one.checkpointId}  ${place}`));
  }
  if (touches.length > PLACES) lines.push(`  … and ${touches.length - PLACES} more (--json)`);
  if (touches.length === 0) lines.push('  no checkpoint needs it');
  return lines;
}
