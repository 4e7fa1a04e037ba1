// What the disk does: the doctor by the API and by the command; it leaves nothing behind.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { project, readJson, removeAll, repo, temporary } from './support/project.mjs';

const PROMISES = ['durable', 'atomic', 'exclusive', 'exact_files', 'bounded'];
const PROBES = [
  'writable',
  'file_system',
  'space',
  'inodes',
  'sync_file',
  'sync_folder',
  'replace',
  'create_only',
  'hard_links',
  'symlinks',
  'locks',
  'case',
  'unicode',
  'raw_names',
  'name_length',
  'path_length',
  'timestamps',
  'sparse',
  'reflink',
  'modes',
];

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

/** @param {string} folder */
const everything = (folder) => fs.readdirSync(folder, { recursive: true }).sort();

/** What does not change from one time to the next. @param {import('../index.js').DoctorResult} found */
const steady = ({ path: folder, promises, probes, versions, ok }) => ({
  folder,
  ok,
  versions,
  promises: promises.map(({ name, holds }) => [name, holds]),
  probes: probes.map((one) => [one.name, one.ok]),
});

describe('the API', () => {
  test('says what is there and leaves nothing behind', async () => {
    const before = everything(at.root);
    const found = await manager.doctor();
    expect(found).toMatchObject({
      path: at.runsDir,
      runsDir: at.runsDir,
      versions: {
        waymark: readJson(path.join(repo, 'package.json')).version,
        node: process.versions.node,
        platform: process.platform,
        arch: process.arch,
      },
    });
    expect(found.probes.map(({ name }) => name)).toEqual(PROBES);
    expect(found.promises.map(({ name }) => name)).toEqual(PROMISES);
    for (const { ok, observed, detail } of found.probes) {
      expect([true, false, null]).toContain(ok);
      expect(observed).not.toBe('');
      expect(typeof detail).toBe('string');
    }
    for (const { holds, why, advice } of found.promises) {
      expect(['yes', 'no', 'unknown']).toContain(holds);
      expect(why).not.toBe('');
      expect(advice === undefined).toBe(holds === 'yes');
    }
    expect(found.ok).toBe(found.promises.every(({ holds }) => holds === 'yes'));
    expect(found.promises.find(({ name }) => name === 'exclusive')?.holds).toBe('yes');
    expect(steady(manager.doctorSync())).toEqual(steady(found));
    expect(everything(at.root)).toEqual(before);
  });

  test('a folder that is named, relative to the working directory', async () => {
    const folder = temporary();
    const found = await manager.doctor({ path: path.relative(process.cwd(), folder) });
    expect(found).toMatchObject({ path: folder, runsDir: at.runsDir });
    expect(everything(folder)).toEqual([]);
  });

  test('a configuration that leads nowhere is a warning', async () => {
    const lost = new api.CheckpointManager({ runsDir: path.join(at.root, 'nowhere') });
    const found = await lost.doctor();
    expect(found.runsDir).toBeUndefined();
    expect(found.path).toBe(process.cwd());
    expect(found.warnings[0]).toContain('nowhere (runsDir)');
  });

  test('a store at the root of the project is found', () => {
    const store = path.join(at.root, '.waymark');
    fs.mkdirSync(store);
    expect(manager.doctorSync().storeDir).toBe(store);
  });

  test('misuse', async () => {
    const file = path.join(at.dir, 'run.json');
    for (const [options, code] of /** @type {[any, string][]} */ ([
      [{ path: '' }, 'ERR_OPTION_INVALID'],
      [{ path: 1 }, 'ERR_OPTION_INVALID'],
      [{ folder: at.root }, 'ERR_OPTION_UNKNOWN'],
      [null, 'ERR_OPTION_INVALID'],
      [{ path: 'a\0b' }, 'ERR_PATH_INVALID'],
      [{ path: file }, 'ERR_PATH_NOT_DIRECTORY'],
      [{ path: path.join(at.root, 'no') }, 'ERR_IO'],
      [{ signal: AbortSignal.abort() }, 'ERR_ABORTED'],
    ])) {
      await expect(manager.doctor(options)).rejects.toMatchObject({ code });
      expect(() => manager.doctorSync(options)).toThrow(expect.objectContaining({ code }));
    }
    expect(everything(at.runsDir).filter((name) => String(name).includes('~'))).toEqual([]);
  });

  test('aborted meanwhile, it leaves nothing behind', async () => {
    const folder = temporary();
    const controller = new AbortController();
    const going = manager.doctor({ path: folder, signal: controller.signal });
    controller.abort();
    await expect(going).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(everything(folder)).toEqual([]);
  });
});

describe('the command', () => {
  /** @param {string[]} words @param {string} [cwd] */
  const run = (words, cwd = at.root) => waymark(['doctor', ...words], { cwd });

  test('text', async () => {
    const { code, stdout } = await run([]);
    const { ok, promises } = manager.doctorSync();
    expect(code).toBe(ok ? 0 : 3);
    expect(stdout).toMatch(new RegExp(`^ {2}probed +${at.runsDir}\n {2}runs +${at.runsDir}\n`));
    for (const name of PROBES) {
      expect(stdout).toMatch(new RegExp(`^${name} +(yes|no|\\?) {2,}\\S`, 'm'));
    }
    for (const { name, holds } of promises) {
      expect(stdout).toMatch(new RegExp(`^${name} +${holds} {2,}\\S`, 'm'));
    }
    expect(everything(at.runsDir).filter((name) => String(name).includes('~'))).toEqual([]);
  });

  test('JSON', async () => {
    const { code, stdout } = await run(['--json']);
    const found = JSON.parse(stdout);
    expect(steady(found)).toEqual(steady(await manager.doctor()));
    expect(code).toBe(found.ok ? 0 : 3);
  });

  test('anywhere, without a project', async () => {
    const folder = temporary();
    const { code, stdout, stderr } = await run([], folder);
    expect([0, 3]).toContain(code);
    expect(stdout).toMatch(new RegExp(`^ {2}probed +${folder}\n {2}runs +none found\n`));
    expect(stderr).not.toContain('ERR_');
    expect(everything(folder)).toEqual([]);
  });

  test('what is no folder', async () => {
    const { code, stdout, stderr } = await run([path.join(at.dir, 'run.json')]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('[ERR_PATH_NOT_DIRECTORY]');
  });

  // Memory is told as such wherever there is a file system in it.
  const inMemory = fs.existsSync('/dev/shm') ? test : test.skip;
  inMemory('exit code 3, and why, where a promise does not hold', async () => {
    const folder = fs.mkdtempSync('/dev/shm/waymark-test-');
    try {
      const { code, stdout } = await run([folder]);
      if (!stdout.includes('tmpfs (memory)')) return;
      expect(code).toBe(3);
      expect(stdout).toMatch(/^durable +no +.*tmpfs keeps files in memory.*WAYMARK_RUNS_DIR$/m);
      expect(stdout).toMatch(/\ndoes not hold: durable\n$/);
      expect(everything(folder)).toEqual([]);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
