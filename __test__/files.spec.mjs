// Captured files read back: listed page by page, read one by one; by the API and by the command.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { oldCheckpoint, project, removeAll } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

beforeEach(() => {
  at = project({ runId: 'demo' });
  fs.mkdirSync(path.join(at.root, 'src', 'empty'), { recursive: true });
  manager = new api.CheckpointManager({ runsDir: at.runsDir, capture: { workspace: ['src'] } });
  put('src/a.txt', 'alpha\n');
  put('.claude/context/runs/demo/artifacts/plan.md', '# plan\n');
});
afterEach(removeAll);
afterAll(removeAll);

/** @param {Parameters<typeof at.place>} words */
const place = (...words) => at.place(...words);
/** @param {Parameters<typeof at.put>} words */
const put = (...words) => at.put(...words);
/** @param {api.CreateOptions} [options] */
const create = (options) => manager.createSync('demo', 1, {}, options).checkpointId;

/** @param {AsyncIterable<api.CapturedFile>} walk */
async function all(walk) {
  const found = [];
  for await (const one of walk) found.push(one);
  return found;
}

describe('files', () => {
  test('everything that was captured, with what is known of it', async () => {
    put('src/.env', 'SECRET=1');
    put('src/large', 'x'.repeat(200));
    fs.symlinkSync('a.txt', place('src/link'));
    fs.chmodSync(place('src/a.txt'), 0o640);
    fs.utimesSync(place('src/a.txt'), 1_700_000_000.5, 1_700_000_000.5);
    const odd = Buffer.concat([Buffer.from(`${place('src')}/`), Buffer.from([0xff, 0x7a])]);
    fs.writeFileSync(odd, 'odd');
    const id = create({ capture: { maxFileBytes: 100 } });
    const found = await all(manager.files('demo', id));
    expect(manager.filesSync('demo', id)).toEqual(found);
    expect(found.map((one) => [one.root, one.kind, one.path])).toEqual([
      ['run', 'directory', 'artifacts'],
      ['run', 'file', 'artifacts/plan.md'],
      ['workspace', 'withheld', '.env'],
      ['workspace', 'file', 'a.txt'],
      ['workspace', 'directory', 'empty'],
      ['workspace', 'skipped', 'large'],
      ['workspace', 'symlink', 'link'],
      ['workspace', 'file', '\ufffdz'],
    ]);
    expect(found[3]).toMatchObject({
      rootPath: 'src',
      mode: 0o640,
      size: 6,
      modified: 1_700_000_000_500,
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(found[5]).toMatchObject({ reason: 'too_large', size: 200 });
    expect(found[6].target).toBe('a.txt');
    const bytes = /** @type {Buffer} */ (found[7].pathBytes);
    expect(bytes).toEqual(Buffer.from([0xff, 0x7a]));
    expect(String(await manager.readFile('demo', id, bytes))).toBe('odd');
    expect(found[3]).not.toHaveProperty('pathBytes');
  });

  test('parts: a root, a folder, a file', async () => {
    const id = create();
    const paths = async (/** @type {api.FilesOptions} */ options) =>
      (await all(manager.files('demo', id, options))).map((one) => one.path);
    expect(await paths({ root: 'workspace' })).toEqual(['a.txt', 'empty']);
    expect(await paths({ root: 'src' })).toEqual(['a.txt', 'empty']);
    expect(await paths({ under: './artifacts/' })).toEqual(['artifacts/plan.md']);
    expect(await paths({ under: Buffer.from('artifacts/plan.md') })).toEqual(['artifacts/plan.md']);
    expect(await paths({ under: 'empty' })).toEqual([]);
    expect(await paths({ under: '.' })).toHaveLength(4);
  });

  test('more than a page, deep and flat; an iteration can end early', async () => {
    const deep = path.join('src', ...Array(40).fill('d'));
    fs.mkdirSync(place(deep), { recursive: true });
    for (let n = 0; n < 1200; n += 1) put(`${deep}/${String(n).padStart(4, '0')}`, String(n % 7));
    const id = create();
    const found = await all(manager.files('demo', id, { root: 'workspace' }));
    expect(found).toHaveLength(2 + 40 + 1200);
    expect(new Set(found.map((one) => one.path)).size).toBe(found.length);
    expect(manager.filesSync('demo', id, { root: 'workspace' })).toEqual(found);
    let seen = 0;
    for await (const _ of manager.files('demo', id)) {
      seen += 1;
      if (seen === 3) break;
    }
    expect(seen).toBe(3);
  });

  test('none were captured', async () => {
    const id = create({ capture: false });
    expect(await all(manager.files('demo', id))).toEqual([]);
    expect(() => manager.readFileSync('demo', id, 'a.txt')).toThrow(
      expect.objectContaining({
        code: 'ERR_FILE_NOT_IN_CHECKPOINT',
        message: expect.stringContaining('no files were captured'),
      }),
    );
    const old = oldCheckpoint(at.dir, 'demo', 0, Date.parse('2026-01-02T03:04:05.678Z'));
    expect(manager.filesSync('demo', old)).toEqual([]);
  });
});

describe('readFile', () => {
  test('as it was, small and large, whatever lies there now', async () => {
    const large = Buffer.alloc(9_000_000);
    for (let n = 0; n < large.length; n += 4) large.writeInt32LE((n * 2_654_435_761) | 0, n);
    put('src/large', large);
    put('src/nothing', '');
    const id = create();
    fs.rmSync(place('src'), { recursive: true });
    expect((await manager.readFile('demo', id, 'large')).equals(large)).toBe(true);
    expect(manager.readFileSync('demo', id, 'large').equals(large)).toBe(true);
    expect(await manager.readFile('demo', id, 'nothing')).toEqual(Buffer.alloc(0));
    expect(String(await manager.readFile('demo', id, './a.txt', { root: 'src' }))).toBe('alpha\n');
  });

  test('what is no stored file, and bad words', async () => {
    put('src/.env', 'SECRET=1');
    put('src/large', 'x'.repeat(200));
    fs.symlinkSync('a.txt', place('src/link'));
    const id = create({ capture: { maxFileBytes: 100 } });
    const cases = /** @type {[any[], string, string?][]} */ ([
      [['demo', id, 'no.txt'], 'ERR_FILE_NOT_IN_CHECKPOINT missing', 'artifacts/'],
      [['demo', id, 'artifacts/x'], 'ERR_FILE_NOT_IN_CHECKPOINT missing', 'plan.md'],
      [['demo', id, 'a.txt/x', { root: 'src' }], 'ERR_FILE_NOT_IN_CHECKPOINT missing', 'no folder'],
      [['demo', id, '../x'], 'ERR_FILE_NOT_IN_CHECKPOINT missing'],
      [['demo', id, '.'], 'ERR_FILE_NOT_IN_CHECKPOINT missing'],
      [['demo', id, 'artifacts'], 'ERR_FILE_NOT_IN_CHECKPOINT directory', 'plan.md'],
      [['demo', id, 'link'], 'ERR_FILE_NOT_IN_CHECKPOINT symlink', 'a.txt'],
      [['demo', id, '.env'], 'ERR_FILE_WITHHELD', 'secret'],
      [['demo', id, 'large'], 'ERR_FILE_SKIPPED too_large'],
      [['demo', id, 'a.txt', { maxBytes: 5 }], 'ERR_FILE_TOO_LARGE', '6 bytes'],
      [['demo', id, 'a.txt', { root: 'lib' }], 'ERR_OPTION_INVALID', 'workspace (src)'],
      [['demo', id, 'a.txt', { maxBytes: -1 }], 'ERR_OPTION_INVALID'],
      [['demo', id, 'a.txt', { limit: 1 }], 'ERR_OPTION_UNKNOWN'],
      [['demo', id, ''], 'ERR_PATH_INVALID empty'],
      [['demo', id, 7], 'ERR_PATH_INVALID type'],
      [['demo', 'checkpoint-step-9-9', 'a.txt'], 'ERR_CHECKPOINT_NOT_FOUND'],
      [['demo', null, 'a.txt'], 'ERR_CHECKPOINT_ID_INVALID type'],
      [['../x', id, 'a.txt'], 'ERR_RUN_ID_INVALID separator'],
      [['demo', id, 'a.txt', { signal: AbortSignal.abort() }], 'ERR_ABORTED'],
    ]);
    for (const [[run, checkpoint, file, options], expected, part = ''] of cases) {
      const [code, reason] = expected.split(' ');
      const error = reason === undefined ? { code } : { code, reason };
      const matching = expect.objectContaining({
        ...error,
        message: expect.stringContaining(part),
      });
      await expect(manager.readFile(run, checkpoint, file, options)).rejects.toEqual(matching);
      expect(() => manager.readFileSync(run, checkpoint, file, options)).toThrow(matching);
    }
    for (const [options, code] of /** @type {[any, string][]} */ ([
      [{ under: 'nowhere' }, 'ERR_FILE_NOT_IN_CHECKPOINT'],
      [{ under: '' }, 'ERR_OPTION_INVALID'],
      [{ root: 'lib' }, 'ERR_OPTION_INVALID'],
      [{ page: 1 }, 'ERR_OPTION_UNKNOWN'],
      [{ signal: AbortSignal.abort() }, 'ERR_ABORTED'],
    ])) {
      await expect(all(manager.files('demo', id, options))).rejects.toMatchObject({ code });
      expect(() => manager.filesSync('demo', id, options)).toThrow(
        expect.objectContaining({ code }),
      );
    }
  });

  test('damage is told, and never served', async () => {
    const id = create();
    const objects = place('.waymark/objects');
    for (const name of fs.readdirSync(objects).filter((one) => one.endsWith('.pack'))) {
      const file = path.join(objects, name);
      const bytes = fs.readFileSync(file);
      for (let n = 20; n < bytes.length; n += 1) bytes[n] ^= 0x55;
      fs.writeFileSync(file, bytes);
    }
    const damaged = { code: 'ERR_CHECKPOINT_DAMAGED', checkpointId: id };
    await expect(manager.readFile('demo', id, 'a.txt')).rejects.toMatchObject(damaged);
    await expect(all(manager.files('demo', id))).rejects.toMatchObject(damaged);
    fs.rmSync(place('.waymark'), { recursive: true });
    await expect(manager.readFile('demo', id, 'a.txt')).rejects.toMatchObject({
      ...damaged,
      reason: 'object_missing',
    });
    await expect(all(manager.files('demo', id))).rejects.toMatchObject(damaged);
  });
});

describe('the commands', () => {
  /** @param {string[]} words */
  const run = (...words) => waymark(words, { cwd: at.root });

  test('files', async () => {
    create();
    const id = create();
    const { code, stdout, stderr } = await run('files', 'demo');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/));
    expect(rows[0]).toEqual([id]);
    expect(rows[2]).toEqual(['ROOT', 'MODE', 'SIZE', 'MODIFIED', 'PATH']);
    expect(rows.slice(3, -2).map((cells) => cells.at(-1))).toEqual([
      'artifacts/',
      'artifacts/plan.md',
      'a.txt',
      'empty/',
    ]);
    expect(rows.at(-1)).toEqual(['2 files, 13 B']);
    const json = JSON.parse((await run('files', 'demo', id, '--in', 'src', '--json')).stdout);
    expect(json).toMatchObject({ checkpointId: id, files: [{ path: 'a.txt' }, { path: 'empty' }] });
    const none = project({ runId: 'none' });
    const refused = await waymark(['files', 'none'], { cwd: none.root });
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('[ERR_NO_CHECKPOINT]');
  });

  test('cat', async () => {
    put('src/bin', Buffer.from([0, 1, 2, 10]));
    const id = create();
    expect(await run('cat', 'demo', id, 'a.txt')).toMatchObject({ code: 0, stdout: 'alpha\n' });
    const bin = await run('cat', 'demo', id, 'bin', '--in', 'workspace');
    expect(bin).toMatchObject({ code: 0, stdout: '\0\u0001\u0002\n', stderr: '' });
    const json = JSON.parse((await run('cat', 'demo', id, 'bin', '--json')).stdout);
    expect(json).toEqual({ checkpointId: id, path: 'bin', size: 4, base64: 'AAECCg==' });
    const missing = await run('cat', 'demo', id, 'no');
    expect(missing).toMatchObject({ code: 1, stdout: '' });
    expect(missing.stderr).toContain('[ERR_FILE_NOT_IN_CHECKPOINT]');
  });
});
