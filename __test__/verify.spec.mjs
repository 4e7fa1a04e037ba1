// verify: damage in the store is told by checkpoint and file, by the API and by the command.

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { watched } from '../cli/progress.mjs';
import api from '../index.js';
import { ended, start, waymark } from './support/cli.mjs';
import { oldCheckpoint, project, removeAll } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;
/** @type {Buffer[]} the content of mine.bin at each step */
let mine;
/** @type {string[]} */
let ids;

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
  fs.writeFileSync(path.join(at.dir, 'artifacts', 'kept.bin'), randomBytes(40_000));
  mine = [1, 2].map(() => randomBytes(5_000));
  ids = mine.map((bytes, step) => {
    fs.writeFileSync(path.join(at.dir, 'artifacts', 'mine.bin'), bytes);
    return manager.createSync('demo', step + 1, {}).checkpointId;
  });
});
afterEach(removeAll);
afterAll(removeAll);

const objects = () => path.join(at.root, '.waymark', 'objects');

/** Flips a byte of a content where it lies in a pack. @param {Buffer} content */
function damage(content) {
  for (const name of fs.readdirSync(objects())) {
    const file = path.join(objects(), name);
    const bytes = fs.readFileSync(file);
    const place = bytes.indexOf(content.subarray(1_000, 1_100));
    if (place < 0) continue;
    bytes[place] ^= 1;
    fs.writeFileSync(file, bytes);
    return name;
  }
  throw new Error('no pack holds it');
}

/** @param {string[]} words */
const command = (...words) => waymark(words, { cwd: at.root });

test('a flipped byte names the checkpoint and the file; the others are whole', async () => {
  expect(await manager.verify('demo', { data: true })).toMatchObject({
    ok: true,
    mode: 'data',
    objects: [],
    damaged: [],
    warnings: [],
  });
  expect(manager.listSync('demo').every((one) => one.lastVerifiedAt !== undefined)).toBe(true);
  const pack = damage(mine[1]);
  // What is only looked up is where it was.
  expect(await manager.verify('demo')).toMatchObject({ ok: true, mode: 'structure' });
  const found = await manager.verify('demo', { data: true });
  expect(found).toMatchObject({
    ok: false,
    checkpoints: [{ checkpointId: ids[0], lastVerifiedAt: expect.stringMatching(/^2/) }],
    damaged: [{ checkpointId: ids[1], damage: 'object_damaged' }],
    objects: [
      {
        missing: false,
        path: path.join(objects(), pack),
        touches: [
          {
            runsDir: at.runsDir,
            runId: 'demo',
            checkpointId: ids[1],
            kind: 'file',
            root: 'run',
            path: 'artifacts/mine.bin',
          },
        ],
      },
    ],
  });
  const [newest] = manager.listSync('demo');
  expect([newest.checkpointId, newest.lastVerifiedAt]).toEqual([ids[1], undefined]);
  expect(manager.showSync('demo', ids[0]).lastVerifiedAt).toMatch(/Z$/);
  expect(manager.verifySync('demo', { data: true })).toMatchObject({ ok: false });

  const text = await command('verify', 'demo', '--data');
  expect(text).toMatchObject({ code: 3, stderr: '' });
  expect(text.stdout).toContain(`  ${ids[1]}  file: run/artifacts/mine.bin`);
  expect(text.stdout).toMatch(/2 checkpoints, 1 damaged; \d+ objects checked, .* read\n$/);
  const json = await command('verify', 'demo', '--data', '--json');
  expect(json.code).toBe(3);
  expect(JSON.parse(json.stdout).objects).toEqual(found.objects);
  expect((await command('verify', 'demo')).code).toBe(0);
  expect((await command('verify', 'demo', ids[0], '--data')).code).toBe(0);
  expect((await command('verify', '--store')).code).toBe(0);
  const store = await command('verify', '--store', '--data', '--json');
  expect(store.code).toBe(3);
  expect(JSON.parse(store.stdout)).toMatchObject({
    ok: false,
    runs: [{ runId: 'demo', checkpoints: [{ checkpointId: ids[0] }] }],
    objects: [{ touches: [{ checkpointId: ids[1] }] }],
  });
});

test('what is healed is stored anew by the next checkpoint', async () => {
  damage(mine[1]);
  const healed = await command('verify', 'demo', '--data', '--heal', '--json');
  expect(healed.code).toBe(3);
  expect(JSON.parse(healed.stdout).healed).toHaveLength(1);
  expect((await manager.verify('demo')).damaged).toMatchObject([{ damage: 'object_missing' }]);
  // mine.bin still lies in the run's folder as it was.
  manager.createSync('demo', 3, {});
  expect(await manager.verify('demo', { data: true })).toMatchObject({ ok: true });
});

