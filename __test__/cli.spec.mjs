// The `waymark` command: every verb in text and JSON, the old tools' forms, misuse, exit codes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parseSize } from '../cli/input.mjs';
import { duration, plain, quoted, size, styleFor, table } from '../cli/output.mjs';
import api from '../index.js';
import preloadOption from '../lib/preload-option.js';
import { ended, main, start, waymark } from './support/cli.mjs';
import {
  addRun,
  files,
  oldCheckpoint,
  project,
  readJson,
  registered,
  removeAll,
  repo,
  temporary,
  writeJson,
} from './support/project.mjs';

/** @typedef {import('./support/cli.mjs').Ended} Ended */

const DAY = 86_400_000;
const ID = /checkpoint-step-[\w.-]+/;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
});
afterEach(removeAll);
afterAll(removeAll);

/**
 * @param {string[]} words
 * @param {Partial<import('./support/cli.mjs').Around>} [around]
 */
const run = (words, around = {}) => waymark(words, { cwd: at.root, ...around });

/** A command that is done: its output, and nothing on stderr. @param {string[]} words */
async function out(...words) {
  const { code, stdout, stderr } = await run(words);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** @param {string[]} words */
const json = async (...words) => JSON.parse(await out(...words, '--json'));

/** A command that is refused: nothing on stdout, exit 1. @param {string[]} words */
async function refused(...words) {
  const { code, stdout, stderr } = await run(words);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  return stderr;
}

/** @param {string[]} words */
async function refusedJson(...words) {
  const stderr = await refused(...words, '--json');
  expect(stderr).toMatch(/^\{.*\}\n$/);
  return JSON.parse(stderr).error;
}

/** @param {(number | string)[]} steps @returns {string[]} their ids */
const create = (...steps) =>
  steps.map((step) => manager.createSync('demo', step, { at: step }).checkpointId);

/** Cuts a checkpoint off. @param {string} id */
function truncate(id) {
  const file = path.join(at.checkpoints, `${id}.json`);
  fs.truncateSync(file, 100);
}

/** Changes a byte of the content, so that only a checksum tells. @param {string} id */
function alter(id) {
  const file = path.join(at.checkpoints, `${id}.json`);
  const text = fs.readFileSync(file, 'utf8');
  expect(text).toContain('"flow"');
  fs.writeFileSync(file, text.replace('"flow"', '"flaw"'));
}

const record = () => readJson(path.join(at.dir, 'run.json'));
/** @param {Parameters<typeof at.change>} words */
const change = (...words) => at.change(...words);
/** @param {string} text @returns {string[][]} the cells of a table */
const cells = (text) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));

describe('create', () => {
  test('text, with the step as a number or a name', async () => {
    for (const [text, step] of [
      ['1.5', 1.5],
      ['0', 0],
      ['draft', 'draft'],
    ]) {
      const stdout = await out('create', 'demo', '--step', String(text));
      const id = /** @type {string} */ (ID.exec(stdout)?.[0]);
      expect(stdout).toMatch(new RegExp(`^created ${id} \\(step ${text}, [\\d.]+ KB\\)\\n$`));
      expect(manager.showSync('demo', id)).toMatchObject({ step, checkpoint: { step_state: {} } });
    }
  });

  test('JSON: the result without the manifest', async () => {
    const made = await json('create', 'demo', '--step', '2', '--state', '{"a":[1]}');
    expect(made).toMatchObject({ runId: 'demo', step: 2, sequence: 1, dropped: [], warnings: [] });
    expect(made).not.toHaveProperty('checkpoint');
    expect(made).not.toHaveProperty('manifest');
    expect(readJson(made.path).step_state).toEqual({ a: [1] });
  });

  test('the state from a file and from standard input', async () => {
    const file = path.join(at.root, 'state.json');
    fs.writeFileSync(file, '\ufeff{"from":"file é"}');
    const one = await json('create', 'demo', '--step', '1', '--state-file', 'state.json');
    expect(readJson(one.path).step_state).toEqual({ from: 'file é' });
    const big = JSON.stringify({ text: 'x'.repeat(300_000) });
    const two = await run(['create', 'demo', '--step', '2', '--state-file', '-', '--json'], {
      input: big,
    });
    expect(two).toMatchObject({ code: 0, stderr: '' });
    const { checkpointId } = JSON.parse(two.stdout);
    // It is large: it lies in the store.
    const { checkpoint } = manager.showSync('demo', checkpointId);
    expect(JSON.stringify(checkpoint.step_state)).toBe(big);
  });

  test('states that are none', async () => {
    const file = path.join(at.root, 'state.json');
    fs.writeFileSync(file, Buffer.from([0x22, 0xff, 0x22]));
    for (const words of [
      ['--state', '{'],
      ['--state', ''],
      ['--state-file', '-'],
      ['--state-file', file],
    ]) {
      const error = await refusedJson('create', 'demo', '--step', '1', ...words);
      expect(error.code).toBe('ERR_STATE_NOT_JSON');
    }
    const missing = await refusedJson('create', 'demo', '--step', '1', '--state-file', 'no.json');
    expect(missing).toMatchObject({ code: 'ERR_IO', path: 'no.json' });
    expect(files(at.dir)).toEqual([]);
  });

  test('keeps the newest five, or as many as said', async () => {
    const ids = create(0, 1, 2, 3, 4);
    const stdout = await out('create', 'demo', '--step', '5');
    expect(stdout).toContain(`\ndropped 1 older checkpoint: ${ids[0]}\n`);
    expect(files(at.dir)).toHaveLength(5);
    await out('create', 'demo', '--step', '6', '--keep-last', 'all');
    expect(files(at.dir)).toHaveLength(6);
    await out('create', 'demo', '--step', '7', '--keep-last', '2');
    expect(manager.listSync('demo').map((one) => one.step)).toEqual([7, 6]);
  });

  test('what is captured, and the budget', async () => {
    at.put('src/a.js', 'a');
    at.put('src/b.log', 'b');
    at.put('src/deploy.cfg', 'password');
    at.put('src/large', 'x'.repeat(5000));
    at.put('lib/c.js', 'c');
    at.put('.gitignore', '*.log\n');
    at.put('waymark.config.json', '{"capture":{"workspace":["lib"],"exclude":["c.js"]}}');
    const files = async (/** @type {string[]} */ ...words) => {
      const { checkpointId } = await json('create', 'demo', '--step', '1', ...words);
      return manager
        .filesSync('demo', checkpointId)
        .filter((one) => one.root === 'workspace')
        .map((one) => `${one.rootPath}/${one.path}${one.kind === 'file' ? '' : ` ${one.kind}`}`);
    };
    expect(await files()).toEqual([]);
    expect(await files('--exclude', 'x')).toEqual(['lib/c.js']);
    expect(await files('--workspace', 'src', '--workspace', 'lib')).toEqual([
      'src/a.js',
      'src/deploy.cfg',
      'src/large',
    ]);
    const all = ['--workspace', 'src', '--secrets', '*.cfg', '--max-file-bytes', '4KB'];
    expect(await files(...all, '--no-gitignore')).toEqual([
      'src/a.js',
      'src/b.log',
      'src/deploy.cfg withheld',
      'src/large skipped',
    ]);
    expect(await files(...all, '--include', 'b.*', '--exclude', '*.js')).toEqual([
      'src/b.log',
      'src/deploy.cfg withheld',
      'src/large skipped',
    ]);
    at.put('src/.env', 'SECRET=1');
    expect(await files('--workspace', 'src', '--keep-secrets')).toContain('src/.env');
    expect(await files('--no-workspace')).toEqual([]);
    const none = await json('create', 'demo', '--step', '1', '--no-capture');
    expect(none.snapshot).toBeUndefined();
    const partial = ['create', 'demo', '--step', '1', ...all, '--on-partial', 'error'];
    expect((await refusedJson(...partial)).code).toBe('ERR_CHECKPOINT_PARTIAL');
    const budget = ['create', 'demo', '--step', '1', '--workspace', 'src', '--max-bytes', '1.5KB'];
    expect((await refusedJson(...budget)).code).toBe('ERR_STORE_BUDGET');
    for (const words of [
      ['--max-bytes', 'much'],
      ['--max-bytes', '-1'],
      ['--max-file-bytes', '1 PB'],
      ['--on-partial', 'maybe'],
      ['--include', ''],
      ['--no-capture', '--workspace', 'src'],
      ['--keep-secrets', '--secrets', 'x'],
    ]) {
      const error = await refusedJson('create', 'demo', '--step', '1', ...words);
      expect([words, error.code]).toEqual([words, 'ERR_USAGE']);
    }
  });

  test('a run that can not be checkpointed', async () => {
    expect(await refusedJson('create', 'nope', '--step', '1')).toMatchObject({
      code: 'ERR_RUN_NOT_FOUND',
      runId: 'nope',
      path: path.join(at.runsDir, 'nope'),
    });
    expect(await refused('create', 'demo', '--step', '-1')).toContain('[ERR_STEP_INVALID]');
    expect(await refused('create', 'demo', '--step', '')).toContain('[ERR_STEP_INVALID]');
    expect(await refused('create', 'demo', '--step', 'Infinity')).toContain('[ERR_STEP_INVALID]');
  });
});

