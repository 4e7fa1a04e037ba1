// The preload: a runner that knows no resume flag is killed and goes on, without a byte changed.
// The runner is the one of examples/, which knows nothing of Waymark.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { cutOffRestore } from './support/killed.mjs';
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
 * @param {Record<string, string>} [env]
 * @param {string} [runner]
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>}
 */
function step(words, env = {}, runner = RUNNER) {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--import', preload, runner, '--workflow', WORKFLOW, '--run-id', 'demo', ...words],
      { cwd: root, env: { ...process.env, STEP_LOG: log, ...env } },
      (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

/** Runs steps one after the other. @param {number[]} steps_ */
async function steps(...steps_) {
  for (const one of steps_) {
    expect(await step(['--step', String(one)])).toMatchObject({ code: 0, stderr: '' });
  }
}

/** The steps that ran, as the runner itself logged them. */
const effects = () =>
  fs
    .readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => Number(JSON.parse(line).step));

const manager = () => new waymark.CheckpointManager({ root });
const checkpointSteps = () =>
  manager()
    .listSync('demo')
    .map((one) => one.step)
    .reverse();

describe('a runner without resume flags', () => {
  test('a 5-step run: a checkpoint each, fractions included', async () => {
    const before = fs.readFileSync(path.join(root, RUNNER));
    await steps(0, 1, 1.5, 2, 3);
    expect(checkpointSteps()).toEqual([0, 1, 1.5, 2, 3]);
    expect(effects()).toEqual([0, 1, 1.5, 2, 3]);
    const [last] = manager().listSync('demo');
    const { checkpoint } = manager().showSync('demo', last.checkpointId);
    expect(checkpoint.step_state).toMatchObject({ step_name: expect.any(String) });
    expect(checkpoint.run_record).toEqual(readJson(path.join(dir, 'run.json')));
    expect(fs.readFileSync(path.join(root, RUNNER))).toEqual(before);
  });

  test('stops after a step, resumes with --resume --resume-step, goes on at the next with its state', async () => {
    await steps(0, 1, 1.5, 2);
    const state = fs.readFileSync(path.join(dir, 'state.json'), 'utf8');
    const registry = readJson(path.join(dir, 'artifact-registry.json'));
    await steps(3);
    // The state on the disk is now another one.
    expect(fs.readFileSync(path.join(dir, 'state.json'), 'utf8')).not.toBe(state);
    const resumed = await step(['--resume', '--resume-step', '2', '--dry-run']);
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.stderr).toContain('would restore');
    expect(effects()).toEqual([0, 1, 1.5, 2, 3]);

    const again = await step(['--resume', '--resume-step', '2']);
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('step 3 started') });
    expect(again.stderr).toMatch(/restored checkpoint-step-2-\d+ \(step 2\); going on with step 3/);
    expect(effects()).toEqual([0, 1, 1.5, 2, 3, 3]);
    const names = Object.keys(readJson(path.join(dir, 'artifact-registry.json')).artifacts);
    const made = Object.keys(registry.artifacts).filter((name) => !name.startsWith('checkpoint-'));
    expect(names).toEqual(expect.arrayContaining([...made, 'report.md']));
    expect(readJson(path.join(dir, 'run.json')).status).toBe('completed');
  });

  test('--resume-step 1.5 means 1.5, and 1 goes on with 1.5', async () => {
    await steps(0, 1, 1.5, 2);
    const half = await step(['--resume', '--resume-step', '1.5']);
    expect(half.stdout).toContain('step 2 started');
    const whole = await step(['--resume-step', '1']);
    expect(whole.stdout).toContain('step 1.5 started');
    expect(effects()).toEqual([0, 1, 1.5, 2, 2, 1.5]);
  });

  test('killed with -9 in the middle of a step, it goes on at that step', async () => {
    await steps(0, 1, 1.5);
    const child = spawn(
      process.execPath,
      ['--import', preload, RUNNER, '--workflow', WORKFLOW, '--run-id', 'demo', '--step', '2'],
      { cwd: root, env: { ...process.env, WORK_MS: '60000' }, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith('step 2 started')) child.kill('SIGKILL');
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');
    // As a crash of a non-atomic writer would leave it.
    fs.truncateSync(path.join(dir, 'artifact-registry.json'), 1000);
    const resumed = await step(['--resume']);
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining('step 2 done') });
    await steps(3);
    expect(effects()).toEqual([0, 1, 1.5, 2, 3]);
    expect(readJson(path.join(dir, 'run.json')).status).toBe('completed');
  });

  test('a step that works in a task is killed: what was recorded in it is not done again', async () => {
    await steps(0, 1, 1.5);
    const runner = path.join(root, '.claude', 'tools', 'tasks.mjs');
    const done = path.join(root, 'done');
    fs.writeFileSync(
      runner,
      `import fs from 'node:fs';
       import waymark from ${JSON.stringify(pathToFileURL(path.join(repo, 'index.js')).href)};
       const [done, dir] = ${JSON.stringify([done, dir])};
       await new waymark.CheckpointManager().task('demo', 'write', async (task) => {
         for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) {
           await task.step(name, () => {
             fs.appendFileSync(done, name);
             if (process.env.KILL_IN === name) process.kill(process.pid, 'SIGKILL');
           });
         }
       });
       fs.writeFileSync(dir + '/draft.txt', 'written');`,
    );
    await step(['--step', '2'], { KILL_IN: 'f' }, runner);
    // More of them than are kept: none of a step of the workflow is left.
    expect(checkpointSteps()).toEqual(['a', 'b', 'c', 'd', 'e']);
    const resumed = await step(['--resume'], {}, runner);
    expect(resumed.stderr).toMatch(
      /restored checkpoint-step-e-\d+ \(step 1.5\); going on with step 2/,
    );
    expect(resumed.code).toBe(0);
    expect(fs.readFileSync(done, 'utf8')).toBe('abcdeffg');
    expect(checkpointSteps().at(-1)).toBe(2);
    expect((await step(['--resume', '--dry-run'])).stderr).toContain('going on with step 3');
  });

  test('a guard of the same name as the step is no checkpoint after it', async () => {
    await steps(0, 1, 1.5);
    const runner = path.join(root, '.claude', 'tools', 'guards.mjs');
    fs.writeFileSync(
      runner,
      `import fs from 'node:fs';
       import waymark from ${JSON.stringify(pathToFileURL(path.join(repo, 'index.js')).href)};
       const manager = new waymark.CheckpointManager();
       const fails = process.env.FAILS !== undefined;
       await manager.guard('demo', 2, () => { if (fails) process.exit(1); });
       fs.writeFileSync(${JSON.stringify(path.join(dir, 'draft.txt'))}, 'written');`,
    );
    expect((await step(['--step', '2'], { FAILS: '1' }, runner)).code).toBe(1);
    // It is not done yet.
    expect((await step(['--resume', '--dry-run'], {}, runner)).stderr).toContain('with step 2');
    expect((await step(['--resume'], {}, runner)).code).toBe(0);
    expect((await step(['--resume', '--dry-run'], {}, runner)).stderr).toContain('with step 3');
  });

  test('a failed step leaves no checkpoint, and --resume repeats it', async () => {
    await steps(0, 1);
    const failed = await step(['--step', '1.5'], { FAIL_AT_STEP: '1.5' });
    expect(failed.code).toBe(1);
    expect(checkpointSteps()).toEqual([0, 1]);
    expect(readJson(path.join(dir, 'run.json')).status).toBe('failed');
    const resumed = await step(['--resume']);
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1.5 done') });
    expect(readJson(path.join(dir, 'run.json')).status).toBe('in_progress');
    expect(checkpointSteps()).toEqual([0, 1, 1.5]);
  });

  test('a damaged newest checkpoint is passed over, and said so', async () => {
    await steps(0, 1, 1.5);
    const [newest] = manager().listSync('demo');
    fs.truncateSync(newest.path, 300);
    const resumed = await step(['--resume']);
    expect(resumed.stderr).toContain(`passed over ${newest.checkpointId}: the file is truncated`);
    expect(resumed.stdout).toContain('step 1.5 done');
  });

  test('what can not be resumed is refused with the reason, and nothing starts', async () => {
    const none = await step(['--resume']);
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(/ERR_RUNS_DIR_NOT_FOUND/);
    await steps(0);
    const noStep = await step(['--resume', '--resume-step', '2']);
    expect(noStep).toMatchObject({ code: 1, stdout: '' });
    expect(noStep.stderr).toMatch(
      /Checkpoint not found: step 2 .*steps 0.*ERR_CHECKPOINT_NOT_FOUND/,
    );
    const bare = await step(['--resume-step', '--dry-run']);
    expect(bare).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_STEP_INVALID') });

    const record = fs.readFileSync(path.join(dir, 'run.json'), 'utf8');
    const workflow = path.join(root, WORKFLOW);
    const text = fs.readFileSync(workflow, 'utf8');
    for (const [broken, code] of [
      [text.replace('step: 0\n', 'step: 7\n'), 'ERR_WORKFLOW_STEP_MISSING'],
      ['steps: [', 'ERR_WORKFLOW_INVALID'],
      ['name: none', 'ERR_WORKFLOW_INVALID'],
    ]) {
      fs.writeFileSync(workflow, broken);
      const refused = await step(['--resume']);
      expect([refused.code, refused.stdout]).toEqual([1, '']);
      expect(refused.stderr).toContain(code);
    }
    fs.unlinkSync(workflow);
    expect((await step(['--resume'])).stderr).toContain('ERR_WORKFLOW_NOT_FOUND');
    expect(fs.readFileSync(path.join(dir, 'run.json'), 'utf8')).toBe(record);
    expect(effects()).toEqual([0]);
  });

  test('a finished run has nothing left to do', async () => {
    await steps(0, 1, 1.5, 2, 3);
    const done = await step(['--resume']);
    expect(done).toMatchObject({ code: 0, stdout: '' });
    expect(done.stderr).toContain('nothing is left to do');
    // It is through, and stays so.
    expect(readJson(path.join(dir, 'run.json')).status).toBe('completed');
  });

  test('steps that are skipped or wait leave no checkpoint', async () => {
    const workflow = path.join(root, WORKFLOW);
    const text = fs.readFileSync(workflow, 'utf8');
    await steps(0);
    fs.writeFileSync(workflow, text.replace('step: 1\n', 'step: 1\n    condition: false\n'));
    const skipped = await step(['--step', '1']);
    expect(skipped.code).toBe(0);
    expect(skipped.stderr).toContain('step 1 left no trace in run demo');
    fs.writeFileSync(workflow, text.replace('step: 1\n', 'step: 1\n    approval: true\n'));
    const waiting = await step(['--step', '1']);
    expect(waiting.code).toBe(0);
    expect(waiting.stderr).toContain('run demo is awaiting_approval after step 1: no checkpoint');
    expect(checkpointSteps()).toEqual([0]);
  });

  test('--dry-run changes nothing', async () => {
    await steps(0);
    await step(['--step', '1', '--dry-run']);
    expect(checkpointSteps()).toEqual([0]);
  });
});

