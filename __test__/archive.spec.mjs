// Export and import: a run goes to another project in one file, and to people as a folder.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { project, readJson, registered, removeAll, temporary } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;
/** @type {string} */
let out;
/** @type {string[]} */
let ids;

const noise = (/** @type {number} */ seed, /** @type {number} */ length) => {
  const parts = [];
  for (let n = 0; n * 64 < length; n += 1) {
    parts.push(createHash('sha512').update(`${seed} ${n}`).digest());
  }
  return Buffer.concat(parts).subarray(0, length);
};

beforeEach(() => {
  at = project({ runId: 'demo' });
  out = temporary();
  manager = new api.CheckpointManager({ runsDir: at.runsDir, capture: { workspace: ['src'] } });
  fs.mkdirSync(path.join(at.root, 'src', 'deep'), { recursive: true });
  put('src/a.txt', 'alpha\n');
  put('src/.env', 'SECRET=hunter2');
  put('src/large.bin', noise(1, 700_000));
  put('src/deep/empty', '');
  fs.symlinkSync('../a.txt', place('src/deep/inside'));
  fs.symlinkSync('/etc/passwd', place('src/outside'));
  fs.symlinkSync('../../a', place('src/deep/above'));
  fs.chmodSync(place('src/a.txt'), 0o640);
  fs.utimesSync(place('src/a.txt'), 1_700_000_000.5, 1_700_000_000.5);
  fs.writeFileSync(inSrc(), 'odd');
  put('.claude/context/runs/demo/artifacts/plan.md', '# plan\n');
  put('.claude/context/runs/demo/handoff.json', '{"to":"x"}');
  const one = manager.createSync('demo', 1, { text: noise(7, 90_000).toString('hex') });
  put('src/a.txt', 'beta\n');
  const two = manager.createSync('demo', 2, { small: true });
  ids = [one.checkpointId, two.checkpointId];
});
afterEach(removeAll);
afterAll(removeAll);

/** @param {string} name */
const place = (name) => path.join(at.root, name);
/** @param {string} name @param {string | Buffer} text */
const put = (name, text) => fs.writeFileSync(place(name), text);
/** A name that is no UTF-8. */
const oddName = Buffer.from([0xff, 0x7a]);
const inSrc = () => Buffer.concat([Buffer.from(`${place('src')}/`), oddName]);
const file = (/** @type {string} */ name) => path.join(out, name);
/** Every captured file of a checkpoint, with its content. @param {api.CheckpointManager} of @param {string} id */
const contents = (of, id) =>
  of.filesSync('demo', id).map((one) => {
    if (one.kind !== 'file') return one;
    const name = one.pathBytes ?? one.path;
    const bytes = of.readFileSync('demo', id, name, { root: one.root });
    return { ...one, sha: createHash('sha256').update(bytes).digest('hex') };
  });
/** A project without runs. */
const elsewhere = () => {
  const root = temporary();
  const runsDir = path.join(root, '.claude', 'context', 'runs');
  fs.mkdirSync(runsDir, { recursive: true });
  return { root, runsDir, manager: new api.CheckpointManager({ runsDir }) };
};

