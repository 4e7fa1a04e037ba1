// What a drill rehearses: each does harm to a copy of a run, then does what a user would do to go on.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').CheckpointInfo} CheckpointInfo
 * @typedef {import('../index.js').RestoreOptions} RestoreOptions
 * @typedef {import('../index.js').RestorePart} RestorePart
 * @typedef {import('../index.js').RestoreRow} RestoreRow
 * @typedef {import('../index.js').RestoreRoot} RestoreRoot
 * @typedef {{ root: string, runDir: string, store: string, runId: string, manager: Manager, place: () => object }} Copy
 *
 * @typedef {object} Known
 * @property {Copy} copy
 * @property {CheckpointInfo[]} checkpoints newest first
 * @property {CheckpointInfo} newest
 * @property {RestorePart[]} only what is rehearsed
 * @property {RestoreRow[]} files the files that the newest holds
 * @property {RestoreRoot[]} roots the folders that are rehearsed
 *
 * @typedef {Known & { rounds: number, signal?: AbortSignal, told: string[], lost: string[], took: number | undefined }} Rehearsal
 *
 * @typedef {object} Scenario
 * @property {import('../index.js').DrillScenario} name
 * @property {string} title
 * @property {(known: Known) => string | undefined} [skip] why it can't be rehearsed with this run
 * @property {(rehearsal: Rehearsal) => Promise<CheckpointInfo>} run gives the checkpoint that the run goes on from
 */

const WORKER = path.join(__dirname, 'drill-worker.js');
/** @param {boolean} is @param {string} otherwise */
function must(is, otherwise) {
  if (!is) throw new Error(otherwise);
}

/** @param {string} text */
const shorten = (text) => (text.length > 200 ? `${text.slice(0, 200)}…` : text);

/** @param {Known} known @param {RestoreRow} row */
const placeOf = ({ copy }, row) => path.join(copy.root, row.rootPath, row.path);

/**
 * Starts a process on the copy, and kills it after a time if one is given.
 * @param {Rehearsal} rehearsal
 * @param {{ what: 'create' | 'restore', checkpointId?: string }} deed
 * @param {{ killAfter?: number, blocks?: number }} how `blocks`: no file may be longer, in 512 bytes
 * @returns {Promise<{ code: number | null, killed: boolean, text: string, ms: number }>} `ms`: from when it began
 */
function work(rehearsal, deed, { killAfter, blocks }) {
  const said = JSON.stringify({ ...rehearsal.copy.place(), only: rehearsal.only, ...deed });
  const own = [process.execPath, WORKER, said];
  const words =
    blocks === undefined ? own : ['sh', '-c', `ulimit -f ${blocks}; exec "$@"`, 'sh', ...own];
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !name.startsWith('WAYMARK_') && name !== 'NODE_OPTIONS',
    ),
  );
  return new Promise((resolve, reject) => {
    const child = spawn(words[0], words.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    let from = performance.now();
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    child.stderr.on('data', (bytes) => {
      text += bytes;
    });
    child.stdout.once('data', () => {
      from = performance.now();
      if (killAfter !== undefined) timer = setTimeout(() => child.kill('SIGKILL'), killAfter);
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, killed: signal === 'SIGKILL', text, ms: performance.now() - from });
    });
  });
}

/**
 * Does the same again and again, each time killed at another instant of it.
 * @param {Rehearsal} rehearsal
 * @param {{ what: 'create' | 'restore', checkpointId?: string }} deed
 * @param {() => Promise<void>} [after] looks at what is left each time
 */
async function killed(rehearsal, deed, after) {
  const { rounds, told } = rehearsal;
  halfDone(rehearsal);
  // How long it takes when it is left alone.
  const { ms } = await work(rehearsal, deed, {});
  let count = 0;
  for (let round = 0; round < rounds; round += 1) {
    halfDone(rehearsal);
    if ((await work(rehearsal, deed, { killAfter: Math.random() * ms })).killed) count += 1;
    await after?.();
  }
  told.push(`killed in ${count} of ${rounds} rounds; in the others it was quicker`);
}

/**
 * Puts the run back, measures how long that takes, and holds it against the checkpoint.
 * @param {Rehearsal} rehearsal
 * @param {RestoreOptions} [how]
 * @returns {Promise<CheckpointInfo>}
 */
