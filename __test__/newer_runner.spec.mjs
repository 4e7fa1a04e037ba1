// A newer runner, which knows --resume itself and takes its checkpoints through the drop-in: as the
// contract describes it, with one import pointed at Waymark.

import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeEach, expect, test } from '@jest/globals';
import { files, project, readJson, registered, removeAll, repo } from './support/project.mjs';

const dropIn = pathToFileURL(path.join(repo, 'lib', 'checkpoint-manager.mjs')).href;

/** One process per step; goes on in the same process after a restore. */
const RUNNER = `
import fs from 'node:fs';
import path from 'node:path';
import { createCheckpoint, listCheckpoints, restoreFromCheckpoint } from ${JSON.stringify(dropIn)};
const args = {};
for (let at = 2; at < process.argv.length; at += 1) {
  const next = process.argv[at + 1];
  const swallows = next !== undefined && !next.startsWith('--');
  args[process.argv[at].slice(2)] = swallows ? next : true;
  if (swallows) at += 1;
}
const runId = args['run-id'];
const dir = path.join(import.meta.dirname, '..', 'context', 'runs', runId);
const read = (name) => JSON.parse(fs.readFileSync(path.join(dir, name), 'utf8'));
const write = (name, value) => {
  fs.writeFileSync(path.join(dir, name + '.tmp'), JSON.stringify(value, null, 2));
  fs.renameSync(path.join(dir, name + '.tmp'), path.join(dir, name));
};
try {
  if (args.resume || args['resume-step']) {
    const found = await listCheckpoints(runId);
    const wanted = args['resume-step'] && parseInt(args['resume-step'], 10);
    const chosen = wanted === undefined ? found[0] : found.find((one) => one.step === wanted);
    if (!chosen) throw new Error('nothing to resume from');
    const { restored_step } = await restoreFromCheckpoint(runId, chosen.checkpoint_id);
    args.step = String(restored_step + 1);
  }
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const step = parseInt(args.step, 10);
const record = read('run.json');
console.log(JSON.stringify({ step, sees: record.done ?? [] }));
const registry = read('artifact-registry.json');
registry.artifacts['out-' + step] = { name: 'out-' + step, step, metadata: { validation_status: 'pass' } };
write('artifact-registry.json', registry);
write('run.json', { ...record, current_step: step, done: [...(record.done ?? []), step] });
try {
  const { checkpoint_id } = await createCheckpoint(runId, step, { step_name: 's' + step });
  console.log(JSON.stringify({ checkpoint_id }));
} catch (error) {
  console.error('warning: ' + error.message);
}
`;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {string} */
let runner;

beforeEach(() => {
  at = project();
  runner = at.place('.claude/tools/workflow_runner.mjs');
  at.put('.claude/tools/workflow_runner.mjs', RUNNER);
});
afterAll(removeAll);

/**
 * @param {string[]} words
 * @returns {Promise<{ code: number, lines: any[], stderr: string }>}
 */
function run(...words) {
  return new Promise((resolve) => {
    // From elsewhere: the runs are found from the script's place.
    execFile(
      process.execPath,
      [runner, '--workflow', 'flow.yaml', '--run-id', at.runId, ...words],
      { cwd: '/' },
      (error, stdout, stderr) =>
        resolve({
          code: error ? Number(error.code) : 0,
          lines: stdout
            .trim()
            .split('\n')
            .filter(Boolean)
            .map((line) => JSON.parse(line)),
          stderr,
        }),
    );
  });
}

test('a 5-step run: a checkpoint each', async () => {
  for (let step = 0; step < 5; step += 1) {
    expect(await run('--step', String(step))).toMatchObject({ code: 0, stderr: '' });
  }
  expect(files(at.dir)).toHaveLength(5);
  expect(registered(at.dir)).toEqual(files(at.dir));
});

test('stops at 3, resumes with --resume --resume-step 3, goes on at 4 with its state', async () => {
  for (let step = 0; step < 4; step += 1) await run('--step', String(step));
  // What a step that was cut off left behind.
  at.change({ done: ['spoilt'], status: 'failed' });
  fs.truncateSync(path.join(at.dir, 'artifact-registry.json'), 50);
  const resumed = await run('--resume', '--resume-step', '3');
  expect(resumed).toMatchObject({ code: 0, stderr: '' });
  expect(resumed.lines[0]).toEqual({ step: 4, sees: [0, 1, 2, 3] });
  expect(readJson(path.join(at.dir, 'run.json'))).toMatchObject({
    current_step: 4,
    status: 'in_progress',
    done: [0, 1, 2, 3, 4],
  });
  const { artifacts } = readJson(path.join(at.dir, 'artifact-registry.json'));
  expect(Object.keys(artifacts)).toEqual(
    expect.arrayContaining(['out-0', 'out-1', 'out-2', 'out-3', 'out-4']),
  );
});

test('--resume takes the newest that can be restored', async () => {
  for (let step = 0; step < 4; step += 1) await run('--step', String(step));
  const newest = files(at.dir).at(-1);
  fs.truncateSync(path.join(at.checkpoints, `${newest}.json`), 200);
  const resumed = await run('--resume');
  expect(resumed.lines[0]).toEqual({ step: 3, sees: [0, 1, 2] });
});

test('a corrupted checkpoint is refused, and nothing starts', async () => {
  await run('--step', '0');
  const [only] = files(at.dir);
  const file = path.join(at.checkpoints, `${only}.json`);
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"pass"', '"fail"'));
  const refused = await run('--resume');
  expect(refused).toMatchObject({ code: 1, lines: [], stderr: 'nothing to resume from\n' });
});
