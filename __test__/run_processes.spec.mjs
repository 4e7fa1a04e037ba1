// Runs of the runner of examples/ under the preload, in real processes: pauses, signals, kills, two at once.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { waymark as command, ended, start } from './support/cli.mjs';
import { readJson, removeAll, repo, temporary, writeJson } from './support/project.mjs';

const RUNNER = path.join('.claude', 'tools', 'workflow_runner.js');
const WORKFLOW = path.join('.claude', 'workflows', 'research.yaml');
const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;

afterAll(removeAll);

/** @type {string} */
let root;
/** @type {string} */
let log;
/** @type {string} */
let dir;

beforeEach(() => {
  root = temporary();
  fs.cpSync(path.join(repo, 'examples', 'project'), root, { recursive: true });
  log = path.join(root, 'steps.log');
  dir = path.join(root, '.claude', 'context', 'runs', 'demo');
});

/**
 * @param {string[]} words
 * @param {NodeJS.ProcessEnv} [env]
 */
function spawned(words, env = {}) {
  const child = start(
    ['--import', preload, RUNNER, '--workflow', WORKFLOW, '--run-id', 'demo', ...words].slice(1),
    { cwd: root, env: { STEP_LOG: log, ...env }, script: '--import' },
  );
  child.stdin.end();
  return child;
}

/** @param {string[]} words @param {NodeJS.ProcessEnv} [env] */
const step = (words, env) => ended(spawned(words, env));

/** Runs steps one after the other. @param {number[]} steps_ */
async function steps(...steps_) {
  for (const one of steps_) {
    expect(await step(['--step', String(one)])).toMatchObject({ code: 0, stderr: '' });
  }
}

/**
 * A step that is at work until the file `go` is there, or it is killed.
 * @param {string[]} words
 * @param {NodeJS.ProcessEnv} [env]
 */
async function atWork(words, env) {
  const child = spawned(words, { WORK_MS: '1500', ...env });
  const end = ended(child);
  for await (const text of child.stdout) if (`${text}`.includes('started')) break;
  return { child, end };
}

const effects = () =>
  fs.existsSync(log)
    ? fs
        .readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .map((line) => Number(JSON.parse(line).step))
    : [];
const manager = () => new waymark.CheckpointManager({ root });
const state = () => manager().runState('demo');
const checkpointSteps = () =>
  manager()
    .listSync('demo')
    .map((one) => one.step)
    .reverse();
const status = () => readJson(path.join(dir, 'run.json')).status;