async function recovered(rehearsal, how = { onConflict: 'overwrite' }) {
  const { copy, only, signal } = rehearsal;
  const from = performance.now();
  const restored = await copy.manager.restore(copy.runId, { only, signal, ...how });
  rehearsal.took = Math.round(performance.now() - from);
  for (const one of restored.skipped)
    rehearsal.told.push(`passed over ${one.checkpointId}: ${one.message}`);
  const found = rehearsal.checkpoints.find((one) => one.checkpointId === restored.checkpointId);
  if (found === undefined)
    throw new Error(`${restored.checkpointId} was restored, and is none of the run's`);
  await isBack(rehearsal, found, how);
  return found;
}

/**
 * Holds the run's state and its files against a checkpoint.
 * @param {Rehearsal} rehearsal
 * @param {CheckpointInfo} checkpoint
 * @param {RestoreOptions} how
 */
async function isBack({ copy, only }, checkpoint, how) {
  const record = JSON.parse(fs.readFileSync(path.join(copy.runDir, 'run.json'), 'utf8'));
  must(record.run_id === copy.runId, 'run.json is of another run');
  must(
    record.current_step === checkpoint.step,
    `run.json is at step ${record.current_step}, not ${checkpoint.step}`,
  );
  JSON.parse(fs.readFileSync(path.join(copy.runDir, 'artifact-registry.json'), 'utf8'));
  if (how.files === false) return;
  const { checkpointId } = checkpoint;
  const plan = await copy.manager.planRestore(copy.runId, {
    checkpointId,
    only,
    onConflict: 'overwrite',
  });
  const differing = plan.paths.filter((one) => !['keep', 'same'].includes(one.action));
  must(
    differing.length === 0,
    `${differing.length} files are not as in the checkpoint: ${differing[0]?.path}`,
  );
}

/** The work that a resume from an older checkpoint does again. @param {Rehearsal} rehearsal @param {CheckpointInfo} from */
function tellLost({ checkpoints, lost }, from) {
  const at = checkpoints.findIndex((one) => one.checkpointId === from.checkpointId);
  for (const one of checkpoints.slice(0, Math.max(at, 0)))
    lost.push(`step ${one.step} (${one.checkpointId})`);
}

/** The step under way leaves its files half done. @param {Rehearsal} rehearsal */
function halfDone(rehearsal) {
  const { copy, files } = rehearsal;
  fs.writeFileSync(path.join(copy.runDir, 'half-done.tmp'), 'the step was killed here');
  for (const row of files.slice(0, 3)) {
    const file = placeOf(rehearsal, row);
    if (fs.existsSync(file)) fs.truncateSync(file, Math.floor(fs.statSync(file).size / 2));
  }
}