describe('errors of checkpointing', () => {
  /** Makes the run's folder refuse checkpoints. */
  function spoil() {
    fs.rmSync(path.join(dir, 'checkpoints'), { recursive: true, force: true });
    fs.symlinkSync(temporary(), path.join(dir, 'checkpoints'));
  }

  test('never change the exit code', async () => {
    await steps(0);
    spoil();
    const done = await step(['--step', '1']);
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1 done') });
    expect(done.stderr).toMatch(
      /step 1 of run demo is done, but no checkpoint was taken: .*ERR_PATH_SYMLINK/,
    );
  });

  test('unless strict is set, by environment or configuration', async () => {
    await steps(0);
    spoil();
    expect((await step(['--step', '1'], { WAYMARK_STRICT: '1' })).code).toBe(1);
    writeJson(path.join(root, 'waymark.config.json'), { register: { strict: true } });
    expect((await step(['--step', '1'])).code).toBe(1);
  });

  test('a broken configuration is named, and does not stop a step', async () => {
    fs.writeFileSync(path.join(root, 'waymark.config.json'), '{');
    const done = await step(['--step', '0']);
    expect(done.code).toBe(0);
    expect(done.stderr).toContain('ERR_CONFIG_INVALID');
    writeJson(path.join(root, 'waymark.config.json'), { register: { resume: 'yes' } });
    expect((await step(['--step', '0'])).stderr).toContain('register.resume must be true or false');
    fs.unlinkSync(path.join(root, 'waymark.config.json'));
    const unknown = await step(['--step', '0'], { WAYMARK_REGISTER: 'on' });
    expect(unknown.stderr).toContain('ERR_OPTION_INVALID');
  });
});