describe('a pause', () => {
  test('of a step at work is honoured behind it: checkpoint, paused, 75; a resume goes on', async () => {
    await steps(0);
    const { end } = await atWork(['--step', '1']);
    const asked = await command(['pause', 'demo', '--reason', 'look first'], { cwd: root });
    expect(asked).toMatchObject({ code: 0 });
    expect(asked.stdout).toMatch(/paused when its step is done; step 1 by workflow_runner\.js/);
    expect(state()).toMatchObject({
      state: 'running',
      underWay: { step: 1 },
      holder: { holder: 'step 1 by workflow_runner.js' },
      pauseRequest: { reason: 'look first' },
    });
    const done = await end;
    expect(done.code).toBe(75);
    expect(done.stderr).toContain('run demo is paused behind step 1 (look first)');
    expect(checkpointSteps()).toEqual([0, 1]);
    expect(status()).toBe('paused');
    const paused = state();
    expect(paused).toMatchObject({ state: 'paused', lastStep: 1, pauses: 1, resumes: 0 });
    expect(paused.progress).toEqual({ done: 2, total: 5 });
    expect(paused.workMs).toBeGreaterThan(1500);
    expect(paused.elapsedMs).toBeGreaterThan(paused.workMs - 100);
    expect([paused.holder, paused.underWay, paused.pauseRequest]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);

    const refused = await step(['--step', '1.5']);
    expect(refused).toMatchObject({ code: 75, stdout: '' });
    expect(refused.stderr).toContain('look first); nothing was started; --resume goes on');
    expect(effects()).toEqual([0, 1]);

    const resumed = await step(['--resume']);
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1.5 done') });
    expect(state()).toMatchObject({ state: 'running', resumes: 1, pauses: 1, lastStep: 1.5 });
    await steps(2, 3);
    expect(state()).toMatchObject({ state: 'completed', status: 'completed' });
    expect(effects()).toEqual([0, 1, 1.5, 2, 3]);
  });

  test('behind a named step, fractions included; the runner does not see the flag', async () => {
    fs.appendFileSync(
      path.join(root, RUNNER),
      "\nconsole.log('words', JSON.stringify(process.argv.slice(2)));\n",
    );
    expect((await step(['--step', '0', '--pause-after', '1.5'])).stdout).not.toContain('pause');
    expect((await step(['--step', '1'])).code).toBe(0);
    expect((await step(['--step', '1.5'])).code).toBe(75);
    // Once more behind the same step: the wish is kept over a resume while it is still to come.
    const again = await step(['--resume', '--resume-step', '1', '--pause-after', '2']);
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1.5 done') });
    expect((await step(['--resume'])).code).toBe(75);
    expect(state()).toMatchObject({ pauses: 2, resumes: 1, lastStep: 2 });
  });

  test('behind a step that does not exist is refused, and nothing starts', async () => {
    for (const [text, code] of [
      ['7', 'ERR_WORKFLOW_STEP_MISSING'],
      ['', 'ERR_STEP_INVALID'],
    ]) {
      const words = text === '' ? ['--pause-after'] : ['--pause-after', text];
      const refused = await step(['--step', '0', ...words], { WAYMARK_STRICT: '1' });
      expect(refused).toMatchObject({ code: 1, stdout: '' });
      expect(refused.stderr).toContain(code);
    }
    expect(effects()).toEqual([]);
  });

  test('is not honoured by a step that fails, waits, or is the last', async () => {
    await steps(0);
    manager().pause('demo', { afterStep: 1 });
    expect((await step(['--step', '1'], { FAIL_AT_STEP: '1' })).code).toBe(1);
    expect(state()).toMatchObject({ state: 'failed', pauseRequest: { afterStep: 1 } });
    expect(state().reason).toContain('step 1 ended with exit code 1');
    expect((await step(['--resume'])).code).toBe(75);

    const workflow = path.join(root, WORKFLOW);
    const text = fs.readFileSync(workflow, 'utf8');
    fs.writeFileSync(workflow, text.replace('step: 1.5\n', 'step: 1.5\n    approval: true\n'));
    expect((await step(['--resume', '--pause-after', '1.5'])).code).toBe(0);
    expect(state()).toMatchObject({ state: 'paused', status: 'awaiting_approval' });
    fs.writeFileSync(workflow, text);
    // It was the runner that waited: it is not held back.
    expect((await step(['--step', '1.5'])).code).toBe(75);
    expect((await step(['--resume'])).code).toBe(0);
    const last = await step(['--resume', '--pause-after', '3']);
    expect(last.code).toBe(0);
    expect(last.stderr).toContain('there is nothing left to pause');
    expect(state()).toMatchObject({ state: 'completed' });
    expect(state().pauseRequest).toBeUndefined();
  });

  test('that was asked for and not honoured holds the next step back', async () => {
    await steps(0);
    const { child, end } = await atWork(['--step', '1']);
    manager().pause('demo', { reason: 'stop' });
    child.kill('SIGKILL');
    await end;
    const refused = await step(['--step', '1']);
    expect(refused).toMatchObject({ code: 75, stdout: '' });
    expect(refused.stderr).toContain('run demo was cut off');
    expect(refused.stderr).toContain('stop); nothing was started');
    expect(effects()).toEqual([0]);
    expect((await step(['--resume'])).code).toBe(0);
    expect(state()).toMatchObject({ interruptions: 1, pauses: 1, resumes: 1 });
  });

  test('by SIGTERM, when asked to; a second one ends the process', async () => {
    writeJson(path.join(root, 'waymark.config.json'), { register: { pauseOnSigterm: true } });
    await steps(0);
    const first = await atWork(['--step', '1']);
    first.child.kill('SIGTERM');
    const done = await first.end;
    expect(done.code).toBe(75);
    expect(done.stderr).toContain('SIGTERM: run demo is paused when step 1 is done');
    expect(checkpointSteps()).toEqual([0, 1]);
    expect(state()).toMatchObject({ state: 'paused', by: 'SIGTERM', status: 'paused' });

    const second = await atWork(['--resume'], { WORK_MS: '60000' });
    second.child.kill('SIGTERM');
    for await (const text of second.child.stderr) if (`${text}`.includes('SIGTERM')) break;
    second.child.kill('SIGTERM');
    expect((await second.end).signal).toBe('SIGTERM');
    expect(state()).toMatchObject({ state: 'interrupted', pauseRequest: { by: 'SIGTERM' } });
  });

  test('by SIGTERM is not made up: without the setting it ends the process', async () => {
    await steps(0);
    const { child, end } = await atWork(['--step', '1'], { WORK_MS: '60000' });
    child.kill('SIGTERM');
    expect((await end).signal).toBe('SIGTERM');
    expect(state().pauseRequest).toBeUndefined();
  });
});