/** @type {Scenario[]} */
const SCENARIOS = [
  {
    name: 'agent-crash',
    title: 'the process is killed while it takes a checkpoint',
    async run(rehearsal) {
      const { copy, newest } = rehearsal;
      await killed(rehearsal, { what: 'create' }, async () => {
        const listed = await copy.manager.list(copy.runId);
        const isThere = listed.some((one) => one.checkpointId === newest.checkpointId);
        must(isThere, `checkpoint ${newest.checkpointId} is gone`);
      });
      rehearsal.lost.push('the step that was under way');
      return recovered(rehearsal, { onConflict: 'overwrite', checkpointId: newest.checkpointId });
    },
  },
  {
    name: 'crashes',
    title: 'it is killed again and again while it is put back',
    async run(rehearsal) {
      const { newest } = rehearsal;
      await killed(rehearsal, { what: 'restore', checkpointId: newest.checkpointId });
      return recovered(rehearsal, { onConflict: 'overwrite', checkpointId: newest.checkpointId });
    },
  },
  {
    name: 'damaged-state',
    title: 'run.json and the registry are cut off',
    async run(rehearsal) {
      for (const name of ['run.json', 'artifact-registry.json']) {
        const file = path.join(rehearsal.copy.runDir, name);
        fs.truncateSync(file, Math.floor(fs.statSync(file).size / 2));
      }
      return recovered(rehearsal);
    },
  },
  {
    name: 'damaged-checkpoint',
    title: 'the newest checkpoint is cut off',
    async run(rehearsal) {
      const file = rehearsal.newest.path;
      const own = path.join(rehearsal.copy.runDir, 'checkpoints', path.basename(file));
      fs.truncateSync(own, Math.floor(fs.statSync(own).size / 2));
      const found = await recovered(rehearsal);
      must(
        found.checkpointId !== rehearsal.newest.checkpointId,
        'a damaged checkpoint was restored',
      );
      tellLost(rehearsal, found);
      return found;
    },
  },
  {
    name: 'missing-store',
    title: 'the store is gone',
    async run(rehearsal) {
      const { copy, files, lost, told } = rehearsal;
      fs.renameSync(copy.store, `${copy.store}-gone`);
      if (files.length > 0) {
        try {
          await copy.manager.restore(copy.runId, { only: rehearsal.only, onConflict: 'overwrite' });
          throw new Error('files were restored without the store that holds them');
        } catch (error) {
          const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
          if (code === undefined) throw error;
          told.push(`refused with files: ${shorten(message)} [${code}]`);
        }
        lost.push(`${files.length} captured files`);
      }
      return recovered(rehearsal, { files: false, only: undefined });
    },
  },
  {
    name: 'full-disk',
    title: 'nothing more can be written while a checkpoint is taken',
    skip: () =>
      process.platform === 'win32' ? 'there is no limit of a file to set on Windows' : undefined,
    async run(rehearsal) {
      const { copy, newest, told } = rehearsal;
      const before = (await copy.manager.list(copy.runId)).length;
      const { code, text } = await work(rehearsal, { what: 'create' }, { blocks: 2 });
      must(code !== 0, 'a checkpoint was taken although nothing could be written');
      const refusal = JSON.parse(text);
      told.push(`refused: ${refusal.message} [${refusal.code}]`);
      must(
        (await copy.manager.list(copy.runId)).length === before,
        'the checkpoints are not the same as before',
      );
      rehearsal.lost.push('the checkpoint that found no room');
      return recovered(rehearsal, { onConflict: 'overwrite', checkpointId: newest.checkpointId });
    },
  },
  {
    name: 'lost-worktree',
    title: 'the workspace is deleted',
    skip: ({ files }) =>
      files.some((one) => one.root === 'workspace')
        ? undefined
        : 'no files of a workspace are captured in the project',
    async run(rehearsal) {
      const { copy, roots } = rehearsal;
      for (const root of roots.filter((one) => one.name === 'workspace')) {
        const folder = path.join(copy.root, root.path);
        for (const name of fs.readdirSync(folder)) {
          if (path.join(folder, name) === copy.store || name === '.claude') continue;
          fs.rmSync(path.join(folder, name), { recursive: true });
        }
      }
      return recovered(rehearsal);
    },
  },
  {
    name: 'human-edit',
    title: 'somebody edits files and the state by hand',
    async run(rehearsal) {
      const { copy, files, told } = rehearsal;
      const record = path.join(copy.runDir, 'run.json');
      fs.writeFileSync(
        record,
        fs.readFileSync(record, 'utf8').replace('"status"', '"status": "done by hand", "old"'),
      );
      const edited = files.filter((one) => one.root === 'workspace').slice(0, 3);
      for (const row of edited) fs.appendFileSync(placeOf(rehearsal, row), '\nedited by hand\n');
      const own =
        edited.length > 0
          ? path.join(path.dirname(placeOf(rehearsal, edited[0])), 'written-by-hand.txt')
          : undefined;
      if (own !== undefined) {
        fs.writeFileSync(own, 'mine\n');
        try {
          await copy.manager.restore(copy.runId, { only: rehearsal.only });
          throw new Error('what was edited by hand was overwritten without being asked');
        } catch (error) {
          const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
          if (code !== 'ERR_RESTORE_CONFLICT') throw error;
          told.push(`refused: ${message}`);
        }
      }
      const from = performance.now();
      const { kept } = await keptBoth(rehearsal);
      rehearsal.took = Math.round(performance.now() - from);
      must(kept === edited.length, `${edited.length - kept} of the edits are gone`);
      if (own !== undefined) must(fs.existsSync(own), 'a file that was never captured is gone');
      if (kept > 0) told.push(`with keep-both ${kept} edited files lie beside the restored ones`);
      await isBack(rehearsal, rehearsal.newest, {});
      return rehearsal.newest;
    },
  },
];

/** Restores beside what was edited; counts the edits that are still there. @param {Rehearsal} rehearsal */
async function keptBoth({ copy, only, files }) {
  await copy.manager.restore(copy.runId, { only, onConflict: 'keep-both' });
  const folders = new Set(
    files
      .filter((one) => one.root === 'workspace')
      .map((row) => path.dirname(path.join(copy.root, row.rootPath, row.path))),
  );
  let kept = 0;
  for (const folder of folders) {
    for (const name of fs.readdirSync(folder)) {
      const file = path.join(folder, name);
      if (
        fs.statSync(file).isFile() &&
        fs.readFileSync(file, 'utf8').endsWith('\nedited by hand\n')
      )
        kept += 1;
    }
  }
  return { kept };
}

module.exports = { SCENARIOS };
