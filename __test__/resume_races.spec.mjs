// Who goes on with a run, where several want to: resumes at the same instant, first starts at the same instant, and
// what a killed resume or supervisor leaves at work.

import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import waymark from '../index.js';
import native from '../lib/native.js';
import { waymark as command, ended, start } from './support/cli.mjs';
import { readJson, removeAll, repo, writeJson } from './support/project.mjs';
import { RUNNER, startRun, supervisedProject, WORKFLOW } from './support/supervised.mjs';

/** WAYMARK_RACES=200 shows it more often. */
const RACES = Number(process.env.WAYMARK_RACES ?? 20);
jest.setTimeout(120_000 + 3_000 * RACES);
const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;

/** @type {ReturnType<typeof supervisedProject>} */
let at;
/** @type {import('node:child_process').ChildProcessWithoutNullStreams[]} */
const children = [];
/** Processes that a killed one left behind. @type {number[]} */
const left = [];

beforeEach(() => {
  at = supervisedProject();
  const file = path.join(at.root, RUNNER);
  const text = fs.readFileSync(file, 'utf8');
  const wait = 'await sleep(Number(process.env.WORK_MS) || 0);';
  expect(text).toContain(wait);
  // A step is at work until it is told to go on.
  fs.writeFileSync(
    file,
    text
      .replace(
        'const EXIT =',
        `if (process.env.START) appendFileSync(process.env.START + '.pids', process.pid + '\\n');
       while (process.env.START && !existsSync(process.env.START)) await sleep(5);
       const EXIT =`,
      )
      .replace(
        wait,
        `if (process.env.GATE) appendFileSync(process.env.GATE + '.pids', process.pid + '\\n');
       while (process.env.GATE && !existsSync(process.env.GATE)) await sleep(5);`,
      ),
  );
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const pid of left.splice(0)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
});
afterAll(removeAll);

/** @param {string[]} words @param {NodeJS.ProcessEnv} [env] */
function spawned(words, env = {}) {
  const own = [preload, RUNNER, '--workflow', WORKFLOW, '--run-id', 'demo', ...words];
  const child = start(own, { cwd: at.root, env: { STEP_LOG: at.log, ...env }, script: '--import' });
  child.stdin.end();
  children.push(child);
  return child;
}

/** @param {string[]} words @param {NodeJS.ProcessEnv} [env] */
const step = (words, env) => ended(spawned(words, env));

/** @param {number[]} steps */
async function steps(...steps) {
  for (const one of steps) {
    expect(await step(['--step', String(one)])).toMatchObject({ code: 0, stderr: '' });
  }
}

/** @param {string[]} words @param {NodeJS.ProcessEnv} [env] */
function resume(words = [], env = {}) {
  const own = ['resume', 'demo', ...words, '--', process.execPath, '--import', preload, RUNNER];
  const child = start([...own, '--workflow', WORKFLOW], {
    cwd: at.root,
    env: { STEP_LOG: at.log, ...env },
  });
  child.stdin.end();
  children.push(child);
  return child;
}

