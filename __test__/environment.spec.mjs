// The fingerprint of a checkpoint's environment: given, kept in the manifest, given back.

import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import waymark from '../index.js';
import native from '../native.js';
import { project, readJson, removeAll } from './support/project.mjs';

const { CheckpointManager } = waymark;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
/** @type {net.Socket[]} */
const sockets = [];
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir });
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});
afterAll(removeAll);

test('it is in the manifest, and list and show give it back', async () => {
  const own = { note: 'ünï', list: [1, { deep: true }] };
  const environment = { worktree: /** @type {const} */ (false), collectors: { own: () => own } };
  const facts = { phase: 'build' };
  const made = await manager.create(at.runId, 1, {}, { environment, facts });
  const bare = manager.createSync(at.runId, 2, {}, { environment: false });
  expect('environment' in bare.checkpoint).toBe(false);
  const onDisk = readJson(made.path);
  expect(JSON.stringify(made.checkpoint)).toBe(JSON.stringify(onDisk));
  const kept = onDisk.environment;
  expect(kept).toMatchObject({ format: 1, custom: { own } });
  const [second, first] = await manager.list(at.runId);
  expect(first.environment).toEqual(kept);
  expect(first.environment).toBe(first.environment);
  expect(second.environment).toBeUndefined();
  expect('environment' in second).toBe(false);
  expect(manager.listSync(at.runId)[1].environment).toEqual(kept);
  expect((await manager.show(at.runId, made.checkpointId)).environment).toEqual(kept);
  const shown = manager.showSync(at.runId, made.checkpointId);
  expect(shown.environment).toEqual(kept);
  expect(shown.checkpoint).toMatchObject({ environment: kept });
  const verified = await manager.verify(at.runId);
  expect(verified.damaged).toEqual([]);
});

test('what can be none is refused', async () => {
  for (const environment of ['x', 1, null, [], { ports: { a: -1 } }, { unknown: true }]) {
    await expect(
      manager.create(at.runId, 1, {}, /** @type {any} */ ({ environment })),
    ).rejects.toMatchObject({ code: 'ERR_OPTION_INVALID' });
  }
  expect(await manager.list(at.runId)).toEqual([]);
});

test('files are the same by hash in both ways of asking', async () => {
  const { hashFiles, hashFilesSync, hashOf } = createRequire(import.meta.url)(
    '../lib/collectors/read.js',
  );
  const file = (/** @type {string} */ name) => path.join(at.root, name);
  const names = ['text', 'empty', 'large', 'folder', 'none', 'text/none', 'link', 'dangling'].map(
    file,
  );
  fs.writeFileSync(file('text'), 'one');
  fs.writeFileSync(file('empty'), '');
  fs.writeFileSync(file('large'), '');
  fs.truncateSync(file('large'), 17 * 1024 * 1024);
  fs.utimesSync(file('large'), 1, 1_234.567);
  fs.mkdirSync(file('folder'));
  fs.symlinkSync(file('text'), file('link'));
  fs.symlinkSync(file('none'), file('dangling'));
  const large = `${17 * 1024 * 1024} bytes of 1234567`;
  const [one, nothing] = [hashOf('one'), hashOf('')];
  const expected = [one, nothing, large, 'a folder', null, null, one, null];
  expect(await hashFiles(names)).toEqual(expected);
  expect(hashFilesSync(names)).toEqual(expected);
  // What was changed a moment ago is read again, whatever it looks like; what looks as it did long since, is not.
  fs.writeFileSync(file('text'), 'two');
  expect(await hashFiles([file('text'), file('link')])).toEqual([hashOf('two'), hashOf('two')]);
  const [{ stamp }] = /** @type {any} */ (await native.hashFiles([{ path: file('text') }]));
  const known = { path: file('text'), stamp, hash: 'known' };
  expect(await native.hashFiles([known])).toEqual([{ told: 'known', stamp }]);
  const other = { ...known, stamp: `${stamp}0` };
  expect(await native.hashFiles([other])).toEqual([{ told: hashOf('two'), stamp }]);
  fs.writeFileSync(file('text'), 'three');
  expect(hashFilesSync([file('text')])).toEqual([hashOf('three')]);
  expect(await hashFiles([])).toEqual([]);
  await expect(hashFiles(['a\0b'])).rejects.toMatchObject({ code: 'ERR_IO' });
  expect(() => hashFilesSync(['a\0b'])).toThrow(expect.objectContaining({ code: 'ERR_IO' }));
});

test('a module is heard whose thread is over before this one looks', async () => {
  const server = net.createServer((socket) => {
    // While sockets are served: what threads say comes before this in a turn of the event loop, their end behind it.
    socket.on('data', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500));
    // Nothing more is to come.
    server.close();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  const socket = net.connect(port, '127.0.0.1');
  sockets.push(socket);
  await once(socket, 'connect');
  fs.writeFileSync(path.join(at.root, 'own.mjs'), 'export default () => ({ n: 1 });');
  const { custom } = createRequire(import.meta.url)('../lib/collectors/custom.js');
  const context = {
    root: at.root,
    declared: { collectors: { own: 'own.mjs' } },
    timeoutMs: 60_000,
  };
  const answer = custom.collect(context);
  socket.write('x');
  expect(await answer).toEqual({ own: { n: 1 } });
});