describe('restore', () => {
  test('to the newest, in text', async () => {
    const [, id] = create(1, 1.5);
    change({ current_step: 9, status: 'failed' });
    const stdout = await out('restore', 'demo');
    expect(stdout).toContain(`restored run demo to ${id} (step 1.5, taken `);
    expect(stdout).toContain('put back: run.json, artifact-registry.json');
    expect(stdout).toContain(`waymark resume demo --checkpoint ${id}`);
    expect(record()).toMatchObject({ current_step: 1.5, status: 'in_progress' });
  });

  test('to a checkpoint and to a step, in JSON', async () => {
    const [zero, one] = create(0, 1, 2);
    const restored = await json('restore', 'demo', zero);
    expect(restored).toMatchObject({
      checkpointId: zero,
      step: 0,
      artifactsRestored: 3,
      skipped: [],
      recovered: 'nothing',
    });
    expect(restored).not.toHaveProperty('checkpoint');
    expect(record().current_step).toBe(0);
    expect(await json('restore', 'demo', '--step', '1')).toMatchObject({ checkpointId: one });
    expect(record().current_step).toBe(1);
    expect(await json('restore', 'demo', '--checkpoint-id', zero)).toMatchObject({ step: 0 });
  });

  test('passes over damaged ones and says so on stderr', async () => {
    const [good, bad] = create(1, 2);
    alter(bad);
    const { code, stdout, stderr } = await run(['restore', 'demo']);
    expect(code).toBe(0);
    expect(stdout).toContain(`to ${good} (step 1`);
    expect(stderr).toBe(
      `waymark: passed over ${bad}: checksum mismatch: the content was altered after it was written\n`,
    );
    const again = await run(['restore', 'demo', '--json']);
    expect(JSON.parse(again.stdout).skipped).toMatchObject([{ checkpointId: bad }]);
    expect(JSON.parse(again.stderr).notice).toContain(`passed over ${bad}: checksum mismatch`);
  });

  test('refuses what is damaged, unknown, foreign or not there', async () => {
    expect(await refusedJson('restore', 'demo')).toMatchObject({ code: 'ERR_NO_CHECKPOINT' });
    const [bad] = create(1);
    alter(bad);
    const before = fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8');
    expect(await refusedJson('restore', 'demo', bad)).toMatchObject({
      code: 'ERR_CHECKPOINT_DAMAGED',
      reason: 'checksum_mismatch',
      checkpointId: bad,
      runId: 'demo',
      path: path.join(at.checkpoints, `${bad}.json`),
    });
    expect(await refusedJson('restore', 'demo')).toMatchObject({
      code: 'ERR_NO_GOOD_CHECKPOINT',
      skipped: [{ checkpointId: bad, damage: 'checksum_mismatch' }],
    });
    expect(await refused('restore', 'demo', 'nope')).toBe(
      'waymark: Checkpoint not found: nope [ERR_CHECKPOINT_NOT_FOUND]\n',
    );
    for (const id of ['../../other/checkpoints/x', '..', '/etc/passwd']) {
      expect((await refusedJson('restore', 'demo', id)).code).toBe('ERR_CHECKPOINT_ID_INVALID');
      expect((await refusedJson('restore', id)).code).toBe('ERR_RUN_ID_INVALID');
    }
    expect(fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8')).toBe(before);
  });
});

describe('list', () => {
  test('a table, newest first', async () => {
    const ids = create(1, 1.5, 'draft').reverse();
    const [head, ...rows] = cells(await out('list', 'demo'));
    expect(head).toEqual(['CHECKPOINT', 'STEP', 'STATE', 'TAKEN', 'AGE', 'SIZE']);
    expect(rows.map(([id, step]) => [id, step])).toEqual([
      [ids[0], 'draft'],
      [ids[1], '1.5'],
      [ids[2], '1'],
    ]);
    for (const row of rows) {
      expect(row[2]).toBe('created');
      expect(row[3]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(row[4]).toMatch(/^\d+ s$/);
      expect(row[5]).toMatch(/^\d\.\d KB$/);
    }
  });

  test('JSON is what the API gives', async () => {
    create(1, 1.5);
    expect(await json('list', 'demo')).toEqual(manager.listSync('demo'));
  });

  test('damaged ones are always mentioned, and listed when asked for', async () => {
    const [good, bad] = create(1, 2);
    truncate(bad);
    const plainList = await run(['list', 'demo']);
    expect(plainList.code).toBe(0);
    expect(plainList.stdout).toContain(good);
    expect(plainList.stdout).not.toContain(bad);
    expect(plainList.stderr).toMatch(
      new RegExp(`^waymark: damaged, can't be restored: ${bad}: the file is truncated.*\\n$`),
    );
    const all = await run(['list', 'demo', '--include-damaged']);
    expect(cells(all.stdout).at(-1)).toEqual([bad, 'truncated']);
    expect(all.stderr).toBe(plainList.stderr);
    const data = await run(['list', 'demo', '--include-damaged', '--json']);
    expect(JSON.parse(data.stdout)).toEqual(manager.listSync('demo', { includeDamaged: true }));
    expect(JSON.parse(data.stderr).notice).toContain(bad);
    expect(JSON.parse((await run(['list', 'demo', '--json'])).stdout)).toHaveLength(1);
  });

  test('nothing to list', async () => {
    expect(await out('list', 'demo')).toBe('no checkpoints\n');
    expect(await json('list', 'demo')).toEqual([]);
    const unknown = await run(['list', 'nope']);
    expect(unknown).toMatchObject({ code: 0, stdout: 'no checkpoints\n' });
    expect(unknown.stderr).toBe(`waymark: there is no run nope in ${at.runsDir}\n`);
  });

  test('a file name can not steer the terminal', async () => {
    create(1);
    fs.writeFileSync(path.join(at.checkpoints, 'x\u001b[2J\ny.json'), '{');
    const { stdout, stderr } = await run(['list', 'demo', '--include-damaged']);
    expect(stdout).toContain('x\ufffd[2J\ufffdy');
    expect(stdout + stderr).not.toContain('\u001b');
  });

  test('a reader that goes away is no failure', async () => {
    create(1);
    const child = start(['list', 'demo'], { cwd: at.root });
    child.stdout.destroy();
    child.stdin.end();
    expect(await ended(child)).toMatchObject({ code: 0, signal: null, stderr: '' });
  });
});

// A device that is always full is a thing of Linux.
const onLinux = process.platform === 'linux' ? test : test.skip;
onLinux('output that can not be written is a failure', async () => {
  const full = fs.openSync('/dev/full', 'w');
  const child = spawn(process.execPath, [main, 'list', 'demo'], {
    cwd: at.root,
    stdio: ['ignore', full, 'pipe'],
  });
  fs.closeSync(full);
  let stderr = '';
  child.stderr?.on('data', (text) => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(/^waymark: can't print: .*ENOSPC.* \[ERR_IO\]\n$/),
  });
});

describe('show', () => {
  test('a summary for people', async () => {
    change({ status: 'paused' });
    const [parent] = create(1);
    writeJson(path.join(at.dir, 'state.json'), { x: 'y'.repeat(2000) });
    const { checkpointId: id } = manager.createSync('demo', 1.5, { tokens: 1, draft: 'a.md' });
    const text = await out('show', 'demo', id);
    const facts = Object.fromEntries(
      text
        .split('\n')
        .filter((line) => line.startsWith('  '))
        .map((line) => line.trim().split(/ {2,}/)),
    );
    expect(text.split('\n')[0]).toBe(id);
    expect(facts).toMatchObject({
      run: 'demo (paused)',
      workflow: 'flow',
      step: '1.5',
      taken: expect.stringMatching(/^\d{4}-.*Z \(\d+ s ago\)$/),
      parent,
      artifacts: `4: artifact-0.md, artifact-1.md, artifact-2.md, ${parent}.json`,
      validation: expect.stringMatching(/^\d validated, 1 failed, of 4$/),
      'step state': '2: tokens, draft (27 B)',
      'run files': 'state.json (2.0 KB)',
      captured: '0 files (0 B), of run',
      manifest: expect.stringMatching(/^[\d.]+ KB, .*\.json$/),
      checksum: expect.stringMatching(/^sha256 [0-9a-f]{64}$/),
    });
    for (const line of readJson(path.join(at.checkpoints, `${id}.json`)).recovery_instructions) {
      expect(text).toContain(line);
    }
  });

  test('what was captured, what was not, and why', async () => {
    at.put('.claude/context/runs/demo/artifacts/plan.md', '# plan');
    at.put('src/.env', 'SECRET=1');
    for (let n = 0; n < 14; n += 1) at.put(`src/large-${n + 10}`, 'x'.repeat(2000));
    const registry = readJson(path.join(at.dir, 'artifact-registry.json'));
    registry.artifacts.gone = { name: 'gone', path: path.join(at.root, 'gone.md') };
    writeJson(path.join(at.dir, 'artifact-registry.json'), registry);
    const capture = { workspace: ['src'], maxFileBytes: 1000 };
    const { checkpointId: id } = manager.createSync('demo', 1, {}, { capture });
    const text = await out('show', 'demo', id);
    expect(text).toMatch(/^ {2}captured +1 file \(14 B\), of run, workspace \(src\)$/m);
    expect(text).toMatch(/^ {2}secrets +1 file, without the content$/m);
    expect(text).toMatch(
      /^ {2}partial +14 left out: workspace\/large-10 \(too_large\), .*large-21 \(too_large\) and 2 more$/m,
    );
    expect(text).toMatch(/^ {2}missing +1: gone\.md$/m);
    const { checkpointId: none } = manager.createSync('demo', 2, {}, { capture: false });
    const bare = await out('show', 'demo', none);
    expect(bare).toMatch(/^ {2}captured +no files$/m);
    expect(bare).not.toMatch(/^ {2}(secrets|partial|missing)/m);
  });

  test('the whole manifest as JSON', async () => {
    const [id] = create(1.5);
    const file = path.join(at.checkpoints, `${id}.json`);
    expect(await out('show', 'demo', id, '--json')).toBe(
      `${JSON.stringify(readJson(file), null, 2)}\n`,
    );
  });

  test('a checkpoint of the old manager', async () => {
    const id = oldCheckpoint(at.dir, 'demo', 1, 1_767_323_045_678);
    const text = await out('show', 'demo', id);
    expect(text).toMatch(/parent +not known/);
    expect(text).toMatch(/validation +2 validated, 1 failed, of 3/);
    expect((await json('show', 'demo', id)).metadata.version).toBe('1.0.0');
  });

  test('a damaged one is named, not shown', async () => {
    const [id] = create(1);
    truncate(id);
    expect(await refused('show', 'demo', id)).toMatch(
      /^waymark: Checkpoint integrity check failed: .*truncated.* \[ERR_CHECKPOINT_DAMAGED\]\n$/,
    );
  });
});

describe('verify', () => {
  test('all are good', async () => {
    const [one, two] = create(1, 2);
    expect(cells(await out('verify', 'demo'))).toEqual([
      ['CHECKPOINT', 'STEP', 'SIZE', 'RESULT'],
      [two, '2', expect.any(String), 'good'],
      [one, '1', expect.any(String), 'good'],
      [''],
      ['2 checkpoints, 0 damaged; 2 objects looked up'],
    ]);
    expect(await json('verify', 'demo')).toEqual(manager.verifySync('demo'));
    expect((await json('verify', 'demo', one)).checkpoints).toMatchObject([{ checkpointId: one }]);
  });

  test('exit code 3 for damage, as text and JSON', async () => {
    const [one, two] = create(1, 2);
    alter(two);
    const text = await run(['verify', 'demo']);
    expect(text).toMatchObject({ code: 3, stderr: '' });
    expect(text.stdout).toMatch(new RegExp(`${two} +checksum_mismatch: `));
    expect(text.stdout).toContain('2 checkpoints, 1 damaged; 2 objects looked up\n');
    const data = await run(['verify', 'demo', '--json']);
    expect(data).toMatchObject({ code: 3, stderr: '' });
    expect(JSON.parse(data.stdout)).toMatchObject({
      ok: false,
      checkpoints: [{ checkpointId: one }],
      damaged: [{ checkpointId: two, damage: 'checksum_mismatch' }],
    });
    expect((await run(['verify', 'demo', two])).code).toBe(3);
    expect((await run(['verify', 'demo', one])).code).toBe(0);
    expect(fs.existsSync(path.join(at.checkpoints, `${two}.json`))).toBe(true);
  });

  test('what is not there', async () => {
    expect(await out('verify', 'demo')).toBe('no checkpoints\n');
    expect((await refusedJson('verify', 'demo', 'nope')).code).toBe('ERR_CHECKPOINT_NOT_FOUND');
    expect((await refusedJson('verify', 'nope')).code).toBe('ERR_RUN_NOT_FOUND');
    expect((await refusedJson('tree', 'nope')).code).toBe('ERR_RUN_NOT_FOUND');
  });
});

describe('prune', () => {
  test('a dry run tells, the real one drops', async () => {
    const ids = create(1, 2, 3).reverse();
    const dry = await out('prune', 'demo', '--keep-last', '1', '--dry-run');
    expect(cells(dry).slice(0, 4)).toEqual([
      ['CHECKPOINT', 'VERDICT', 'SIZE', 'REASON'],
      [ids[0], 'keep', expect.stringMatching(/KB$/), 'among the newest'],
      [ids[1], 'drop', expect.stringMatching(/KB$/), 'enough newer ones are kept'],
      [ids[2], 'drop', expect.stringMatching(/KB$/), 'enough newer ones are kept'],
    ]);
    expect(dry).toMatch(/\nwould drop 2 checkpoints, [\d.]+ KB\n$/);
    expect(files(at.dir)).toHaveLength(3);
    const done = await out('prune', 'demo', '--keep-last', '1');
    expect(done).toMatch(/\ndropped 2 checkpoints, [\d.]+ KB\n$/);
    expect(files(at.dir)).toEqual([ids[0]]);
    expect(registered(at.dir)).toEqual([ids[0]]);
  });

  test('JSON, and damaged ones that stay', async () => {
    const [one, two, three] = create(1, 2, 3);
    truncate(one);
    expect(await json('prune', 'demo', '--keep-last', '1', '--dry-run')).toMatchObject({
      runId: 'demo',
      dryRun: true,
      dropped: [two],
      decisions: [
        { checkpointId: three, keep: true, reason: 'keep_last' },
        { checkpointId: two, keep: false, reason: 'superseded' },
        { checkpointId: one, keep: true, reason: 'damaged' },
      ],
    });
    expect(await out('prune', 'demo', '--keep-last', '1')).toContain('neither counts nor goes');
    expect(files(at.dir)).toEqual([one, three].sort());
  });

  test('five stay by default, all when said', async () => {
    for (let step = 0; step < 7; step += 1) {
      manager.createSync('demo', step, {}, { keepLast: 'all' });
    }
    expect((await json('prune', 'demo', '--keep-last', 'all')).dropped).toEqual([]);
    expect((await json('prune', 'demo')).dropped).toHaveLength(2);
    expect(files(at.dir)).toHaveLength(5);
  });
});

describe('cleanup', () => {
  const report = () => path.join(at.root, '.claude/context/reports/checkpoint-cleanup-report.md');
  /** @param {number} days */
  const daysAgo = (days) => new Date(Date.now() - days * DAY - 1000).toISOString();

  beforeEach(() => {
    addRun(at.runsDir, 'old', { record: { status: 'failed', updated_at: daysAgo(30) } });
    addRun(at.runsDir, 'older', { record: { status: 'failed', updated_at: daysAgo(40) } });
    addRun(at.runsDir, 'young', { record: { status: 'failed', updated_at: daysAgo(3) } });
    addRun(at.runsDir, 'gone', { record: { status: 'cancelled', updated_at: daysAgo(30) } });
  });
  const runs = () => fs.readdirSync(at.runsDir).sort();

  test('a dry run: a table, a report, and nothing dropped', async () => {
    const text = await out('cleanup', '--dry-run');
    expect(cells(text).slice(0, 3)).toEqual([
      ['RUN', 'STATUS', 'AGE', 'SIZE'],
      ['old', 'failed', '30 d', expect.stringMatching(/KB$/)],
      ['older', 'failed', '40 d', expect.stringMatching(/KB$/)],
    ]);
    expect(text).toContain(`\nwould drop 2 of 5 runs in ${at.runsDir}, `);
    expect(text).toContain('(failed, older than 7 days)');
    expect(text).toContain(`\nreport: ${report()}\n`);
    expect(runs()).toEqual(['demo', 'gone', 'old', 'older', 'young']);
    expect(fs.readFileSync(report(), 'utf8')).toContain('**Mode**: Dry Run');
  });

  test('the report holds what the contract names', async () => {
    const { freedBytes } = await json('cleanup', '--max-age-days', '7');
    expect(runs()).toEqual(['demo', 'gone', 'young']);
    const freed = size(freedBytes).replace('.', '\\.');
    expect(fs.readFileSync(report(), 'utf8')).toMatch(
      new RegExp(
        [
          '^# Checkpoint Cleanup Report',
          '',
          '\\*\\*Date\\*\\*: \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z',
          '\\*\\*Mode\\*\\*: Live',
          '\\*\\*Max Age\\*\\*: 7 days',
          '',
          '## Summary',
          '',
          '- Runs scanned: 5',
          '- Runs cleaned: 2',
          `- Disk space freed: ${freed}`,
          '',
          '## Cleaned Runs',
          '',
          '1\\. old \\(failed, age: 30 days, size: [\\d.]+ KB\\)',
          '2\\. older \\(failed, age: 40 days, size: [\\d.]+ KB\\)\n$',
        ].join('\n'),
      ),
    );
  });

  test('statuses, repeated or with commas; one run in both forms', async () => {
    const names = async (/** @type {string[]} */ ...words) =>
      (await json('cleanup', '--dry-run', '--no-report', ...words)).cleaned.map(
        (/** @type {{ runId: string }} */ one) => one.runId,
      );
    expect(await names('--status', 'cancelled')).toEqual(['gone']);
    expect(await names('--status', 'failed, cancelled')).toEqual(['gone', 'old', 'older']);
    expect(await names('--status', 'failed', '--status', 'cancelled')).toHaveLength(3);
    expect(await names('--max-age-days', '35')).toEqual(['older']);
    expect(await names('old')).toEqual(['old']);
    expect(await names('--run-id', 'older')).toEqual(['older']);
    expect(await names('demo')).toEqual([]);
    expect(fs.existsSync(report())).toBe(false);
  });

  test('JSON, and a report elsewhere', async () => {
    const where = path.join(at.root, 'out', 'report.md');
    const outcome = await json('cleanup', '--run-id', 'old', '--report', 'out/report.md');
    expect(outcome).toMatchObject({
      runsDir: at.runsDir,
      dryRun: false,
      scanned: 1,
      cleaned: [{ runId: 'old', status: 'failed' }],
      left: [],
      reportPath: where,
    });
    expect(fs.readFileSync(where, 'utf8')).toContain('1. old (failed, age: 30 days');
    expect(fs.existsSync(report())).toBe(false);
    expect(runs()).toEqual(['demo', 'gone', 'older', 'young']);
  });

  test('what can not be judged is left alone and mentioned', async () => {
    fs.writeFileSync(path.join(at.runsDir, 'old', 'run.json'), '{');
    const { code, stderr } = await run(['cleanup', '--no-report']);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^waymark: left alone: old: its run\.json is damaged.*\n$/);
    expect(runs()).toContain('old');
  });

  test('a run with a pinned checkpoint is left, until the pin is over', async () => {
    const step = ['--step', '1'];
    const { checkpointId: id } = await json('create', 'old', ...step);
    await json('create', 'older', ...step);
    const damaged = (await json('create', 'young', ...step)).checkpointId;
    for (const runId of ['old', 'young']) {
      const pinned = runId === 'old' ? id : damaged;
      await json('pin', runId, pinned, '--reason', 'evidence');
    }
    const log = path.join(at.runsDir, 'young', 'checkpoints', '.waymark', 'changes');
    fs.writeFileSync(log, fs.readFileSync(log, 'utf8').replace('evidence', 'nothing'));
    const all = ['cleanup', '--no-report', '--max-age-days', '2'];
    const { stderr } = await run(all);
    expect(runs()).toEqual(['demo', 'gone', 'old', 'young']);
    expect(stderr).toContain(`old: ${id} is pinned: evidence`);
    expect(stderr).toContain('young: its log of changes is damaged');
    await json('unpin', 'old', id);
    await run(all);
    expect(runs()).toEqual(['demo', 'gone', 'young']);
  });

  test('a run that another began from, or of a class whose time is not over, is left', async () => {
    const { checkpointId: id } = await json('create', 'old', '--step', '1');
    await json('fork', 'old', 'branch');
    const critical = (await json('create', 'older', '--step', '1', '--class', 'critical'))
      .checkpointId;
    const all = ['cleanup', '--no-report', '--max-age-days', '2'];
    const { stderr } = await run(all);
    expect(runs()).toEqual(['branch', 'demo', 'gone', 'old', 'older']);
    expect(stderr).toContain(`old: run branch began from ${id}`);
    expect(stderr).toContain(`older: ${critical} is of class critical`);
    fs.rmSync(path.join(at.runsDir, 'branch'), { recursive: true });
    await run(all);
    expect(runs()).toEqual(['demo', 'gone', 'older']);
  });

  test('statuses that must not go, ages that are none', async () => {
    expect((await refusedJson('cleanup', '--status', 'in_progress')).code).toBe(
      'ERR_OPTION_INVALID',
    );
    for (const days of ['', '-1', '7d', 'NaN', 'Infinity', '0x10', ' ']) {
      expect(await refused('cleanup', '--max-age-days', days)).toContain('--max-age-days');
    }
    expect(await refused('cleanup', '--status', '')).toContain('names nothing');
    expect(await refused('cleanup', '--report', '')).toContain('--report needs a path');
    expect(await refused('cleanup', 'old', '--run-id', 'older')).toContain('only one of');
    expect(runs()).toHaveLength(5);
  });
});

describe('resume', () => {
  /** @type {string} */
  let recorder;
  /** @type {string} */
  let seen;

  beforeEach(() => {
    fs.writeFileSync(
      path.join(at.root, 'flow.yaml'),
      'steps:\n  - step: 1\n  - step: 1.5\n  - step: 2\n  - step: last\n',
    );
    recorder = path.join(at.root, 'record.mjs');
    seen = path.join(at.root, 'seen.json');
    fs.writeFileSync(
      recorder,
      `import fs from 'node:fs';
       const { status, current_step } = JSON.parse(fs.readFileSync(${JSON.stringify(path.join(at.dir, 'run.json'))}, 'utf8'));
       const { WAYMARK_RUNS_DIR: runsDir } = process.env;
       fs.writeFileSync(${JSON.stringify(seen)}, JSON.stringify({ words: process.argv.slice(2), status, current_step, runsDir }));
       console.log('the command was here');
       process.exitCode = Number(process.env.CODE ?? 0);`,
    );
  });

  /** @param {string[]} words */
  const command = (...words) => [
    '--',
    process.execPath,
    recorder,
    '--workflow',
    'flow.yaml',
    ...words,
  ];

  test('starts the next step, fractions included, on a restored run', async () => {
    const [one, half] = create(1, 1.5);
    change({ status: 'failed', current_step: 2 });
    const { code, stdout, stderr } = await run(['resume', 'demo', ...command('--resume')]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'the command was here\n' });
    expect(stderr).toBe(
      `waymark: restored ${half} (step 1.5); going on with step 2: ${process.execPath} ${recorder} --workflow flow.yaml --step 2 --run-id demo\n` +
        'waymark: step 2 left no trace in run demo (a condition that is false?): no checkpoint\n',
    );
    expect(readJson(seen)).toEqual({
      words: ['--workflow', 'flow.yaml', '--step', '2', '--run-id', 'demo'],
      status: 'in_progress',
      current_step: 1.5,
    });

    for (const words of [
      ['--step', '1'],
      ['--resume-step', '1'],
      ['--checkpoint', one],
    ]) {
      fs.rmSync(seen);
      expect((await run(['resume', 'demo', ...words, ...command()])).code).toBe(0);
      expect(readJson(seen)).toMatchObject({
        words: ['--workflow', 'flow.yaml', '--step', '1.5', '--run-id', 'demo'],
        current_step: 1,
      });
    }
  });

  test('the preload is required where Node runs a step and nothing else, and imported elsewhere', async () => {
    const { withPreload } = preloadOption;
    const imported = `--import ${pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href}`;
    const required = `--require ${JSON.stringify(path.join(repo, 'lib', 'register.js'))}`;
    for (const [words, expected] of /** @type {[string[], string][]} */ ([
      [['node', 'runner.js', '--step', '1'], required],
      [[process.execPath, 'runner.js'], required],
      [[path.join('bin', 'node.exe'), 'runner.js'], required],
      [['node', 'runner.js', '--', '--resume'], imported],
      [['node', 'runner.js', '--resume-step', '1'], imported],
      // The debugger; a script that may ask for anything; what is to come before.
      [['node', 'inspect', 'runner.js'], imported],
      [['node', '--run', 'step'], imported],
      [['node', '-r', 'dotenv/config', 'runner.js'], imported],
      [['node'], imported],
      [['make', 'node'], imported],
      [['nodemon', 'runner.js'], imported],
    ])) {
      expect(withPreload({}, words)).toBe(expected);
      expect(withPreload({ NODE_OPTIONS: '--no-warnings' }, words)).toBe(
        `--no-warnings ${expected}`,
      );
      expect(withPreload({ NODE_OPTIONS: '--import tsx' }, words)).toBe(`--import tsx ${imported}`);
      for (const NODE_OPTIONS of [imported, required, '--import=waymark/register']) {
        expect(withPreload({ NODE_OPTIONS }, words)).toBe(NODE_OPTIONS);
      }
    }

    create(1);
    addRun(at.runsDir, 'other');
    manager.createSync('other', 1.5);
    // Others have files of that name, too.
    const others = path.join(at.root, 'lib', 'register.js');
    fs.mkdirSync(path.dirname(others));
    fs.writeFileSync(others, '');
    const own = `--no-warnings --require ${JSON.stringify(others)}`;
    const nested = path.join(at.root, 'nested.cjs');
    fs.writeFileSync(
      nested,
      `const { execFileSync } = require('node:child_process');
       const words = process.argv.slice(2);
       console.log(words.join(' '));
       if (words.includes('demo')) {
         console.log(process.env.NODE_OPTIONS);
         const other = ['--workflow', 'flow.yaml', '--run-id', 'other', '--resume'];
         process.stdout.write(execFileSync(process.execPath, [__filename, ...other]));
       }`,
    );
    const ran = ['resume', 'demo', '--', process.execPath, nested, '--workflow', 'flow.yaml'];
    const { code, stdout, stderr } = await run(ran, { env: { NODE_OPTIONS: own } });
    expect({ code, lines: stdout.split('\n') }).toEqual({
      code: 0,
      lines: [
        '--workflow flow.yaml --step 1.5 --run-id demo',
        `${own} ${imported}`,
        '--workflow flow.yaml --run-id other --step 2',
        '',
      ],
    });
    expect(stderr).toMatch(/restored checkpoint-step-1.5-\d+ \(step 1.5\); going on with step 2/);
    // Somebody puts the words in between: nothing may run while things are put back.
    const env = { NODE_OPTIONS: required };
    const words = ['--workflow', 'flow.yaml', '--run-id', 'other', '--resume'];
    expect(await run(words, { script: nested, env })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'waymark: to resume here, start it with --import waymark/register\n',
    });
  });

  test('what is given by -r comes before the preload', async () => {
    create(1);
    const hook = path.join(at.root, 'hook.cjs');
    fs.writeFileSync(hook, "process.env.WAYMARK_REGISTER = 'off';");
    const words = (/** @type {string[]} */ ...own) => [
      ...['resume', 'demo', '--', process.execPath, ...own, recorder, '--workflow', 'flow.yaml'],
    ];
    expect(await run(words('-r', hook))).toMatchObject({
      code: 0,
      stderr: expect.not.stringContaining('left no trace'),
    });
  });

  test('tasks and guards in the middle of a step: that step is begun again, with their results', async () => {
    const one = new api.CheckpointManager({ runsDir: at.runsDir });
    const next = async () => {
      expect((await run(['resume', 'demo', ...command()])).code).toBe(0);
      return readJson(seen).words[3];
    };
    // In the first step: none is done yet.
    const first = await one.task('demo', 'prepare');
    await first.step('fetch', () => 1);
    const { code, stdout } = await run(['resume', 'demo', '--dry-run', '--workflow', 'flow.yaml']);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        /^would restore checkpoint-step-fetch-\d+ \(no step was done\) and go on with step 1$/m,
      ),
    });
    const plan = await run(['resume', 'demo', '--plan', '--workflow', 'flow.yaml']);
    expect(plan.stdout).toMatch(
      /^run demo at checkpoint-step-fetch-\d+ \(no step was done\): ready/,
    );
    expect(await next()).toBe('1');
    expect(await (await one.task('demo', 'prepare')).step('fetch', () => 2)).toBe(1);
    // In the third, with more results than checkpoints are kept.
    create(1, 1.5);
    const task = await one.task('demo', 'last');
    for (let n = 10; n < 18; n += 1) await task.step(n, () => n);
    expect((await one.list('demo')).some(({ step }) => step === 1.5)).toBe(false);
    expect(await next()).toBe('2');
    await one.guard('demo', 'last', () => 1);
    expect(await next()).toBe('2');
    // A runner may make a task of each of its steps.
    await one.task('demo', 2, () => 1);
    expect(await next()).toBe('last');
  });

  test('takes the old flags out and keeps all other words', async () => {
    create(2);
    const words = [
      '--step',
      '1',
      '--x',
      'a b',
      '--run-id',
      'demo',
      '--resume-step',
      '1',
      '--resume',
    ];
    expect((await run(['resume', 'demo', ...command(...words, '--', '-y=*')])).code).toBe(0);
    expect(readJson(seen).words).toEqual([
      '--workflow',
      'flow.yaml',
      '--x',
      'a b',
      '--run-id',
      'demo',
      '--',
      '-y=*',
      '--step',
      'last',
    ]);
  });

  test('replaces {step} and {run} instead', async () => {
    create(1);
    const words = ['--step', '{step}', '--out', '{run}/{step}-{step}.md', '--resume'];
    expect((await run(['resume', 'demo', ...command(...words)])).code).toBe(0);
    expect(readJson(seen).words).toEqual([
      '--workflow',
      'flow.yaml',
      '--step',
      '1.5',
      '--out',
      'demo/1.5-1.5.md',
    ]);
  });

  test('the workflow by an option, and the runs where they were said to be', async () => {
    create(1);
    const elsewhere = temporary();
    fs.copyFileSync(path.join(at.root, 'flow.yaml'), path.join(elsewhere, 'other.yaml'));
    const words = ['resume', 'demo', '--workflow', 'other.yaml', '--root', at.root];
    const { code } = await run([...words, '--', process.execPath, recorder], { cwd: elsewhere });
    expect(code).toBe(0);
    expect(readJson(seen)).toMatchObject({
      words: ['--step', '1.5', '--run-id', 'demo'],
      runsDir: at.runsDir,
    });
  });

  test("ends with the command's code", async () => {
    create(1);
    const { code } = await run(['resume', 'demo', ...command()], { env: { CODE: '42' } });
    expect(code).toBe(42);
  });

  test('a command that is killed: 128 + signal', async () => {
    create(1);
    for (const [signal, code] of [
      ['SIGKILL', 137],
      ['SIGTERM', 143],
    ]) {
      fs.writeFileSync(
        recorder,
        `process.kill(process.pid, '${signal}'); setInterval(() => {}, 1e6)`,
      );
      expect((await run(['resume', 'demo', ...command()])).code).toBe(code);
    }
  });

  /** @type {ReturnType<typeof start> | undefined} */
  let waiting;
  // A command that got no signal ends by this.
  afterEach(() => {
    waiting?.stdin.end();
  });

  test.each(['SIGINT', 'SIGTERM'])(
    'passes %s on and waits for the command',
    async (signal) => {
      create(1);
      fs.writeFileSync(
        recorder,
        `process.stdin.resume().on('end', () => process.exit(1));
       process.on('${signal}', () => { console.log('got it'); process.exit(7); });
       console.log('ready');`,
      );
      const child = start(['resume', 'demo', ...command()], { cwd: at.root });
      waiting = child;
      child.stdout.once('data', () => child.kill(/** @type {NodeJS.Signals} */ (signal)));
      expect(await ended(child)).toMatchObject({
        code: 7,
        signal: null,
        stdout: 'ready\ngot it\n',
      });
    },
    20_000,
  );

  test('--json: one line on stderr, stdout is the command’s', async () => {
    const [id, bad] = create(1, 1.5);
    truncate(bad);
    // What the preload says in the command's process is the command's, as all that it writes.
    const env = { WAYMARK_REGISTER: 'off' };
    const { stdout, stderr } = await run(['resume', 'demo', '--json', ...command()], { env });
    expect(stdout).toBe('the command was here\n');
    const [notice, result] = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(notice.notice).toContain(`passed over ${bad}`);
    expect(result).toMatchObject({
      runId: 'demo',
      checkpointId: id,
      from: 1,
      next: 1.5,
      restored: true,
      skipped: [{ checkpointId: bad, damage: 'truncated' }],
      command: [process.execPath, recorder, ...readJson(seen).words],
    });
  });

  test('says which damaged ones were skipped, and why', async () => {
    const [good, bad] = create(1, 1.5);
    alter(bad);
    const { code, stderr } = await run(['resume', 'demo', ...command()]);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      new RegExp(
        `^waymark: passed over ${bad}: checksum mismatch.*\\nwaymark: restored ${good} \\(step 1\\)`,
      ),
    );
    expect(readJson(seen).words).toContain('1.5');
  });

  test('all steps are done: nothing is changed or started', async () => {
    const [id] = create('last');
    change({ status: 'completed' });
    const before = fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8');
    const { code, stdout, stderr } = await run(['resume', 'demo', ...command()]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`all steps of run demo are done: ${id} was taken after step last`);
    expect(await json('resume', 'demo', '--workflow', 'flow.yaml', '--dry-run')).toMatchObject({
      next: null,
      command: null,
      restored: false,
    });
    expect(fs.existsSync(seen)).toBe(false);
    expect(fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8')).toBe(before);
  });

  test('--dry-run tells and does nothing', async () => {
    const [id] = create(1);
    change({ status: 'failed' });
    const before = fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8');
    const { code, stdout } = await run(['resume', 'demo', '--dry-run', ...command('--t', 'a b')]);
    expect(code).toBe(0);
    expect(stdout).toBe(
      `would restore ${id} (step 1) and go on with step 1.5: ${process.execPath} ${recorder} --workflow flow.yaml --t 'a b' --step 1.5 --run-id demo\n`,
    );
    expect(await out('resume', 'demo', '--dry-run', '--workflow', 'flow.yaml')).toBe(
      `would restore ${id} (step 1) and go on with step 1.5\n`,
    );
    expect(fs.existsSync(seen)).toBe(false);
    expect(fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8')).toBe(before);
  });

  test('refuses before anything is changed', async () => {
    create(1, 7);
    change({ status: 'failed' });
    const before = fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8');
    const node = ['--', process.execPath, recorder];
    for (const [words, expected] of /** @type {[string[], string][]} */ ([
      [[], 'the command is missing'],
      [['--'], 'the command is missing'],
      [['node', 'x'], 'too many arguments'],
      [node, '[ERR_WORKFLOW_NOT_FOUND]'],
      [['--workflow', 'no.yaml', ...node], '[ERR_WORKFLOW_NOT_FOUND]'],
      [command(), '[ERR_WORKFLOW_STEP_MISSING]'],
      [['--step', '2', ...command()], '[ERR_CHECKPOINT_NOT_FOUND]'],
      [['--checkpoint', '../x', ...command()], '[ERR_CHECKPOINT_ID_INVALID]'],
      [['--step', '1', '--resume-step', '1', ...command()], 'give only one of'],
      [['--step', '1', '--checkpoint', 'x', ...command()], 'give only one of'],
      [command('--run-id', 'other'), 'the command is for another run'],
      [['--plan', '--option', 'new_ports'], 'leave it out with --plan and --dry-run'],
      [['--dry-run', '--option', 'new_ports'], 'leave it out with --plan and --dry-run'],
    ])) {
      expect(await refused('resume', 'demo', ...words)).toContain(expected);
    }
    expect(fs.existsSync(seen)).toBe(false);
    expect(fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8')).toBe(before);
  });

  test('a command that is not there', async () => {
    create(1);
    const words = ['resume', 'demo', '--json', '--', 'waymark-no-such', '--workflow', 'flow.yaml'];
    const { code, stdout, stderr } = await run(words);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    const [, { error }] = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(error).toMatchObject({ code: 'ERR_COMMAND_NOT_STARTED', path: 'waymark-no-such' });
  });

  test('the step that it starts ends with one checkpoint, with or without the preload in its words', async () => {
    const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;
    const root = temporary();
    fs.cpSync(path.join(repo, 'examples', 'project'), root, { recursive: true });
    const runner = [
      path.join('.claude', 'tools', 'workflow_runner.js'),
      '--workflow',
      path.join('.claude', 'workflows', 'research.yaml'),
    ];
    const first = await waymark([...runner.slice(1), '--run-id', 'r', '--step', '0'], {
      cwd: root,
      script: path.join(root, runner[0]),
    });
    expect(first).toMatchObject({ code: 0 });
    expect(await waymark(['create', 'r', '--step', '0'], { cwd: root })).toMatchObject({ code: 0 });
    for (const step of [1, 1.5, 2, 3]) {
      const words = step === 1 ? ['--import', preload, ...runner] : runner;
      const { code, stdout } = await waymark(['resume', 'r', '--', process.execPath, ...words], {
        cwd: root,
      });
      expect(code).toBe(0);
      expect(stdout).toContain(`step ${step} done`);
    }
    const done = await waymark(['resume', 'r', '--', process.execPath, ...runner], { cwd: root });
    expect(done.stdout).toContain('all steps of run r are done');
    const all = new api.CheckpointManager({ root }).listSync('r').map((one) => one.step);
    expect(all).toEqual([3, 2, 1.5, 1, 0]);
  });
});

describe("the old tools' forms", () => {
  /** @param {string} text */
  const pretty = (text) => {
    const value = JSON.parse(text);
    expect(text).toBe(`${JSON.stringify(value, null, 2)}\n`);
    return value;
  };

  test('create prints the checkpoint', async () => {
    const made = pretty(await out('create', '--run-id', 'demo', '--step', '1.5'));
    expect(made).toEqual(readJson(path.join(at.checkpoints, `${made.checkpoint_id}.json`)));
    expect(made).toMatchObject({ run_id: 'demo', step: 1.5, step_state: {} });
  });

  test('list prints what listCheckpoints gives', async () => {
    const [, bad] = create(1, 2, 3);
    truncate(bad);
    const { code, stdout, stderr } = await run(['list', '--run-id', 'demo']);
    expect(code).toBe(0);
    expect(stderr).toContain(bad);
    process.env.WAYMARK_RUNS_DIR = at.runsDir;
    try {
      expect(pretty(stdout)).toEqual(await api.listCheckpoints('demo'));
      const all = await run(['list', '--run-id', 'demo', '--include-damaged']);
      expect(pretty(all.stdout)).toEqual(
        await api.listCheckpoints('demo', { includeDamaged: true }),
      );
    } finally {
      delete process.env.WAYMARK_RUNS_DIR;
    }
    expect(pretty((await run(['list', '--run-id', 'nope'])).stdout)).toEqual([]);
  });

  test('restore prints what restoreFromCheckpoint gives', async () => {
    const [id] = create(1.5, 2);
    const words = ['restore', '--run-id', 'demo', '--checkpoint-id', id];
    const restored = pretty(await out(...words));
    expect(record().current_step).toBe(1.5);
    process.env.WAYMARK_RUNS_DIR = at.runsDir;
    try {
      expect(restored).toEqual(await api.restoreFromCheckpoint('demo', id));
    } finally {
      delete process.env.WAYMARK_RUNS_DIR;
    }
  });

  test('misuse: usage on stderr, exit 1', async () => {
    create(1);
    for (const words of [
      ['create', '--run-id', 'demo'],
      ['create', '--step', '1'],
      ['create', '--run-id'],
      ['restore', '--run-id', 'demo'],
      ['restore', '--checkpoint-id', 'x'],
      ['list'],
      ['list', '--run-id'],
      ['list', 'demo', '--run-id', 'demo'],
      ['frobnicate', '--run-id', 'demo'],
      [],
    ]) {
      expect(await refused(...words)).toMatch(
        /^waymark: .+\nusage: waymark .+\n"waymark( \w+)? --help" tells more\n$/,
      );
    }
    expect(await refused('list', '--run-id', '../../x')).toContain('[ERR_RUN_ID_INVALID]');
    expect(files(at.dir)).toHaveLength(1);
  });

  test('the preload leaves them alone', async () => {
    const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;
    const { code, stdout } = await run(['create', '--run-id', 'demo', '--step', '1'], {
      env: { NODE_OPTIONS: `--import ${preload}` },
    });
    expect(code).toBe(0);
    expect(files(at.dir)).toEqual([pretty(stdout).checkpoint_id]);
  });
});

describe('the command line', () => {
  test('what Node compiled of it is kept for the next start, where Node can and may', async () => {
    const { enableCompileCache } = /** @type {{ enableCompileCache?: unknown }} */ (module);
    const env = { TMPDIR: temporary(), TEMP: temporary() };
    const kept = path.join(
      process.platform === 'win32' ? env.TEMP : env.TMPDIR,
      'node-compile-cache',
    );
    const may = { ...env, NODE_DISABLE_COMPILE_CACHE: '1' };
    expect(await run(['--version'], { env: may })).toMatchObject({ code: 0, stderr: '' });
    expect(fs.existsSync(kept)).toBe(false);
    expect(await run(['--version'], { env })).toMatchObject({ code: 0, stderr: '' });
    expect(fs.existsSync(kept)).toBe(enableCompileCache !== undefined);
  });

  test('a command that never comes to an end has not gone well', async () => {
    const hook = path.join(at.root, 'hook.cjs');
    fs.writeFileSync(
      hook,
      `const { CheckpointManager } = require(${JSON.stringify(path.join(repo, 'index.js'))});
       CheckpointManager.prototype.gc = () => new Promise(() => {});`,
    );
    const env = { NODE_OPTIONS: `--require ${JSON.stringify(hook)}` };
    expect(await run(['gc'], { env })).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: '',
    });
  });

  const verbs = 'create restore list show verify stats health prune cleanup resume'.split(' ');

  test('help of the whole: verbs, exit codes, environment', async () => {
    for (const words of [['--help'], ['-h'], ['help']]) {
      const text = await out(...words);
      for (const verb of verbs) expect(text).toMatch(new RegExp(`^ {2}${verb} `, 'm'));
      for (const word of ['Exit codes:', 'WAYMARK_RUNS_DIR', '--runs-dir', '--root', '--json']) {
        expect(text).toContain(word);
      }
    }
  });

  test.each(verbs)('help of %s: usage, examples, exit codes', async (verb) => {
    const text = await out(verb, '--help');
    expect(text).toMatch(new RegExp(`^Usage: waymark ${verb} `));
    expect(text).toContain(`\n  waymark ${verb} `);
    for (const word of ['Examples:', 'Exit codes:', 'WAYMARK_RUNS_DIR', '--runs-dir <path>']) {
      expect(text).toContain(word);
    }
    expect(await out('help', verb)).toBe(text);
  });

  test('the version', async () => {
    const { version } = readJson(path.join(repo, 'package.json'));
    expect(await out('--version')).toBe(`${version}\n`);
  });

  test('misuse as JSON', async () => {
    expect(await refusedJson('lits', 'demo')).toEqual({
      code: 'ERR_USAGE',
      message: "unknown command 'lits' (Did you mean list?)",
      usage: 'waymark <command> [options]',
    });
    expect(await refusedJson('list', 'demo', '--nope')).toEqual({
      code: 'ERR_USAGE',
      message: "unknown option '--nope'",
      usage: 'waymark list <run> [options]',
    });
    expect(await refusedJson()).toMatchObject({ code: 'ERR_USAGE' });
    for (const words of [
      ['show', 'demo'],
      ['verify'],
      ['prune'],
      ['resume'],
      ['list', 'demo', 'more'],
      ['index'],
      ['update', 'demo', 'x'],
      ['prune', 'demo', '--keep-last', '0'],
      ['prune', 'demo', '--keep-last', '1.5'],
      ['create', 'demo', '--step', '1', '--keep-last', 'some'],
      ['create', 'demo', '--step', '1', '--state', '1', '--state-file', 'x'],
      ['create', 'demo', '--step', '1', '--state-file', ''],
      ['restore', 'demo', 'x', '--step', '1'],
      ['restore', 'demo', 'x', '--checkpoint-id', 'y'],
    ]) {
      expect(await refusedJson(...words)).toMatchObject({
        code: 'ERR_USAGE',
        usage: expect.stringContaining(`waymark ${words[0]} `),
      });
    }
  });

  test('where the runs are: options before and behind the verb, environment, a link', async () => {
    create(1);
    const cwd = temporary();
    const rows = async (
      /** @type {string[]} */ words,
      /** @type {Partial<import('./support/cli.mjs').Around>} */ around = {},
    ) => JSON.parse((await run(words, { cwd, ...around })).stdout).length;
    expect(await rows(['list', 'demo', '--runs-dir', at.runsDir, '--json'])).toBe(1);
    expect(await rows(['--runs-dir', at.runsDir, '--json', 'list', 'demo'])).toBe(1);
    expect(await rows(['--root', at.root, 'list', '--json', 'demo'])).toBe(1);
    expect(await rows(['list', '--run-id', 'demo', '--root', at.root])).toBe(1);
    expect(await rows(['list', 'demo', '--json'], { env: { WAYMARK_RUNS_DIR: at.runsDir } })).toBe(
      1,
    );
    // As npm installs it. Where the command lies does not matter, only where one works: a command
    // that is installed for all would else clean up what lies above it.
    const bin = path.join(at.root, 'node_modules', '.bin');
    fs.mkdirSync(bin, { recursive: true });
    fs.symlinkSync(main, path.join(bin, 'waymark'));
    const script = path.join(bin, 'waymark');
    expect(await rows(['list', 'demo', '--json'], { script, cwd: at.dir })).toBe(1);
    expect((await run(['list', 'demo', '--json'], { script, cwd })).code).toBe(1);

    const { code, stderr } = await run(['list', 'demo', '--root', cwd, '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stderr).error.code).toBe('ERR_RUNS_DIR_NOT_FOUND');
    expect(await refused('list', 'demo', '--runs-dir', '')).toContain('[ERR_OPTION_INVALID]');
    expect(await refused('list', 'demo', '--runs-dir')).toContain('usage:');
  });

  test('words after -- are arguments', async () => {
    expect(await out('list', '--', 'demo')).toBe('no checkpoints\n');
    const { stderr } = await run(['list', '--', '--json']);
    expect(stderr).toBe(`waymark: there is no run --json in ${at.runsDir}\n`);
  });

  test('no colours without a terminal', async () => {
    const [, bad] = create(1, 2);
    alter(bad);
    for (const env of [{}, { FORCE_COLOR: '1' }, { NO_COLOR: '1' }]) {
      const { stdout, stderr } = await run(['verify', 'demo'], { env });
      expect(stdout).toContain('checksum_mismatch');
      expect(stdout + stderr).not.toContain('\u001b');
    }
  });
});

describe('output for people', () => {
  const terminal = { isTTY: true, hasColors: () => true };

  test('colours only on a terminal that has them, and not with NO_COLOR', () => {
    /** @param {{ isTTY?: boolean, hasColors?: () => boolean }} stream @param {NodeJS.ProcessEnv} [env] */
    const painted = (stream, env = {}) => styleFor(stream, env, 0).paint('red', 'x') !== 'x';
    expect(painted(terminal)).toBe(true);
    expect(painted(terminal, { NO_COLOR: '' })).toBe(true);
    expect(painted(terminal, { NO_COLOR: '1' })).toBe(false);
    expect(painted({ isTTY: true, hasColors: () => false })).toBe(false);
    expect(painted({ isTTY: true })).toBe(false);
    expect(painted({ hasColors: () => true })).toBe(false);
  });

  test('columns are aligned, with colours and wide letters, too', () => {
    const columns = [{ title: 'A' }, { title: 'BB', right: true }, { title: 'C' }];
    const rows = [
      ['日本', { text: '1', format: /** @type {const} */ ('red') }, ''],
      ['x', '333', 'y'],
    ];
    expect(table(columns, rows, styleFor({}, {}, 0))).toBe('A      BB  C\n日本    1\nx     333  y');
    const coloured = table(columns, rows, styleFor(terminal, {}, 0));
    expect(coloured).toContain('\u001b[31m1\u001b[39m');
    // biome-ignore lint/complexity/useRegexLiterals: the escape is easier to read so
    expect(coloured.replace(new RegExp('\u001b\\[\\d+m', 'g'), '')).toBe(
      'A      BB  C\n日本    1\nx     333  y',
    );
  });

  test('sizes that people write', () => {
    for (const [text, bytes] of /** @type {[string, number][]} */ ([
      ['0', 0],
      ['1048576', 1024 ** 2],
      ['500MB', 500 * 1024 ** 2],
      ['1.5 GiB', 1.5 * 1024 ** 3],
      ['2k', 2048],
      ['7 b', 7],
    ])) {
      expect([text, parseSize('--max-bytes', text)]).toEqual([text, bytes]);
    }
    for (const text of ['', 'MB', '1.', '-1', '1e3', '1 EB', '5iB', '9999999TB', '1,5MB']) {
      expect(() => parseSize('--max-bytes', text)).toThrow('--max-bytes must be a size');
    }
  });

  test('sizes, ages and words', () => {
    expect([0, 1023, 1024, 1536, 1_048_575, 5 << 20, 3 * 2 ** 50].map(size)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KB',
      '1.5 KB',
      '1.0 MB',
      '5.0 MB',
      '3072.0 TB',
    ]);
    expect(
      [-5, 59_999, 60_000, 3_599_999, 3_600_000, 47 * 3_600_000, 2 * DAY].map(duration),
    ).toEqual(['0 s', '59 s', '1 min', '59 min', '1 h', '47 h', '2 d']);
    expect(quoted(['node', "it's", 'a b', ''])).toBe(`node 'it'\\''s' 'a b' ''`);
    expect(plain('a\tb\u202ec\u009bd')).toBe('a\ufffdb\ufffdc\ufffdd');
  });
});