describe('an archive', () => {
  test('brings a run to another project, with its files', async () => {
    /** @type {string[]} */
    const phases = [];
    const exported = await manager.exportRun('demo', file('demo.wmk'), {
      onProgress: ({ phase }) => phases.push(phase),
    });
    expect(phases.at(-1)).toBe('done');
    expect(exported).toMatchObject({
      path: file('demo.wmk'),
      fileBytes: fs.statSync(file('demo.wmk')).size,
      leftOut: [],
    });
    expect(exported.checkpoints.map((one) => one.checkpointId)).toEqual(ids);
    expect(fs.readFileSync(file('demo.wmk')).includes('hunter2')).toBe(false);
    expect(manager.exportRunSync('demo', file('again.wmk')).hash).toBe(exported.hash);

    const there = elsewhere();
    const checked = await there.manager.importArchive(file('demo.wmk'), { check: true });
    expect(checked).toMatchObject({ runId: 'demo', wholeRun: true, objects: exported.objects });
    expect(checked).not.toHaveProperty('written');
    expect(fs.readdirSync(there.runsDir)).toEqual([]);
    const done = await there.manager.importArchive(file('demo.wmk'));
    expect(done.written).toMatchObject({
      path: path.join(there.runsDir, 'demo'),
      newRun: true,
      warnings: [],
    });
    expect(fs.readdirSync(there.runsDir)).toEqual(['demo']);
    expect(fs.readdirSync(done.written?.path ?? '').sort()).toEqual([
      'artifact-registry.json',
      'checkpoints',
      'run.json',
    ]);
    expect((await there.manager.verify('demo', { data: true })).ok).toBe(true);
    for (const id of ids) {
      expect(contents(there.manager, id)).toEqual(contents(manager, id));
      expect(there.manager.showSync('demo', id).checkpoint).toEqual(
        manager.showSync('demo', id).checkpoint,
      );
    }
    expect(registered(path.join(there.runsDir, 'demo'))).toEqual(ids.toSorted());
    there.manager.restoreSync('demo');
    expect(readJson(path.join(there.runsDir, 'demo', 'handoff.json'))).toEqual({ to: 'x' });
    // What was imported is needed.
    there.manager.gcSync({ maxUnused: 0 });
    expect((await there.manager.verifyStore({ data: true })).ok).toBe(true);
    const again = there.manager.importArchiveSync(file('demo.wmk'));
    expect(again.checkpoints.every((one) => one.wasHere)).toBe(true);
    expect(again.written).toMatchObject({ newRun: false, addedBytes: 0 });
  });

  test('one checkpoint of it', async () => {
    const one = await manager.exportCheckpoint('demo', ids[0], file('one.wmk'));
    expect(one.checkpoints).toHaveLength(1);
    await expect(manager.exportRun('demo', file('one.wmk'))).rejects.toMatchObject({
      code: 'ERR_PATH_EXISTS',
      path: file('one.wmk'),
    });
    expect(
      manager.exportCheckpointSync('demo', ids[0], file('one.wmk'), { overwrite: true }).hash,
    ).toBe(one.hash);
    const there = elsewhere();
    there.manager.importArchiveSync(file('one.wmk'));
    expect(there.manager.listSync('demo').map((row) => row.checkpointId)).toEqual([ids[0]]);
    expect(fs.readdirSync(out)).toEqual(['one.wmk']);
  });

  test('that is not whole, or at odds with what is here, is refused', async () => {
    manager.exportRunSync('demo', file('demo.wmk'));
    const bytes = fs.readFileSync(file('demo.wmk'));
    const there = elsewhere();
    const damaged = { code: 'ERR_ARCHIVE_DAMAGED', path: file('bad.wmk') };
    fs.writeFileSync(file('bad.wmk'), bytes.subarray(0, -5));
    await expect(there.manager.importArchive(file('bad.wmk'))).rejects.toMatchObject({
      ...damaged,
      reason: 'truncated',
    });
    const altered = Buffer.from(bytes);
    altered[Math.floor(bytes.length / 2)] ^= 1;
    fs.writeFileSync(file('bad.wmk'), altered);
    expect(() => there.manager.importArchiveSync(file('bad.wmk'), { check: true })).toThrow(
      expect.objectContaining({ ...damaged, reason: 'altered' }),
    );
    const newer = Buffer.from(bytes);
    newer[8] = 9;
    fs.writeFileSync(file('bad.wmk'), newer);
    await expect(there.manager.importArchive(file('bad.wmk'))).rejects.toMatchObject({
      code: 'ERR_ARCHIVE_FORMAT',
    });
    expect(fs.readdirSync(there.runsDir)).toEqual([]);
    expect(fs.readdirSync(there.root)).toEqual(['.claude']);

    const other = project({ runId: 'demo', record: { workflow_id: 'other' } });
    const mine = new api.CheckpointManager({ runsDir: other.runsDir });
    await expect(mine.importArchive(file('demo.wmk'))).rejects.toMatchObject({
      code: 'ERR_IMPORT_CONFLICT',
      reason: 'run',
      runId: 'demo',
    });
    expect(mine.importArchiveSync(file('demo.wmk'), { merge: true }).written?.newRun).toBe(false);
    await expect(
      there.manager.importArchive(file('demo.wmk'), { maxBytes: 300_000 }),
    ).rejects.toMatchObject({ code: 'ERR_STORE_BUDGET' });
    expect(fs.readdirSync(there.runsDir)).toEqual([]);
  });

  test('misuse', async () => {
    const invalid = { code: 'ERR_OPTION_INVALID' };
    const unknown = { code: 'ERR_OPTION_UNKNOWN' };
    const any = /** @type {any} */ ({ format: 'zip' });
    await expect(manager.exportCheckpoint('demo', ids[0], file('x'), any)).rejects.toMatchObject(
      invalid,
    );
    const over = /** @type {any} */ ({ format: 'folder', overwrite: true });
    await expect(manager.exportCheckpoint('demo', ids[0], file('x'), over)).rejects.toMatchObject(
      invalid,
    );
    const wrong = /** @type {any} */ ({ dryRun: true });
    await expect(manager.importArchive(file('x'), wrong)).rejects.toMatchObject(unknown);
    const path_ = { code: 'ERR_PATH_INVALID' };
    await expect(manager.exportRun('demo', '')).rejects.toMatchObject(path_);
    await expect(manager.importArchive(/** @type {any} */ (7))).rejects.toMatchObject(path_);
    await expect(manager.importArchive(file('none'))).rejects.toMatchObject({ code: 'ERR_IO' });
    await expect(manager.exportRun('demo', out)).rejects.toMatchObject({ code: 'ERR_PATH_EXISTS' });
    await expect(
      manager.exportRun('demo', file('x'), { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(fs.readdirSync(out)).toEqual([]);
  });
});

describe('a folder', () => {
  const options = /** @type {const} */ ({ format: 'folder' });

  test('holds state, files and a report', async () => {
    const done = await manager.exportCheckpoint('demo', ids[0], file('look'), options);
    expect(done).toMatchObject({ path: file('look'), checkpointId: ids[0], step: 1, whole: true });
    expect(done.summary).toMatchObject({ withheld: 1, described: 2, links: 1, damaged: 0 });
    expect(fs.readdirSync(file('look')).sort()).toEqual([
      'files',
      'manifest.json',
      'metadata.json',
      'report.json',
      'report.md',
      'state',
    ]);
    const { checkpoint } = manager.showSync('demo', ids[0]);
    expect(readJson(file('look/state/run.json'))).toEqual(checkpoint.run_record);
    expect(readJson(file('look/state/artifact-registry.json'))).toEqual(
      checkpoint.artifact_registry,
    );
    expect(readJson(file('look/state/step-state.json'))).toEqual(checkpoint.step_state);
    expect(fs.readFileSync(file('look/state/run-files/handoff.json'), 'utf8')).toBe('{"to":"x"}');
    expect(fs.readFileSync(file('look/manifest.json'))).toEqual(
      fs.readFileSync(manager.listSync('demo')[1].path),
    );
    expect(readJson(file('look/metadata.json'))).toMatchObject({
      run_id: 'demo',
      checkpoint_id: ids[0],
      whole: true,
      roots: [
        { name: 'run', folder: 'files/run' },
        { name: 'workspace', captured_from: 'src', folder: 'files/workspace' },
      ],
    });
    const workspace = file('look/files/workspace');
    expect(fs.readFileSync(path.join(workspace, 'large.bin'))).toEqual(noise(1, 700_000));
    expect(fs.readFileSync(path.join(workspace, 'a.txt'), 'utf8')).toBe('alpha\n');
    const stat = fs.statSync(path.join(workspace, 'a.txt'));
    expect([stat.mode & 0o777, stat.mtimeMs]).toEqual([0o640, 1_700_000_000_500]);
    const oddThere = Buffer.concat([Buffer.from(`${workspace}/`), oddName]);
    expect(fs.readFileSync(oddThere, 'utf8')).toBe('odd');
    expect(fs.readlinkSync(path.join(workspace, 'deep/inside'))).toBe('../a.txt');
    expect(fs.readdirSync(workspace).sort()).toEqual(['a.txt', 'deep', 'large.bin', '\ufffdz']);
    expect(fs.readdirSync(path.join(workspace, 'deep')).sort()).toEqual(['empty', 'inside']);
    const report = readJson(file('look/report.json'));
    const rows = Object.fromEntries(report.files.map((/** @type {any} */ row) => [row.path, row]));
    expect(rows.outside).toMatchObject({ result: 'described', target: '/etc/passwd' });
    expect(rows['deep/above']).toMatchObject({ result: 'described', target: '../../a' });
    expect(rows['.env']).toMatchObject({ result: 'withheld', size: 14 });
    expect(rows['a.txt']).toMatchObject({ result: 'whole', mode: '0640', size: 6 });
    expect(rows['\ufffdz']).toMatchObject({ path_bytes: 'ff7a', result: 'whole' });
    expect(report.state.map((/** @type {any} */ row) => row.result)).toEqual(
      Array.from({ length: 4 }, () => 'whole'),
    );
    const text = fs.readFileSync(file('look/report.md'), 'utf8');
    expect(text).toContain('Everything that this checkpoint holds is here');
    expect(text).toContain('/etc/passwd');
    expect(text).not.toContain('hunter2');
    expect(fs.readdirSync(out)).toEqual(['look']);
  });

  test('goes to a new or an empty place only, and not through a link', async () => {
    fs.mkdirSync(file('empty'));
    manager.exportCheckpointSync('demo', ids[0], file('empty'), options);
    fs.mkdirSync(file('full'));
    fs.writeFileSync(file('full/x'), 'x');
    fs.mkdirSync(file('aim'));
    fs.symlinkSync(file('aim'), file('link'));
    for (const name of ['empty', 'full', 'full/x', 'link']) {
      await expect(
        manager.exportCheckpoint('demo', ids[0], file(name), options),
      ).rejects.toMatchObject({ code: 'ERR_PATH_EXISTS', path: file(name) });
    }
    expect(fs.readdirSync(file('aim'))).toEqual([]);
    expect(fs.readdirSync(out).sort()).toEqual(['aim', 'empty', 'full', 'link']);
  });

  test('of a damaged checkpoint is made only if it may be, and says what is not there', async () => {
    const pack = place('.waymark/objects/00-000001.pack');
    const bytes = fs.readFileSync(pack);
    // In the middle lies the large file, which does not compress.
    bytes.fill(0, 300_000, 300_100);
    fs.writeFileSync(pack, bytes);
    await expect(
      manager.exportCheckpoint('demo', ids[0], file('look'), options),
    ).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_DAMAGED', checkpointId: ids[0] });
    expect(() => manager.exportRunSync('demo', file('demo.wmk'))).toThrow(
      expect.objectContaining({ code: 'ERR_CHECKPOINT_DAMAGED' }),
    );
    expect(fs.readdirSync(out)).toEqual([]);
    const allowed = { ...options, allowDamaged: true };
    const done = manager.exportCheckpointSync('demo', ids[0], file('look'), allowed);
    expect(done.whole).toBe(false);
    expect(done.summary.damaged).toBeGreaterThan(0);
    const report = readJson(file('look/report.json'));
    const bad = [...report.files, ...report.state].filter((row) => row.result === 'damaged');
    expect(bad).toHaveLength(done.summary.damaged);
    for (const row of bad) {
      expect(row.reason).toContain('object');
      if (row.path) expect(fs.existsSync(file(`look/files/${row.root}/${row.path}`))).toBe(false);
    }
    expect(fs.readFileSync(file('look/report.md'), 'utf8')).toContain('Not everything');
    expect(readJson(file('look/metadata.json')).whole).toBe(false);
  });
});

test('the command', async () => {
  const command = (/** @type {string[]} */ ...words) => waymark(words, { cwd: at.root });
  const made = await command('export', 'demo');
  expect(made).toMatchObject({ code: 0, stderr: '' });
  expect(made.stdout).toMatch(
    /^exported 2 checkpoints to .*demo\.wmk, [\d.]+ KB \([\d.]+ (KB|MB) unpacked\)\nblake3 [0-9a-f]{64}\n$/,
  );
  expect((await command('export', 'demo')).stderr).toContain('ERR_PATH_EXISTS');
  expect((await command('export', 'demo', '--overwrite', '--json')).code).toBe(0);
  const looked = await command('export', 'demo', ids[0], '--folder', '-o', 'look');
  expect(looked.code).toBe(0);
  expect(looked.stdout).toContain('1 withheld as secrets');
  expect((await command('export', 'demo', '--folder')).stderr).toContain('needs a checkpoint');
  const checked = await command('import', 'demo.wmk', '--check');
  expect(checked.stdout).toContain('whole: the whole run demo, 2 checkpoints');
  const there = elsewhere();
  const done = await command('--root', there.root, 'import', 'demo.wmk');
  expect(done).toMatchObject({ code: 0, stderr: '' });
  expect(done.stdout).toContain('imported 2 checkpoints into a new run');
  const again = await command('--root', there.root, 'import', 'demo.wmk', '--json');
  expect(JSON.parse(again.stdout)).toMatchObject({ written: { newRun: false } });
  fs.appendFileSync(place('demo.wmk'), 'x');
  const refused = await command('import', 'demo.wmk', '--check', '--json');
  expect(refused.code).toBe(1);
  expect(JSON.parse(refused.stderr).error).toMatchObject({
    code: 'ERR_ARCHIVE_DAMAGED',
    reason: 'appended',
  });
  // A manifest that is torn is left out, and told.
  fs.truncateSync(manager.listSync('demo')[0].path, 100);
  const rest = await command('export', 'demo', '-o', 'rest.wmk', '--allow-damaged');
  expect(rest.code).toBe(3);
  expect(rest.stderr).toContain(`left out ${ids[1]}`);
});