describe('a runner that knows the flags itself', () => {
  const own = path.join('.claude', 'tools', 'own_runner.mjs');
  beforeEach(() => {
    // Shows the arguments it gets; takes its own checkpoint, as newer runners do.
    fs.writeFileSync(
      path.join(root, own),
      `import fs from 'node:fs';
       import { createCheckpoint } from ${JSON.stringify(path.join(repo, 'index.mjs'))};
       console.log(JSON.stringify(process.argv.slice(2)));
       const file = ${JSON.stringify(path.join('.claude', 'context', 'runs', 'demo', 'run.json'))};
       const record = JSON.parse(fs.readFileSync(file, 'utf8'));
       fs.writeFileSync(file, JSON.stringify({ ...record, touched: Date.now() }, null, 2));
       if (process.env.OWN) await createCheckpoint('demo', 1, { own: true });`,
    );
  });

  test('is left alone by an option', async () => {
    await steps(0);
    for (const [env, config] of /** @type {[Record<string, string>, object][]} */ ([
      [{ WAYMARK_REGISTER: 'off' }, {}],
      [{ WAYMARK_REGISTER: 'checkpoint' }, {}],
      [{}, { register: { resume: false, checkpoint: false } }],
    ])) {
      writeJson(path.join(root, 'waymark.config.json'), config);
      const left = await step(['--resume'], env, own);
      expect(JSON.parse(left.stdout)).toContain('--resume');
      expect(left.stderr).toBe('');
    }
  });

  test("gets the next step, and its own checkpoint isn't taken twice", async () => {
    await steps(0);
    const resumed = await step(['--resume'], { OWN: '1' }, own);
    const words = JSON.parse(resumed.stdout);
    expect(words).not.toContain('--resume');
    expect(words.slice(-2)).toEqual(['--step', '1']);
    expect(checkpointSteps()).toEqual([0, 1]);
    const [newest] = manager().listSync('demo');
    expect(manager().showSync('demo', newest.checkpointId).checkpoint.step_state).toEqual({
      own: true,
    });
  });
});

