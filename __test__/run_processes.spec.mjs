// Runs of the runner of examples/ under the preload, in real processes: pauses, signals, kills, two at once.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import waymark from '../index.js';
import { waymark as command, ended, start } from './support/cli.mjs';
import { readJson, removeAll, repo, temporary, writeJson } from './support/project.mjs';

const RUNNER = path.join('.claude', 'tools', 'workflow_runner.js');
const WORKFLOW = path.join('.claude', 'workflows', 'research.yaml');
const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;
/** WAYMARK_RACES=200 shows it more often. */
const RACES = Number(process.env.WAYMARK_RACES ?? 5);
jest.setTimeout(120_000 + 3_000 * RACES);

/** @type {import('node:child_process').ChildProcess[]} */
const children = [];
// What a test that failed left at work.
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
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
  // A step is at work until it is told to go on.
  edit(
    'await sleep(Number(process.env.WORK_MS) || 0);',
    'while (process.env.GATE && !existsSync(process.env.GATE)) await sleep(5);',
  );
});

/** Changes the runner. @param {string} from @param {string} to */
function edit(from, to) {
  const file = path.join(root, RUNNER);
  const text = fs.readFileSync(file, 'utf8');
  expect(text).toContain(from);
  fs.writeFileSync(
    file,
    text.replace(from, () => to),
  );
}

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
  children.push(child);
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

let gates = 0;

/**
 * A step that is at work until it is told to go on, or killed.
 * @param {string[]} words
 */
async function atWork(words) {
  gates += 1;
  const gate = path.join(root, `gate-${gates}`);
  const child = spawned(words, { GATE: gate });
  const end = ended(child);
  await new Promise((resolve) => {
    child.stdout.on('data', (text) => `${text}`.includes('started') && resolve(undefined));
    end.then(resolve);
  });
  /** Lets it go on, and waits for its end. */
  const done = () => {
    fs.writeFileSync(gate, '');
    return end;
  };
  return { child, end, done };
}

/**
 * @param {import('node:child_process').ChildProcessWithoutNullStreams} child
 * @param {string} word
 */
const said = (child, word) =>
  new Promise((resolve) => {
    child.stderr.on('data', (text) => `${text}`.includes(word) && resolve(undefined));
  });

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
    const { done: through } = await atWork(['--step', '1']);
    const asked = await command(['pause', 'demo', '--reason', 'look first'], { cwd: root });
    expect(asked).toMatchObject({ code: 0 });
    expect(asked.stdout).toMatch(/paused when its step is done; step 1 by workflow_runner\.js/);
    expect(state()).toMatchObject({
      state: 'running',
      underWay: { step: 1 },
      holder: { holder: 'step 1 by workflow_runner.js' },
      pauseRequest: { reason: 'look first' },
    });
    const done = await through();
    expect(done.code).toBe(75);
    expect(done.stderr).toContain('run demo is paused behind step 1 (look first)');
    expect(checkpointSteps()).toEqual([0, 1]);
    expect(status()).toBe('paused');
    const paused = state();
    expect(paused).toMatchObject({ state: 'paused', lastStep: 1, pauses: 1, resumes: 0 });
    expect(paused.progress).toEqual({ done: 2, total: 5 });
    expect(paused.workMs).toBeGreaterThan(0);
    expect(paused.elapsedMs).toBeGreaterThan(0);
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
    edit(
      '  await createRunIfMissing(job);',
      "  console.log('words', process.argv.join(' '));\n  await createRunIfMissing(job);",
    );
    const first = await step(['--step', '0', '--pause-after', '1.5']);
    expect(first.stdout).toContain('words');
    expect(first.stdout).not.toContain('pause');
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
    await said(first.child, 'SIGTERM');
    const done = await first.done();
    expect(done.code).toBe(75);
    expect(done.stderr).toContain('SIGTERM: run demo is paused when step 1 is done');
    expect(checkpointSteps()).toEqual([0, 1]);
    expect(state()).toMatchObject({ state: 'paused', by: 'SIGTERM', status: 'paused' });

    const second = await atWork(['--resume']);
    second.child.kill('SIGTERM');
    await said(second.child, 'SIGTERM');
    second.child.kill('SIGTERM');
    expect((await second.end).signal).toBe('SIGTERM');
    expect(state()).toMatchObject({ state: 'interrupted', pauseRequest: { by: 'SIGTERM' } });
  });

  test('by SIGTERM is not made up: without the setting it ends the process', async () => {
    await steps(0);
    const { child, end } = await atWork(['--step', '1']);
    child.kill('SIGTERM');
    expect((await end).signal).toBe('SIGTERM');
    expect(state().pauseRequest).toBeUndefined();
  });
});