/** @param {() => unknown} holds */
async function until(holds) {
  const end = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not so in time: ${holds}`);
    await new Promise((go) => setTimeout(go, 5));
  }
}

let gates = 0;
function gate() {
  gates += 1;
  const file = path.join(at.root, `gate-${gates}`);
  const pids = () =>
    fs.existsSync(`${file}.pids`)
      ? fs.readFileSync(`${file}.pids`, 'utf8').split('\n').filter(Boolean).map(Number)
      : [];
  return { file, pids, open: () => fs.writeFileSync(file, '') };
}

const options = () => ({ workflow: path.join(at.root, WORKFLOW) });
const manager = () => new waymark.CheckpointManager({ root: at.root });

describe('resumes at the same instant', () => {
  test('in one process: exactly one goes on, and has the lease', async () => {
    await steps(0);
    for (let round = 0; round < RACES; round += 1) {
      const all = await Promise.allSettled(
        [1, 2, 3].map(() => manager().resume('demo', options())),
      );
      const went = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      const refused = all.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
      expect(went).toHaveLength(1);
      for (const error of refused) {
        expect(error).toMatchObject({ code: 'ERR_RUN_STALE', reason: 'lease_held' });
        expect(error.message).toContain(`a resume by`);
        expect(error.message).toContain(`pid ${process.pid}`);
      }
      // Not even once the first is through: it is he who goes on.
      await expect(manager().resume('demo', options())).rejects.toMatchObject({
        reason: 'lease_held',
      });
      await went[0].lease?.release();
    }
    expect(at.manager.runState('demo')).toMatchObject({ resumes: 0, lastStep: 0 });
  });

  test('in processes of their own, by the API', async () => {
    await steps(0);
    const script = path.join(at.root, 'resume.mjs');
    fs.writeFileSync(
      script,
      `import waymark from ${JSON.stringify(pathToFileURL(path.join(repo, 'index.js')).href)};
       import fs from 'node:fs';
       const manager = new waymark.CheckpointManager({ root: ${JSON.stringify(at.root)} });
       process.stdin.on('data', async (text) => {
         if (String(text).startsWith('release')) { await globalThis.done?.lease?.release(); globalThis.done = undefined; console.log('released'); return; }
         try {
           globalThis.done = await manager.resume('demo', { workflow: ${JSON.stringify(options().workflow)} });
           console.log('went ' + (globalThis.done.lease?.token > 0));
         } catch (error) { console.log(error.code + ' ' + error.reason); }
       });
       console.log('ready');`,
    );
    const both = [1, 2].map(() => {
      const child = start([], { cwd: at.root, script });
      children.push(child);
      const lines = child.stdout[Symbol.asyncIterator]();
      const next = async () => String((await lines.next()).value).trim();
      return { child, next };
    });
    for (const { next } of both) expect(await next()).toBe('ready');
    for (let round = 0; round < RACES; round += 1) {
      for (const { child } of both) child.stdin.write('go\n');
      const told = await Promise.all(both.map(({ next }) => next()));
      expect(told.sort()).toEqual(['ERR_RUN_STALE lease_held', 'went true']);
      for (const { child } of both) child.stdin.write('release\n');
      for (const { next } of both) expect(await next()).toBe('released');
    }
  });

  test('`waymark resume` twice: one command is started', async () => {
    // All of them begin at the first step's checkpoint, which is the oldest soon.
    writeJson(path.join(at.root, 'waymark.config.json'), { keepLast: 'all' });
    await steps(0);
    for (let round = 0; round < Math.ceil(RACES / 5); round += 1) {
      const { file, pids, open } = gate();
      const env = { GATE: file };
      const all = [resume(['--step', '0'], env), resume(['--step', '0'], env)];
      const ends = all.map(ended);
      const first = await Promise.race(ends);
      expect(first).toMatchObject({ code: 1, stdout: '' });
      expect(first.stderr).toContain('a resume by waymark (pid ');
      await until(() => pids().length > 0);
      open();
      expect((await Promise.all(ends)).map((one) => one.code).sort()).toEqual([0, 1]);
      expect(pids()).toHaveLength(1);
      expect(at.manager.readLeaseSync('demo')).toMatchObject({ why: 'released' });
    }
  });

  test('of several that wait for a holder each has it in its turn', async () => {
    await steps(0);
    const lease = at.manager.leaseSync('demo', { holder: 'the first' });
    const script = `
      const waymark = require(${JSON.stringify(path.join(repo, 'index.js'))});
      const manager = new waymark.CheckpointManager({ root: ${JSON.stringify(at.root)} });
      const options = { workflow: ${JSON.stringify(options().workflow)}, options: ['wait'] };
      manager.resume('demo', options).then(async ({ did, lease }) => {
        console.log(did[0].message);
        await new Promise((go) => setTimeout(go, 50));
        await lease.release();
      });`;
    const waiting = [1, 2, 3].map(() => {
      const child = start([script], { cwd: at.root, script: '-e' });
      children.push(child);
      return ended(child);
    });
    await new Promise((go) => setTimeout(go, 300));
    lease.releaseSync();
    for (const { code, stdout } of await Promise.all(waiting)) {
      expect({ code, stdout }).toEqual({ code: 0, stdout: 'nobody else works on run demo\n' });
    }
  });

  test('a run that nobody holds is not waited for', async () => {
    await steps(0);
    const done = await at.manager.resume('demo', { ...options(), options: ['wait=1h'] });
    expect(done.did).toEqual([{ option: 'wait', message: 'nobody else works on run demo' }]);
    await done.lease?.release();
  });

  test('under a lease of its own a process resumes as often as it likes', async () => {
    await steps(0);
    const lease = at.manager.leaseSync('demo');
    for (let n = 0; n < 2; n += 1) {
      expect(await at.manager.resume('demo', options())).toMatchObject({ next: 1, lease: null });
    }
    lease.releaseSync();
  });

  test('what was started by a holder that is gone does not resume on its own', async () => {
    await steps(0);
    const lease = at.manager.leaseSync('demo');
    lease.releaseSync();
    const late = await ended(resume([], lease.environment));
    expect(late).toMatchObject({ code: 1, stdout: '' });
    expect(late.stderr).toContain('ERR_LEASE_LOST');
    expect(late.stderr).toContain('without WAYMARK_LEASE');
    expect(at.effects()).toEqual([0]);
  });
});

describe('two first starts of a run at the same instant', () => {
  test('only one of them records a checkpoint', async () => {
    for (let round = 0; round < Math.ceil(RACES / 5); round += 1) {
      fs.rmSync(at.dir, { recursive: true, force: true });
      const { file, pids, open } = gate();
      const env = { START: file };
      const both = [step(['--step', '0'], env), step(['--step', '0'], env)];
      await until(() => pids().length === 2);
      open();
      const all = await Promise.all(both);
      expect(all.map((one) => one.code)).toEqual([0, 0]);
      expect(all.filter((one) => one.stderr.includes('is recorded of run demo'))).toHaveLength(1);
      expect(at.checkpointSteps()).toEqual([0]);
      expect(at.manager.runState('demo')).toMatchObject({ lastStep: 0, state: 'running' });
      expect(at.manager.readLeaseSync('demo')).toMatchObject({ why: 'released' });
    }
  });

  test('also where the first is through when the second ends; strict makes that an error', async () => {
    const [one, two] = [gate(), gate()];
    const slow = step(['--step', '0'], { START: two.file, WAYMARK_STRICT: '1' });
    const quick = step(['--step', '0'], { START: one.file });
    await until(() => one.pids().length + two.pids().length === 2);
    // Its event loop is not asked whether the run is there by now: the process is stopped.
    process.kill(two.pids()[0], 'SIGSTOP');
    one.open();
    expect(await quick).toMatchObject({ code: 0, stderr: '' });
    process.kill(two.pids()[0], 'SIGCONT');
    two.open();
    const late = await slow;
    expect(late.stderr).toContain('had it first');
    expect(late.code).toBe(1);
    expect(at.checkpointSteps()).toEqual([0]);
    // A pause is nobody's step.
    await steps(1);
  });
});

describe('a step that outlives whoever started it', () => {
  /** A step is left at work by a command that is killed. @param {'resume' | 'run'} how */
  async function leftBy(how) {
    if (how === 'resume') await steps(0);
    const { file, pids, open } = gate();
    const child =
      how === 'resume' ? resume([], { GATE: file }) : startRun(at, [], { env: { GATE: file } });
    children.push(child);
    await until(() => pids().length === 1);
    const [pid] = pids();
    left.push(pid);
    await until(() => at.manager.runState('demo').underWay?.pid === pid);
    // Its output stays open: the step has it, too.
    const end = once(child, 'exit');
    child.kill('SIGKILL');
    await end;
    await until(() => at.manager.readLeaseSync('demo')?.why === 'dead');
    return { pid, open };
  }

  test.each(/** @type {const} */ (['resume', 'run']))(
    'by a killed `waymark %s` keeps all others out, and counts',
    async (how) => {
      const { pid, open } = await leftBy(how);
      const before = at.effects().length;
      const told = `is still at work (pid ${pid})`;
      const plan = await at.manager.planResume('demo', options()).catch(() => null);
      if (how === 'resume') {
        expect(plan?.reasons).toMatchObject([{ type: 'lease_held', details: { pid } }]);
        const refused = await ended(resume());
        expect(refused).toMatchObject({ code: 1, stdout: '' });
        expect(refused.stderr).toContain(told);
      }
      for (const words of [['--step', '1'], ...(how === 'resume' ? [['--resume']] : [])]) {
        const second = await step(words);
        expect(second).toMatchObject({ code: 1, stdout: '' });
        expect(second.stderr).toContain(told);
        expect(second.stderr).toContain(`kill ${pid}`);
      }
      // A pause waits for it, too.
      const paused = await command(['pause', 'demo'], { cwd: at.root });
      expect(paused).toMatchObject({ code: 0, stdout: expect.stringContaining('is paused when') });
      expect(at.effects()).toHaveLength(before);
      open();
      await until(() => at.checkpointSteps().length === before + 1);
      await until(() => at.manager.runState('demo').state === 'paused');
      // What it did is not done again.
      const steps = how === 'resume' ? [0, 1] : [0];
      expect(at.effects()).toEqual(steps);
      expect((await step(['--resume'])).code).toBe(0);
      expect(at.effects()).toEqual([...steps, how === 'resume' ? 1.5 : 1]);
    },
  );

  test('a supervisor waits for what a killed `waymark resume` left', async () => {
    const { pid, open } = await leftBy('resume');
    const second = startRun(at, ['--resume']);
    const over = ended(second);
    let told = '';
    for await (const text of second.stderr) {
      told += text;
      if (told.includes('still at work (pid ')) break;
    }
    expect(told).toContain(`step 1 is still at work (pid ${pid})`);
    open();
    expect(await over).toMatchObject({ code: 0 });
    expect(at.effects()).toEqual([0, 1, 1.5, 2, 3]);
  });

  test('a supervisor that is asked to end while it waits for one ends, and changes nothing', async () => {
    const { open } = await leftBy('run');
    const shown = await command(['status', 'demo'], { cwd: at.root });
    expect(shown.stdout).toMatch(/resumable +no: step 0 is still at work \(pid \d+\)/);
    expect(shown.stdout).not.toContain('last step');
    const second = startRun(at, ['--resume']);
    const over = ended(second);
    let told = '';
    second.stderr.on('data', (text) => {
      told += text;
    });
    await until(() => told.includes('still at work (pid '));
    second.kill('SIGTERM');
    expect(await over).toMatchObject({ code: 143, stdout: '' });
    open();
    await until(() => at.checkpointSteps().length === 1);
    expect(await ended(startRun(at, ['--resume']))).toMatchObject({ code: 0 });
    expect(at.effects()).toEqual([0, 1, 1.5, 2, 3]);
  });

  test('which is gone as well, or whose number is another one’s, keeps nobody out', async () => {
    const { pid } = await leftBy('resume');
    const records = at.manager.records('demo');
    process.kill(pid, 'SIGKILL');
    await until(() => {
      const found = /** @type {any} */ (native.native().processIdentitySync(pid));
      return !found.alive;
    });
    expect(await at.manager.planResume('demo', options())).toMatchObject({ verdict: 'ready' });
    records.changeSync('run-state', (/** @type {any} */ one) => ({
      ...one,
      underWay: { ...one.underWay, pid: process.ppid },
    }));
    expect(await at.manager.planResume('demo', options())).toMatchObject({ verdict: 'ready' });
    expect((await step(['--resume'])).code).toBe(0);
    expect(at.effects()).toEqual([0, 1]);
  });
});

describe('the supervisor and the world', () => {
  const stale = () =>
    fs.writeFileSync(
      path.join(at.root, 'waymark.config.json'),
      JSON.stringify({
        environment: { variables: ['WORLD'] },
        resume: { policy: { variable_changed: 'stale' } },
      }),
    );

  test('a stale run is refused, marked, and gone on with when that is accepted', async () => {
    stale();
    const first = startRun(at, ['--pause-after', '1'], { env: { WORLD: 'one' } });
    expect(await ended(first)).toMatchObject({ code: 75 });
    const refused = await ended(startRun(at, ['--resume'], { env: { WORLD: 'two' } }));
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('ERR_RUN_STALE');
    expect(at.effects()).toEqual([0, 1]);
    expect(at.manager.readLeaseSync('demo')).toMatchObject({ why: 'released' });
    expect(at.manager.runState('demo')).toMatchObject({
      state: 'stale',
      stale: [{ type: 'variable_changed' }],
      staleFrom: { state: 'paused', reason: 'after step 1' },
    });
    const shown = await command(['runs'], { cwd: at.root });
    expect(shown.stdout).toContain('it is stale: ');
    const accepted = ['--resume', '--accept', 'variable_changed'];
    const done = await ended(startRun(at, accepted, { env: { WORLD: 'two' } }));
    expect(done.code).toBe(0);
    expect(done.stderr).toContain('accepted: ');
    expect(at.effects()).toEqual([0, 1, 1.5, 2, 3]);
    expect(at.manager.runState('demo')).toMatchObject({ state: 'completed', resumes: 1 });
  });

  test('one that was killed is marked stale as well; the mark goes, and who paused it and why comes back', async () => {
    stale();
    const { file, pids } = gate();
    const first = startRun(at, [], { env: { WORLD: 'one' } });
    await until(() => at.effects().length === 2);
    const over = ended(first);
    first.kill('SIGKILL');
    await over;
    expect(file).toBeDefined();
    expect(pids()).toEqual([]);
    const refused = await ended(startRun(at, ['--resume'], { env: { WORLD: 'two' } }));
    expect(refused.stderr).toContain('ERR_RUN_STALE');
    expect(at.manager.runState('demo')).toMatchObject({
      state: 'stale',
      staleFrom: { state: 'interrupted' },
    });
    const plan = await command(['resume', 'demo', '--plan', '--workflow', WORKFLOW], {
      cwd: at.root,
      env: { WORLD: 'one' },
    });
    expect(plan.code).toBe(0);
    expect(at.manager.runState('demo')).toMatchObject({ state: 'interrupted', interruptions: 1 });
    at.manager.pause('demo', { reason: 'lunch', by: 'ann' });
    const before = at.manager.runState('demo');
    for (const [WORLD, state] of [
      ['two', 'stale'],
      ['one', 'paused'],
    ]) {
      await command(['resume', 'demo', '--plan', '--workflow', WORKFLOW], {
        cwd: at.root,
        env: { WORLD },
      });
      expect(at.manager.runState('demo')).toMatchObject({ state });
    }
    const { since, by, reason, pauses } = before;
    expect(at.manager.runState('demo')).toMatchObject({
      since,
      by: 'ann',
      reason: 'lunch',
      pauses,
    });
    expect({ since, by, reason }).toMatchObject({ by: 'ann', reason: 'lunch' });
  });

  test('a checkpoint that a task took in the middle of a step: that step is begun once more', async () => {
    const script = path.join(at.root, 'tasks.mjs');
    fs.writeFileSync(
      script,
      `import fs from 'node:fs'; import path from 'node:path';
       import waymark from ${JSON.stringify(pathToFileURL(path.join(repo, 'index.js')).href)};
       const word = (name) => process.argv[process.argv.indexOf('--' + name) + 1];
       const [step, run] = [Number(word('step')), word('run-id')];
       const dir = path.join('.claude', 'context', 'runs', run);
       fs.mkdirSync(dir, { recursive: true });
       const file = path.join(dir, 'run.json');
       const put = (members) => fs.writeFileSync(file, JSON.stringify({ run_id: run, workflow_id: 'w', status: 'in_progress', ...members }));
       if (!fs.existsSync(file)) put({});
       const log = (what) => fs.appendFileSync(process.env.STEP_LOG, JSON.stringify({ step: what }) + '\\n');
       if (step === 1) {
         const task = await new waymark.CheckpointManager().task(run, 'build');
         await task.step('a', () => log('a'));
         await new waymark.CheckpointManager().guard(run, 'careful', () => log('g'));
         if (process.env.DIE) process.kill(process.ppid, 'SIGKILL'), process.kill(process.pid, 'SIGKILL');
         await task.step('b', () => log('b'));
       }
       log(step);
       put({ current_step: step, updated_at: new Date().toISOString() });`,
    );
    const file = 'own.yaml';
    fs.writeFileSync(
      path.join(at.root, file),
      JSON.stringify({ steps: [{ step: 0 }, { step: 1 }, { step: 2 }] }),
    );
    const how = { workflow: file, command: [process.execPath, script] };
    const first = await ended(startRun(at, [], { ...how, env: { DIE: '1' } }));
    expect(first.signal).toBe('SIGKILL');
    expect(at.effects()).toEqual([0, 'a', 'g']);
    const second = await ended(startRun(at, ['--resume'], how));
    expect(second).toMatchObject({ code: 0 });
    expect(at.effects()).toEqual([0, 'a', 'g', 'g', 'b', 1, 2]);
  });
});

describe('what is put back is not done any more', () => {
  test('a resume to an earlier step: its step, progress, and a pause that is still to come', async () => {
    await steps(0, 1, 1.5, 2);
    expect(at.manager.runState('demo')).toMatchObject({ lastStep: 2, progress: { done: 4 } });
    const done = await at.manager.resume('demo', { ...options(), step: 0 });
    expect(at.manager.runState('demo')).toMatchObject({
      lastStep: 0,
      progress: { done: 1, total: 5 },
    });
    await done.lease?.release();
    // Behind 1, which is to come once more: it does not hold 1 back.
    at.manager.pause('demo', { afterStep: 1, workflow: options().workflow });
    expect((await ended(resume(['--step', '0']))).code).toBe(75);
    expect(at.effects()).toEqual([0, 1, 1.5, 2, 1]);
    // Behind a step that was passed: it does not hold any more.
    at.manager.records('demo').changeSync('run-state', (/** @type {any} */ one) => ({
      ...one,
      pauseRequest: { afterStep: 0, at: one.since, by: 'ann' },
    }));
    expect((await ended(resume())).code).toBe(0);
    expect(at.effects()).toEqual([0, 1, 1.5, 2, 1, 1.5]);
    expect(at.manager.runState('demo').pauseRequest).toBeUndefined();
    expect((await step(['--resume', '--resume-step', '1', '--pause-after', '1.5'])).code).toBe(75);
    expect(at.manager.runState('demo')).toMatchObject({ lastStep: 1.5, progress: { done: 3 } });
  });

  test('by the preload, while the step is at work', async () => {
    await steps(0, 1, 1.5);
    const { file, pids, open } = gate();
    const one = step(['--resume', '--resume-step', '0'], { GATE: file });
    await until(() => pids().length === 1);
    expect(at.manager.runState('demo')).toMatchObject({
      lastStep: 0,
      progress: { done: 1, total: 5 },
      underWay: { step: 1 },
    });
    open();
    expect((await one).code).toBe(0);
  });
});

test('a cancelled run goes on when that is accepted, however it is resumed', async () => {
  await steps(0);
  at.manager.moveRunState('demo', 'cancelled', { by: 'ann', reason: 'no more' });
  const refused = await step(['--resume']);
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain('What can be done: accept run_ended, restart_from_step');
  const byItself = await step(['--resume'], { WAYMARK_REGISTER: 'checkpoint' });
  expect(byItself).toMatchObject({ code: 1, stdout: '' });
  expect(byItself.stderr).toContain('cancelled → running, where somebody says that it does');
  expect(at.manager.runState('demo')).toMatchObject({ state: 'cancelled', by: 'ann' });
  expect((await step(['--resume'], { WAYMARK_ACCEPT: 'run_ended' })).code).toBe(0);
  at.manager.moveRunState('demo', 'cancelled');
  expect((await ended(resume(['--accept', 'run_ended']))).code).toBe(0);
  expect(at.effects()).toEqual([0, 1, 1.5]);
});

describe('a run that somebody holds, under the preload', () => {
  test('a fork goes on beside it, with a lease of its own', async () => {
    await steps(0);
    const lease = at.manager.leaseSync('demo', { holder: 'somebody' });
    const { file, pids, open } = gate();
    const one = step(['--resume'], { GATE: file, WAYMARK_OPTION: 'fork=other' });
    await until(() => pids().length === 1);
    await until(() => at.manager.readLeaseSync('other')?.live);
    expect(at.manager.readLeaseSync('other')).toMatchObject({ pid: pids()[0] });
    expect(at.manager.runState('other')).toMatchObject({ state: 'running' });
    expect(lease.lost).toBe(false);
    open();
    expect(await one).toMatchObject({ code: 0 });
    expect(at.manager.listSync('other').map((each) => each.step)).toEqual([1, 0]);
    expect(at.manager.readLeaseSync('other')).toMatchObject({ why: 'released' });
    expect(at.checkpointSteps()).toEqual([0]);
    expect(lease.lost).toBe(false);
    lease.releaseSync();
    expect(readJson(path.join(at.dir, 'run.json'))).toMatchObject({ current_step: 0 });
  });

  test('a damaged lease file is told of, with until when', async () => {
    await steps(0);
    fs.writeFileSync(path.join(at.dir, 'checkpoints', '.waymark', 'lease'), 'x');
    const plan = await at.manager.planResume('demo', options());
    expect(plan.reasons).toMatchObject([
      { type: 'lease_held', details: { holder: null, until: expect.any(String) } },
    ]);
    const refused = await ended(resume());
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain("can't be trusted");
    const paused = await command(['pause', 'demo'], { cwd: at.root });
    expect(paused.stdout).toContain('is damaged');
    const old = new Date(Date.now() - 3_600_000);
    fs.utimesSync(path.join(at.dir, 'checkpoints', '.waymark', 'lease'), old, old);
    at.manager.withdrawPause('demo');
    expect((await ended(resume())).code).toBe(0);
  });
});