describe('a run that was cut off', () => {
  test('is found by status, with what was under way and the way on, and at the next start', async () => {
    await steps(0, 1);
    const { child, end } = await atWork(['--step', '1.5'], { WORK_MS: '60000' });
    child.kill('SIGKILL');
    await end;
    expect(status()).toBe('in_progress');
    const shown = await command(['status', 'demo', '--json'], { cwd: root });
    const found = JSON.parse(shown.stdout);
    expect(found).toMatchObject({
      state: 'interrupted',
      lastStep: 1,
      underWay: { step: 1.5, pid: child.pid },
      interruption: { why: 'dead', pid: child.pid },
      interruptions: 1,
      resumable: true,
    });
    expect(found.way).toMatch(/^waymark resume demo -- node .*workflow_runner\.js --workflow /);
    const text = await command(['status', 'demo'], { cwd: root });
    expect(text.stdout).toContain(`(pid ${child.pid}) is gone`);
    expect((await command(['runs'], { cwd: root })).stdout).toMatch(/demo +interrupted +2\/5 +1 /);
    // The very words that it says.
    const words = found.way.split(' ').slice(1);
    const on = await command(words, { cwd: root, env: { NODE_OPTIONS: `--import=${preload}` } });
    expect(on).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1.5 done') });
    expect(state()).toMatchObject({
      state: 'running',
      resumes: 1,
      interruptions: 1,
      lastStep: 1.5,
    });

    const next = await atWork(['--step', '2'], { WORK_MS: '60000' });
    next.child.kill('SIGKILL');
    await next.end;
    const resumed = await step(['--resume']);
    expect(resumed.stderr).toMatch(/run demo was cut off: .* is gone; step 2 was under way since/);
    expect(resumed.stderr).toContain('step 1.5 was the last that was done');
    expect(state()).toMatchObject({ interruptions: 2, resumes: 2, lastStep: 2 });
  });

  test('that its runner completed before it was killed is completed', async () => {
    await steps(0, 1, 1.5, 2);
    fs.appendFileSync(
      path.join(root, RUNNER),
      "\nif (process.env.HANG) { console.log('end of it'); await new Promise((go) => setTimeout(go, 60000)); }\n",
    );
    // The runner exits by itself at its end; this one is cut off right before.
    const text = fs.readFileSync(path.join(root, RUNNER), 'utf8');
    fs.writeFileSync(
      path.join(root, RUNNER),
      text.replace(
        '  writeSummary(job);',
        "  writeSummary(job);\n  if (process.env.HANG) process.kill(process.pid, 'SIGKILL');",
      ),
    );
    await step(['--step', '3'], { HANG: '1' });
    expect(state()).toMatchObject({ state: 'completed' });
  });
});