describe('runners of other habits', () => {
  const own = path.join('.claude', 'tools', 'own_runner.mjs');
  const change = `
    import fs from 'node:fs';
    const file = ${JSON.stringify(path.join('.claude', 'context', 'runs', 'demo', 'run.json'))};
    const record = JSON.parse(fs.readFileSync(file, 'utf8'));
    fs.writeFileSync(file, JSON.stringify({ ...record, touched: process.hrtime.bigint().toString() }));
  `;
  /** @param {string} body */
  const write = (body) => fs.writeFileSync(path.join(root, own), change + body);

  test.each([
    ["process.on('exit', () => { process.exitCode = 1; });", 1],
    ["process.on('exit', () => process.exit(1)); process.exit(0);", 1],
    ["process.on('exit', () => process.exit(3));", 3],
    ["throw new Error('no');", 1],
    ["await Promise.reject(new Error('no'));", 1],
    ['process.exit(42);', 42],
  ])('a step that ends badly, however late, leaves no checkpoint: %s', async (body, code) => {
    await steps(0);
    write(body);
    expect((await step(['--step', '1'], {}, own)).code).toBe(code);
    expect(checkpointSteps()).toEqual([0]);
  });

  test.each([
    ["process.on('exit', () => process.exit(0)); process.exit(0);"],
    ["process.exit('0');"],
    ['process.exitCode = 0;'],
    ['setTimeout(() => process.exit(), 1);'],
  ])('one that ends well leaves one: %s', async (body) => {
    await steps(0);
    write(body);
    expect((await step(['--step', '1'], {}, own)).code).toBe(0);
    expect(checkpointSteps()).toEqual([0, 1]);
  });

  test('strict changes the exit code, however the runner exits', async () => {
    await steps(0);
    const folder = path.join(dir, 'checkpoints');
    for (const body of ['', 'process.exit(0);', "process.on('exit', () => process.exit(0));"]) {
      write(`
        fs.rmSync(${JSON.stringify(folder)}, { recursive: true });
        fs.writeFileSync(${JSON.stringify(folder)}, '');
        ${body}`);
      fs.rmSync(folder, { recursive: true, force: true });
      fs.mkdirSync(folder);
      expect((await step(['--step', '1'], { WAYMARK_STRICT: '1' }, own)).code).toBe(1);
    }
  });

  test('a child process with the same flags is no step of its own', async () => {
    await steps(0);
    write(`
      import { fork } from 'node:child_process';
      import { once } from 'node:events';
      if (process.env.CHILD) process.exit(0);
      const child = fork(process.argv[1], process.argv.slice(2), {
        env: { ...process.env, CHILD: '1' },
        cwd: '/',
      });
      await once(child, 'exit');
      process.exit(1);`);
    // The child reads the same file, by its absolute path.
    const text = fs.readFileSync(path.join(root, own), 'utf8');
    fs.writeFileSync(path.join(root, own), text.replace('".claude', `"${root}/.claude`));
    const failed = await step(['--step', '1'], {}, own);
    expect(failed).toMatchObject({ code: 1, stderr: '' });
    expect(checkpointSteps()).toEqual([0]);
  });

  test('a runner that knows no fractions takes its own: ours names the right step', async () => {
    await steps(0, 1);
    write(`
      import { createCheckpoint } from ${JSON.stringify(path.join(repo, 'index.mjs'))};
      await createCheckpoint('demo', 1);`);
    expect((await step(['--step', '1.5'], {}, own)).code).toBe(0);
    expect(checkpointSteps()).toEqual([0, 1, 1, 1.5]);
    expect((await step(['--resume', '--dry-run'], {}, own)).stderr).toContain(
      'going on with step 2',
    );
  });

  test('a damaged journal does not block a resume', async () => {
    await steps(0, 1);
    fs.writeFileSync(path.join(dir, 'checkpoints', '.waymark', 'restore.journal'), '{');
    const resumed = await step(['--resume']);
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1.5 done') });
  });

  test('what the environment settles, a broken configuration can not spoil', async () => {
    await steps(0);
    fs.writeFileSync(path.join(root, 'waymark.config.json'), '{');
    write('console.log(JSON.stringify(process.argv.slice(2)));');
    for (const words of [['--step', '1'], ['--resume']]) {
      const left = await step(words, { WAYMARK_REGISTER: 'off', WAYMARK_STRICT: '' }, own);
      expect(left).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(left.stdout)).toEqual(expect.arrayContaining(words));
    }
    expect((await step(['--step', '1'], { WAYMARK_STRICT: '0' }, own)).code).toBe(0);
    expect((await step(['--resume'], { WAYMARK_REGISTER: 'checkpoint' }, own)).code).toBe(0);
    writeJson(path.join(root, 'waymark.config.json'), { register: null });
    expect((await step(['--step', '1'], {}, own)).stderr).not.toContain('Cannot read');
  });
});

