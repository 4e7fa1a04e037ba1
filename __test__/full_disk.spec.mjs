// A file system that is really full. Mounting one takes rights that not everybody has.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterAll, describe, expect, it } from '@jest/globals';

import { CheckpointManager } from '../index.mjs';

/** A small file system in memory, or why there is none. */
function mount() {
  const at = fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-full-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', at], { stdio: 'pipe' });
    return { at, why: '' };
  } catch (error) {
    fs.rmdirSync(at);
    const { stderr, code } = /** @type {{ stderr?: Buffer, code?: string }} */ (error);
    return { at: '', why: String(stderr ?? code).trim() };
  }
}

const { at, why } = mount();
const when = at ? it : it.skip;

afterAll(() => {
  if (!at) return;
  execFileSync('umount', [at]);
  fs.rmdirSync(at);
});

/** How many bytes are free. */
function free() {
  const { bavail, bsize } = fs.statfsSync(at);
  return bavail * bsize;
}

/** Fills the file system to its last byte. */
function fill() {
  const file = fs.openSync(path.join(at, 'fill'), 'a');
  try {
    for (;;) fs.writeSync(file, Buffer.alloc(4096, 1));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    fs.closeSync(file);
  }
  expect(free()).toBe(0);
}

/**
 * Takes checkpoints of a file of noise until there is no room for another.
 * @param {string} name
 */
function used(name) {
  const project = path.join(at, name);
  const run = path.join(project, 'runs', 'demo');
  fs.mkdirSync(path.join(run, 'artifacts'), { recursive: true });
  fs.writeFileSync(path.join(run, 'run.json'), JSON.stringify({ run_id: 'demo' }));
  fs.writeFileSync(
    path.join(run, 'artifact-registry.json'),
    JSON.stringify({ run_id: 'demo', artifacts: {} }),
  );
  const manager = new CheckpointManager({ runsDir: path.join(project, 'runs'), keepLast: 'all' });
  const contents = [];
  for (;;) {
    const content = randomBytes(600_000);
    fs.writeFileSync(path.join(run, 'artifacts', 'a.bin'), content);
    try {
      manager.createSync('demo', contents.length, {});
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_DISK_FULL' });
      return { manager, contents, project, run };
    }
    contents.push(content);
  }
}

/**
 * Everything that is listed is whole, also to somebody who has to find it in the packs alone.
 * @param {ReturnType<typeof used>} world
 * @param {number} count
 */
function expectWhole({ manager, contents, project }, count) {
  for (const anew of [false, true]) {
    if (anew) {
      for (const side of ['', '-wal', '-shm']) {
        fs.rmSync(path.join(project, '.waymark', `index.db${side}`), { force: true });
      }
    }
    const listed = manager.listSync('demo');
    expect(listed).toHaveLength(count);
    expect(manager.verifySync('demo', { data: true }).damaged).toEqual([]);
    for (const { checkpointId, step } of listed) {
      const read = manager.readFileSync('demo', checkpointId, 'artifacts/a.bin');
      expect(Buffer.compare(read, contents[Number(step)])).toBe(0);
    }
  }
}

describe(`on a full disk${why && ` (skipped, no file system can be mounted: ${why})`}`, () => {
  when('prune and gc give space back, though there is none for a copy', () => {
    const world = used('one');
    const { manager, contents, project, run } = world;
    expect(contents.length).toBeGreaterThan(5);
    fill();
    const last = contents.length - 1;
    const pruned = manager.pruneSync('demo', { keepLast: 2, gc: true });
    expect(pruned.dropped).toHaveLength(contents.length - 2);
    expect(pruned.warnings ?? []).toEqual([]);
    // What the dropped ones needed is free, but for a page here and there.
    expect(free()).toBeGreaterThan((contents.length - 2) * 600_000 * 0.95 - 300_000);
    expect(fs.statSync(path.join(project, '.waymark', 'reserve')).size).toBe(256 << 10);
    // A content that was in a hole comes again.
    fs.writeFileSync(path.join(run, 'artifacts', 'a.bin'), contents[0]);
    manager.createSync('demo', last + 1, {});
    contents.push(contents[0]);
    expectWhole(world, 3);
    // With room for a copy the holes go, too.
    fs.rmSync(path.join(at, 'fill'));
    manager.gcSync({ maxUnused: 0 });
    expectWhole(world, 3);
    const packs = fs.readdirSync(path.join(project, '.waymark', 'objects'));
    const lengths = packs.map(
      (name) => fs.statSync(path.join(project, '.waymark/objects', name)).size,
    );
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBeLessThan(1_900_000);
    fs.rmSync(project, { recursive: true });
  });
});