describe('a run that was cut off', () => {
  test('is found by status, with what was under way and the way on, and at the next start', async () => {
    await steps(0, 1);
    const { child, end } = await atWork(['--step', '1.5']);
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

    const next = await atWork(['--step', '2']);
    next.child.kill('SIGKILL');
    await next.end;
    const resumed = await step(['--resume']);
    expect(resumed.stderr).toMatch(/run demo was cut off: .* is gone; step 2 was under way since/);
    expect(resumed.stderr).toContain('step 1.5 was the last that was done');
    expect(state()).toMatchObject({ interruptions: 2, resumes: 2, lastStep: 2 });
  });

  test('that its runner completed before it was killed is completed', async () => {
    await steps(0, 1, 1.5, 2);
    edit(
      '  writeSummary(job);',
      "  writeSummary(job);\n  if (process.env.HANG) process.kill(process.pid, 'SIGKILL');",
    );
    await step(['--step', '3'], { HANG: '1' });
    expect(state()).toMatchObject({ state: 'completed' });
  });
});

describe('two at once', () => {
  test('the second is told who is at work, since when and until when', async () => {
    await steps(0);
    const { done } = await atWork(['--step', '1']);
    for (const words of [['--step', '1'], ['--resume']]) {
      const second = await step(words);
      expect(second).toMatchObject({ code: 1, stdout: '' });
      expect(second.stderr).toContain('ERR_LEASE_HELD');
      expect(second.stderr).toMatch(/step 1 by workflow_runner\.js/);
      expect(second.stderr).toMatch(/since .*until .*\d{4}-/);
    }
    expect((await done()).code).toBe(0);
    expect(effects()).toEqual([0, 1]);
  });

  test('of many resumes at the same instant exactly one goes on', async () => {
    // All of them begin at the first step's checkpoint, which is the oldest soon.
    writeJson(path.join(root, 'waymark.config.json'), { keepLast: 'all' });
    await steps(0);
    for (let round = 0; round < RACES; round += 1) {
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
    const { done } = await atWork(['--step', '0']);
    let held;
    while (held === undefined) {
      held = state().holder;
      await new Promise((go) => setTimeout(go, 10));
    }
    const second = await step(['--step', '0']);
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toContain('ERR_LEASE_HELD');
    expect((await done()).code).toBe(0);
    expect(state()).toMatchObject({ state: 'running', lastStep: 0 });
  });

  test('a step works under the lease of the process that started it', async () => {
    await steps(0);
    const lease = manager().leaseSync('demo', { holder: 'the supervisor' });
    const alone = await step(['--step', '1']);
    expect(alone).toMatchObject({ code: 1, stderr: expect.stringContaining('the supervisor') });
    expect(await step(['--step', '1'], lease.environment)).toMatchObject({ code: 0, stderr: '' });
    expect(lease.lost).toBe(false);
    expect(checkpointSteps()).toEqual([0, 1]);
    lease.releaseSync();
    const late = await step(['--step', '1.5'], lease.environment);
    expect(late).toMatchObject({ code: 1, stdout: '' });
    expect(late.stderr).toContain('ERR_LEASE_LOST');
    const wrong = await step(['--step', '1.5'], { WAYMARK_LEASE: 'demo', WAYMARK_STRICT: '1' });
    expect(wrong).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('it must be <run>=<token>'),
    });
  });

  test('what a step starts may change its run; others may not', async () => {
    await steps(0);
    const main = path.join(repo, 'cli', 'waymark.js');
    edit(
      '  registerArtifacts(job, inputs);',
      `  const { execFileSync } = await import('node:child_process');
  execFileSync(process.execPath, [${JSON.stringify(main)}, 'create', 'demo', '--step', 'half'], { stdio: ['ignore', 'ignore', 'inherit'] });
  registerArtifacts(job, inputs);`,
    );
    expect(await step(['--step', '1'])).toMatchObject({ code: 0, stderr: '' });
    expect(checkpointSteps()).toEqual([0, 'half', 1]);
    const { done } = await atWork(['--step', '1.5']);
    const other = await command(['create', 'demo', '--step', '9'], { cwd: root });
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_LEASE_HELD') });
    await done();
  });

  test('without leases, where steps of one run are meant to work side by side', async () => {
    await steps(0, 1);
    const env = { WAYMARK_LEASE: 'off' };
    const both = await Promise.all([step(['--step', '1.5'], env), step(['--step', '1.5'], env)]);
    expect(both.map((one) => one.code)).toEqual([0, 0]);
  });

  test('without leases a dead process of before is told of once', async () => {
    await steps(0);
    const { child, end } = await atWork(['--step', '1']);
    child.kill('SIGKILL');
    await end;
    const env = { WAYMARK_LEASE: 'off' };
    const resumed = await step(['--resume'], env);
    expect(resumed).toMatchObject({ code: 0, stderr: expect.stringContaining('was cut off') });
    expect(await step(['--step', '1.5'], env)).toMatchObject({ code: 0, stderr: '' });
    expect(state()).toMatchObject({ state: 'running', interruptions: 1, resumes: 1 });
  });

  test('an old holder that was frozen and taken over records nothing any more', async () => {
    await steps(0);
    const { child, done } = await atWork(['--step', '1']);
    child.kill('SIGSTOP');
    const file = path.join(dir, 'checkpoints', '.waymark', 'lease');
    expect(fs.existsSync(file)).toBe(true);
    // As if its time were over: the file goes, and with it the right.
    fs.unlinkSync(file);
    const lease = manager().leaseSync('demo', { holder: 'the next one' });
    child.kill('SIGCONT');
    const old = await done();
    expect(old.stderr).toMatch(/ERR_LEASE_(LOST|HELD)/);
    expect(old.stderr).toContain('was taken over by the next one');
    expect(checkpointSteps()).toEqual([0]);
    expect(lease.lost).toBe(false);
    lease.releaseSync();
  });
});