test('other processes are not touched', async () => {
  /** @param {string[]} words */
  const seen = (words) =>
    new Promise((resolve) => {
      const script = 'console.log(process.listenerCount("exit"), process.argv.length)';
      execFile(process.execPath, [...words, '-e', script, '--', '--step', '3'], (...all) =>
        resolve(all),
      );
    });
  // Node itself listens once where any module is imported so.
  const nothing = await seen(['--import', 'data:text/javascript,']);
  expect(await seen(['--import', preload])).toEqual(nothing);
});

test('a worker thread of a step is no step', async () => {
  const own = path.join(root, 'threads.cjs');
  fs.writeFileSync(
    own,
    `const { isMainThread, Worker } = require('node:worker_threads');
     const { WAYMARK_ATTACHED: _, ...env } = process.env;
     if (isMainThread) new Worker(__filename, { argv: process.argv.slice(2), env });
     else process.stdout.write(process.execArgv.length + ' ' + process.argv.slice(2).join(' '));
     if (isMainThread) require('node:fs').writeFileSync(${JSON.stringify(path.join(dir, 'left.txt'))}, 'left');`,
  );
  await steps(0);
  const done = await step(['--step', '1'], {}, own);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  // The preload is put before it, too, and it has the same words.
  expect(done.stdout).toMatch(/^2 .*--step 1/);
  expect(manager().listSync('demo')).toHaveLength(2);
});