describe('two at once', () => {
  test('the second is told who is at work, since when and until when', async () => {
    await steps(0);
    const { end } = await atWork(['--step', '1']);
    for (const words of [['--step', '1'], ['--resume']]) {
      const second = await step(words);
      expect(second).toMatchObject({ code: 1, stdout: '' });
      expect(second.stderr).toContain('ERR_LEASE_HELD');
      expect(second.stderr).toMatch(/step 1 by workflow_runner\.js/);
      expect(second.stderr).toMatch(/since .*until .*\d{4}-/);
    }
    expect((await end).code).toBe(0);
    expect(effects()).toEqual([0, 1]);
  });

  test('of many resumes at the same instant exactly one goes on', async () => {
    await steps(0);
    for (let round = 0; round < 5; round += 1) {
      const before = effects().length;
      const all = await Promise.all(
        [1, 2, 3].map(() => step(['--resume', '--resume-step', '0'], { WORK_MS: '700' })),
      );
      const went = all.filter((one) => one.code === 0);
      const held = all.filter((one) => one.stderr.includes('ERR_LEASE_HELD'));
      // One that comes when the first is through finds it free.
      expect(went.length + held.length).toBe(3);
      expect(effects()).toHaveLength(before + went.length);
      expect(went.length).toBeGreaterThan(0);
    }
  });

  test('a run that is not there yet is held as soon as it is', async () => {
    const { end } = await atWork(['--step', '0']);
    let held;
    while (held === undefined) {
      held = state().holder;
      await new Promise((go) => setTimeout(go, 10));
    }
    const second = await step(['--step', '0']);
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toContain('ERR_LEASE_HELD');
    expect((await end).code).toBe(0);
    expect(state()).toMatchObject({ state: 'running', lastStep: 0 });
  });

  test('a step works under the lease of the process that started it', async () => {
    await steps(0);
    const lease = manager().lease('demo', { holder: 'the supervisor' });
    const alone = await step(['--step', '1']);
    expect(alone).toMatchObject({ code: 1, stderr: expect.stringContaining('the supervisor') });
    expect(await step(['--step', '1'], lease.env)).toMatchObject({ code: 0, stderr: '' });
    expect(lease.lost).toBe(false);
    expect(checkpointSteps()).toEqual([0, 1]);
    lease.release();
    const late = await step(['--step', '1.5'], lease.env);
    expect(late).toMatchObject({ code: 1, stdout: '' });
    expect(late.stderr).toContain('ERR_LEASE_LOST');
    const wrong = await step(['--step', '1.5'], { WAYMARK_LEASE: 'demo', WAYMARK_STRICT: '1' });
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('WAYMARK_LEASE must') });
  });

  test('what a step starts may change its run; others may not', async () => {
    await steps(0);
    const text = fs.readFileSync(path.join(root, RUNNER), 'utf8');
    const main = path.join(repo, 'cli', 'main.mjs');
    fs.writeFileSync(
      path.join(root, RUNNER),
      text.replace(
        '  registerArtifacts(job, inputs);',
        `  const { execFileSync } = await import('node:child_process');
  execFileSync(process.execPath, [${JSON.stringify(main)}, 'create', 'demo', '--step', 'half'], { stdio: ['ignore', 'ignore', 'inherit'] });
  registerArtifacts(job, inputs);`,
      ),
    );
    expect(await step(['--step', '1'])).toMatchObject({ code: 0, stderr: '' });
    expect(checkpointSteps()).toEqual([0, 'half', 1]);
    const { end } = await atWork(['--step', '1.5']);
    const other = await command(['create', 'demo', '--step', '9'], { cwd: root });
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_LEASE_HELD') });
    await end;
  });

  test('without leases, where steps of one run are meant to work side by side', async () => {
    await steps(0, 1);
    const env = { WAYMARK_LEASE: 'off' };
    const both = await Promise.all([
      step(['--step', '1.5'], { ...env, WORK_MS: '500' }),
      step(['--step', '1.5'], { ...env, WORK_MS: '500' }),
    ]);
    expect(both.map((one) => one.code)).toEqual([0, 0]);
  });

  test('an old holder that was frozen and taken over records nothing any more', async () => {
    await steps(0);
    const { child, end } = await atWork(['--step', '1'], { WORK_MS: '300' });
    child.kill('SIGSTOP');
    const file = path.join(dir, 'checkpoints', '.waymark', 'lease');
    expect(fs.existsSync(file)).toBe(true);
    // As if its time were over: the file goes, and with it the right.
    fs.unlinkSync(file);
    const lease = manager().lease('demo', { holder: 'the next one' });
    child.kill('SIGCONT');
    const old = await end;
    expect(old.stderr).toMatch(/ERR_LEASE_(LOST|HELD)/);
    expect(old.stderr).toContain('was taken over by the next one');
    expect(checkpointSteps()).toEqual([0]);
    expect(lease.lost).toBe(false);
    lease.release();
  });
});

test('a process that is no step of a run pays nothing', async () => {
  const child = spawn(
    process.execPath,
    ['--import', preload, '-e', 'process.stdout.write(process._getActiveHandles().length + "")'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
});
