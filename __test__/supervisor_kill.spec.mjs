// kill -9 of the supervisor, of its step, or of both, at random instants of a run of five steps: every step's effect
// happens, none is lost, none is repeated once its checkpoint was durable.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test } from '@jest/globals';
import { ended } from './support/cli.mjs';
import { readJson, removeAll } from './support/project.mjs';
import { STEPS, startRun, supervisedProject } from './support/supervised.mjs';

/** 200 for the record; a few to see that nothing is broken. */
const KILLS = Number(process.env.WAYMARK_SUPERVISOR_KILLS ?? 6);

afterAll(removeAll);

/** A seeded generator (mulberry32), so that a failing run's delays can be told. @param {number} a */
function random(a) {
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The processes that a process has started. @param {number} pid @returns {number[]} */
function childrenOf(pid) {
  try {
    const text = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' });
    return text.trim().split(/\s+/).filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** @param {number} pid */
function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

(process.platform === 'win32' ? test.skip : test)(
  `${KILLS} kills`,
  async () => {
    const whole = supervisedProject();
    const began = performance.now();
    expect(await ended(startRun(whole, [], { env: { WORK_MS: '20' } }))).toMatchObject({ code: 0 });
    // The machine may have other things to do: kills come somewhere in a run, however long it takes.
    const took = performance.now() - began;
    const wanted = whole.made();

    const seed = Number(process.env.WAYMARK_SEED ?? Date.now() % 2 ** 31);
    const next = random(seed);
    let kills = 0;
    let hits = 0;
    while (kills < KILLS) {
      const project = supervisedProject();
      /** @type {string[]} */
      const story = [`seed ${seed}`];
      for (let starts = 0; ; starts += 1) {
        // What is durable now must not happen again from here on.
        const durable = project.checkpointSteps();
        const before = project.effects().length;
        const child = startRun(project, ['--resume', '--retries', '2', '--retry-delay', '1ms'], {
          env: { WORK_MS: '20' },
        });
        const over = ended(child);
        const isLast = starts >= 6 || kills >= KILLS;
        if (!isLast) {
          const delay = (0.1 + 0.8 * next()) * took;
          await Promise.race([over, sleep(delay)]);
          const isOver = child.exitCode !== null;
          const steps = childrenOf(/** @type {number} */ (child.pid));
          const whom = ['supervisor', 'both', 'step'][Math.floor(next() * 3)];
          story.push(`${delay.toFixed(0)} ms: ${isOver ? 'over' : whom}`);
          if (!isOver) {
            kills += 1;
            hits += steps.length > 0 ? 1 : 0;
            if (whom !== 'step') kill(/** @type {number} */ (child.pid));
            if (whom !== 'supervisor') for (const pid of steps) kill(pid);
          }
        }
        const { code, stderr } = await over;
        story.push(stderr);
        const again = project
          .effects()
          .slice(before)
          .filter((step) => durable.includes(step));
        expect([story, again]).toEqual([story, []]);
        if (code === 0) break;
        expect([story, isLast]).toEqual([story, false]);
      }
      expect([story, project.record().status]).toEqual([story, 'completed']);
      expect([story, [...new Set(project.effects())]]).toEqual([story, STEPS]);
      // The same bytes as of a run that nothing has happened to: nothing is lost, nothing came in the wrong order.
      // What a first step has left that was killed behind its effect can't be put back: there is no checkpoint yet.
      const isClean = project.effects().filter((step) => step === 0).length === 1;
      if (isClean) expect([story, project.made()]).toEqual([story, wanted]);
      expect(Object.keys(project.made())).toEqual(Object.keys(wanted));
      const { artifacts } = readJson(path.join(project.dir, 'artifact-registry.json'));
      for (const name of Object.keys(wanted)) expect(Object.keys(artifacts)).toContain(name);
      expect(project.manager.verifySync('demo').damaged).toEqual([]);
      fs.rmSync(project.root, { recursive: true, force: true });
    }
    // They must hit steps at work, not pauses between them.
    expect(hits).toBeGreaterThan(KILLS < 50 ? 0 : KILLS / 8);
  },
  60 * 60_000,
);