test('what only a checkpoint needs is not loaded when a runner starts', () => {
  const script = `
    require(${JSON.stringify(path.join(repo, 'lib', 'preload.js'))});
    const names = Object.keys(require.cache).map((file) => require('node:path').basename(file));
    process.stdout.write(names.join(' '));`;
  const loaded = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).split(' ');
  expect(loaded).toContain('preload.js');
  expect(loaded).not.toContain('capture.js');
  expect(loaded).not.toContain('native.node');
});

test('no slow library is loaded before the first line of a step that is resumed', async () => {
  await steps(0, 1);
  const first = path.join(root, 'first.cjs');
  fs.writeFileSync(
    first,
    `const files = Object.keys(require.cache).filter((file) => file.includes('/node_modules/'));
     const crypto = process.moduleLoadList.filter((name) => name === 'NativeModule crypto');
     process.stdout.write([...files, ...crypto].join(' ') + '|' + process.argv.slice(-2).join(' '));`,
  );
  const { stdout } = await step(['--resume'], {}, first);
  expect(stdout).toBe('|--step 1.5');
});

test('the workflow file is parsed once, not by each step; by its hash it is known again', async () => {
  const own = path.join(root, 'parses.cjs');
  const told = path.join(root, 'parsed.txt');
  fs.writeFileSync(
    own,
    `const fs = require('node:fs');
     const Module = require('node:module');
     const { _load } = Module;
     Module._load = (name, ...rest) => {
       if (name === 'yaml') fs.appendFileSync(${JSON.stringify(told)}, 'x');
       return _load(name, ...rest);
     };
     require(${JSON.stringify(path.join(root, RUNNER))});`,
  );
  /** @param {string} words */
  const loads = async (words) => {
    fs.writeFileSync(told, '');
    const done = await step(words.split(' '), {}, own);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    return fs.readFileSync(told, 'utf8');
  };
  const record = () =>
    /** @type {any} */ (manager().records(null).readSync('workflow-steps')?.value);
  const at = async () => {
    const [{ progress, lastStep }] = await manager().runs();
    return { progress, lastStep };
  };
  await step(['--step', '0']);
  expect(record().files).toHaveLength(1);
  expect(await loads('--step 1')).toBe('');
  expect(await at()).toEqual({ progress: { done: 2, total: 5 }, lastStep: 1 });
  // Another file is another order.
  const flow = path.join(root, WORKFLOW);
  fs.appendFileSync(
    flow,
    '\n  - step: 9\n    name: Check\n    agent: editor\n    outputs: [checked.md]\n',
  );
  expect(await loads('--step 1.5')).toBe('x');
  expect(await at()).toEqual({ progress: { done: 3, total: 6 }, lastStep: 1.5 });
  expect(record().files).toHaveLength(2);
  // What is kept is worth no more than what it saves.
  const kept = path.join(root, '.waymark', 'records', 'workflow-steps.json');
  fs.writeFileSync(kept, '{ "cut');
  expect(await loads('--step 2')).toBe('x');
  expect(await at()).toEqual({ progress: { done: 4, total: 6 }, lastStep: 2 });
  expect(await loads('--step 3')).toBe('');
  const [{ checkpointId }] = manager().listSync('demo');
  const { checkpoint } = manager().showSync('demo', checkpointId);
  expect(checkpoint.step_state).toMatchObject({ agent: 'editor', artifacts: ['report.md'] });
});