test('ten shares cover all', async () => {
  for (let part = 1; part <= 10; part += 1) {
    expect(manager.listSync('demo')[0].lastVerifiedAt).toBeUndefined();
    const found = await manager.verify('demo', { share: 0.1 });
    expect(found).toMatchObject({ ok: true, mode: 'data', share: { part, of: 10 } });
  }
  expect(manager.listSync('demo')[0].lastVerifiedAt).toBeDefined();
  const store = await manager.verifyStore({ share: 0.5 });
  expect(store.share).toEqual({ part: 1, of: 2 });
  expect(manager.verifyStoreSync({ share: 0.5 }).share).toEqual({ part: 2, of: 2 });
});

test('it tells how far it is, and stops when asked', async () => {
  /** @type {import('../index.js').Progress[]} */
  const seen = [];
  await manager.verify('demo', { data: true, onProgress: (progress) => seen.push(progress) });
  const last = seen.at(-1);
  expect(last).toMatchObject({ phase: 'done', files: last?.totalFiles, bytes: last?.totalBytes });
  expect(last?.files).toBeGreaterThan(3);
  for (const call of [
    () => manager.verify('demo', { signal: AbortSignal.abort() }),
    () => manager.verifyStore({ signal: AbortSignal.abort() }),
  ]) {
    await expect(call()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  }
});

test('misuse', async () => {
  const wrong = { code: 'ERR_OPTION_INVALID' };
  await expect(manager.verify('demo', { share: 0 })).rejects.toMatchObject(wrong);
  await expect(manager.verify('demo', { share: 2 })).rejects.toMatchObject(wrong);
  const both = { checkpointId: ids[0], share: 0.1 };
  await expect(manager.verify('demo', both)).rejects.toMatchObject(wrong);
  await expect(manager.verify('demo', /** @type {any} */ ({ data: 1 }))).rejects.toMatchObject(
    wrong,
  );
  expect(() => manager.verifyStoreSync(/** @type {any} */ ({ checkpointId: 'x' }))).toThrow(
    expect.objectContaining({ code: 'ERR_OPTION_UNKNOWN' }),
  );
  for (const words of [
    ['verify'],
    ['verify', 'demo', '--store'],
    ['verify', 'demo', '--share', 'x'],
  ]) {
    expect(await command(...words)).toMatchObject({ code: 1, stdout: '' });
  }
});

describe('on a terminal', () => {
  /** @returns {NodeJS.WriteStream & { text: string }} */
  function terminal() {
    const stream = {
      isTTY: true,
      text: '',
      columns: 80,
      write: (/** @type {string} */ text) => {
        stream.text += text;
        return true;
      },
    };
    return /** @type {any} */ (stream);
  }
  const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

  /** @param {{ json?: boolean }} options @param {NodeJS.WriteStream} stream @param {boolean} long */
  const work = (options, stream, long) =>
    watched(
      'verify',
      options,
      async ({ onProgress }) => {
        const progress = {
          phase: 'verifying',
          files: 3,
          bytes: 2048,
          totalFiles: 9,
          totalBytes: 4096,
        };
        if (long) await pause(450);
        onProgress?.(progress);
        await pause(long ? 300 : 0);
        onProgress?.(progress);
        return 'result';
      },
      stream,
    );

  test('a long operation shows a bar, and takes it away', async () => {
    const stream = terminal();
    expect(await work({}, stream, true)).toBe('result');
    expect(stream.text).toMatch(
      /verify {2}\[#{12}\.{12}\] {2}verifying {2}3 of 9 {2}2\.0 KB of 4\.0 KB/,
    );
  });

  test('a short one shows nothing, nor does one with --json', async () => {
    const stream = terminal();
    await work({}, stream, false);
    await work({ json: true }, stream, true);
    expect(stream.text).toBe('');
    expect(process.listenerCount('SIGINT')).toBe(0);
  });
});

(process.platform === 'win32' ? test.skip : test)('Ctrl-C ends a command with 130', async () => {
  // Large enough to be at work for a while: the state is still being read when the signal comes.
  const big = path.join(at.dir, 'artifacts', 'big.bin');
  for (let n = 0; n < 30; n += 1) fs.appendFileSync(big, randomBytes(4 << 20));
  const child = start(['create', 'demo', '--step', '9'], { cwd: at.root });
  child.stdin.end();
  const end = ended(child);
  const packs = () =>
    fs
      .readdirSync(objects())
      .reduce((sum, name) => sum + fs.statSync(path.join(objects(), name)).size, 0);
  const before = packs();
  while (packs() === before && child.exitCode === null) await new Promise(setImmediate);
  child.kill('SIGINT');
  const { code, stderr } = await end;
  expect(stderr).toContain('the operation was aborted; nothing was changed [ERR_ABORTED]');
  expect(code).toBe(130);
  expect(manager.listSync('demo')).toHaveLength(2);
});

test('a run that only the old tool has written is noted as verified, too', async () => {
  const home = project({ runId: 'old' });
  const id = oldCheckpoint(home.dir, 'old', 1, Date.parse('2026-01-02T03:04:05Z'));
  const old = new api.CheckpointManager({ runsDir: home.runsDir });
  expect(await old.verify('old', { data: true })).toMatchObject({ ok: true, warnings: [] });
  expect(old.listSync('old')).toMatchObject([
    { checkpointId: id, lastVerifiedAt: expect.any(String) },
  ]);
});