test('a record that is damaged costs its counts, and no checkpoint', async () => {
  await steps(0);
  const file = path.join(dir, 'checkpoints', '.waymark', 'records', 'run-state.json');
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').slice(0, -20));
  const done = await step(['--step', '1']);
  expect(done.code).toBe(0);
  expect(done.stderr).toContain('what is kept of the state of run demo begins anew');
  expect(checkpointSteps()).toEqual([0, 1]);
  expect(state()).toMatchObject({ state: 'running', lastStep: 1 });
});

test('a runner that resumes by itself is held, counted and paused like others', async () => {
  await steps(0);
  manager().pause('demo', { reason: 'look' });
  // It takes the flag for its own, and goes on with step 1.
  edit("flags.get('step')];", "flags.get('step') ?? (flags.has('resume') ? '1' : undefined)];");
  const env = { WAYMARK_REGISTER: 'checkpoint' };
  const held = manager().leaseSync('demo', { holder: 'me' });
  expect((await step(['--resume'], env)).stderr).toContain('ERR_LEASE_HELD');
  held.releaseSync();
  const done = await step(['--resume', '--pause-after', '1'], env);
  expect(done).toMatchObject({ code: 75, stdout: expect.stringContaining('step 1 done') });
  expect(state()).toMatchObject({ state: 'paused', lastStep: 1, pauses: 2, resumes: 1 });
});