describe('a restore that was cut off', () => {
  const MANY = Array.from({ length: 300 }, (_, n) => `artifacts/many/${n}.txt`);
  /** @param {string} text */
  const fill = (text) => {
    fs.mkdirSync(path.join(dir, 'artifacts', 'many'), { recursive: true });
    for (const name of MANY) fs.writeFileSync(path.join(dir, name), text);
  };
  const texts = () => new Set(MANY.map((name) => fs.readFileSync(path.join(dir, name), 'utf8')));

  /** Kills a restore to step 0 right after its decision; gives the `run.json` from before. */
  async function cutOff() {
    fill('first');
    await steps(0);
    fill('second');
    await steps(1);
    const before = fs.readFileSync(path.join(dir, 'run.json'), 'utf8');
    const [one, zero] = manager().listSync('demo');
    await cutOffRestore(path.dirname(dir), 'demo', zero.checkpointId, one.checkpointId);
    return before;
  }

  test('is finished before the runner reads the run', async () => {
    await cutOff();
    const done = await step(['--step', '1']);
    expect(done.stderr).toContain('a restore of run demo had been cut off and was finished');
    expect(done.code).toBe(0);
    expect(texts()).toEqual(new Set(['first']));
  });

  test('does not overwrite what a runner wrote since', async () => {
    await cutOff();
    // The runner would wait until the lock of the killed process is stale.
    fs.rmSync(path.join(dir, 'run.json.lock'), { force: true });
    // A runner that was started without the preload, at a step whose inputs the restore leaves alone.
    const bare = await new Promise((resolve) => {
      const words = [RUNNER, '--workflow', WORKFLOW, '--run-id', 'demo', '--step', '1'];
      execFile(process.execPath, words, { cwd: root }, (error) => resolve(error));
    });
    expect(bare).toBe(null);
    const record = readJson(path.join(dir, 'run.json'));
    expect(record.current_step).toBe(1);
    const made = manager().createSync('demo', 1);
    expect(readJson(path.join(dir, 'run.json'))).toEqual(record);
    expect(made.checkpoint.run_record).toEqual(record);
  });

  test('and is being undone puts the old files back, but not over what was written since', async () => {
    const old = JSON.parse(await cutOff());
    const own = path.join(dir, 'checkpoints', '.waymark');
    const runFile = path.join(dir, 'run.json');
    // Decided to be undone, then cut off again.
    fs.renameSync(path.join(own, 'restore.journal'), path.join(own, 'restore.undo'));
    const again = path.join(temporary(), 'copy');
    fs.cpSync(dir, again, { recursive: true });
    expect(manager().recoverSync('demo')).toBe('undone');
    expect(readJson(runFile).current_step).toBe(old.current_step);
    expect(texts()).toEqual(new Set(['second']));

    fs.rmSync(dir, { recursive: true });
    fs.cpSync(again, dir, { recursive: true });
    const newer = JSON.stringify({ ...old, newer: true }, null, 2);
    fs.writeFileSync(runFile, newer);
    expect(manager().recoverSync('demo')).toBe('undone');
    expect(fs.readFileSync(runFile, 'utf8')).toBe(newer);
    expect(fs.readdirSync(own).filter((name) => /^(staged|restore\.)/.test(name))).toEqual([]);
  });

  test("leaves no lock behind that the runner's client would wait for", async () => {
    await steps(0, 1);
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'exit');
    writeJson(path.join(dir, 'run.json.lock'), { pid: child.pid, timestamp: '' });
    manager().recoverSync('demo');
    expect(fs.existsSync(path.join(dir, 'run.json.lock'))).toBe(false);
  });
});
