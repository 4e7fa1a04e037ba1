// The supervisor: a runner that knows one step per process is driven through all of them. The runner is the one of
// examples/, which knows nothing of Waymark.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from '@jest/globals';
import command from '../lib/supervisor/command.js';
import plan from '../lib/supervisor/plan.js';
import { waymark as cli, ended } from './support/cli.mjs';
import { readJson, removeAll } from './support/project.mjs';
import { RUNNER, STEPS, startRun, supervisedProject, WORKFLOW } from './support/supervised.mjs';

afterAll(removeAll);

/**
 * @param {ReturnType<typeof supervisedProject>} project
 * @param {Parameters<typeof startRun>[1]} [options]
 * @param {Parameters<typeof startRun>[2]} [how]
 */
const run = (project, options, how) => ended(startRun(project, options, how));
const QUICK = ['--retry-delay', '1ms'];

/** @param {string} root @param {object[]} steps @param {string} [name] */
function workflow(root, steps, name = 'own.yaml') {
  fs.writeFileSync(path.join(root, name), JSON.stringify({ id: 'own', name: 'own', steps }));
  return name;
}

/**
 * A runner of our own, as a script: what it does is told by a function of the step.
 * @param {ReturnType<typeof supervisedProject>} project
 * @param {string} body may use step, runId, attempt, worker, runDir, fs, path
 */
function runner({ root }, body) {
  const file = path.join(root, 'runner.cjs');
  fs.writeFileSync(
    file,
    `const fs = require('node:fs'), path = require('node:path');
     const word = (name) => process.argv[process.argv.indexOf('--' + name) + 1];
     const step = Number(word('step')), runId = word('run-id');
     const attempt = Number(process.env.WAYMARK_ATTEMPT), worker = process.env.WAYMARK_WORKER;
     const runDir = path.join('.claude', 'context', 'runs', runId);
     fs.mkdirSync(path.join(runDir, 'artifacts'), { recursive: true });
     const record = path.join(runDir, 'run.json');
     const change = (members) => {
       const now = fs.existsSync(record) ? JSON.parse(fs.readFileSync(record, 'utf8')) : { run_id: runId, workflow_id: 'own', status: 'in_progress' };
       fs.writeFileSync(record + '.' + process.pid, JSON.stringify({ ...now, ...members }, null, 2));
       fs.renameSync(record + '.' + process.pid, record);
     };
     const done = () => {
       fs.appendFileSync(process.env.STEP_LOG, JSON.stringify({ step, worker, runId }) + '\\n');
       change({ current_step: step, updated_at: new Date().toISOString() });
     };
     ${body}`,
  );
  return [process.execPath, file];
}

describe('the plan', () => {
  const one = (
    /** @type {any} */ step,
    /** @type {string | undefined} */ parallel = undefined,
  ) => ({
    step,
    outputs: [],
    group: parallel,
  });
  const steps = [one(0), one(1, 'p'), one(1.5, 'p'), one(1.7, 'p'), one(2)];
  const row = (/** @type {any} */ step, /** @type {number} */ sequence) => ({
    step,
    sequence,
    checkpointId: `c${sequence}`,
  });
  const left = (/** @type {any[]} */ rows, /** @type {any[]} */ noted = []) => {
    const done = plan.doneSteps('w', /** @type {any} */ (steps), rows[0], rows, noted);
    return plan.nextSteps(/** @type {any} */ (steps), done).map((each) => each.step);
  };

  test('goes by the order of the file; steps side by side are done one by one', () => {
    expect(left([])).toEqual([0]);
    expect(left([row(0, 1)])).toEqual([1, 1.5, 1.7]);
    expect(left([row(1.7, 3), row(1, 2), row(0, 1)])).toEqual([1.5]);
    expect(left([row(2, 5), row(1.5, 4), row(1.7, 3), row(1, 2), row(0, 1)])).toEqual([]);
  });

  test('checkpoints of an earlier round of the same steps do not count', () => {
    const rows = [row(1, 7), row(0, 6), row(2, 5), row(1.5, 4), row(1.7, 3), row(1, 2), row(0, 1)];
    expect(left(rows)).toEqual([1.5, 1.7]);
  });

  test('what left no checkpoint counts where it was noted after the newest', () => {
    const noted = [{ step: 1.5, how: 'skipped', checkpointId: 'c1' }];
    expect(left([row(0, 1)], noted)).toEqual([1, 1.7]);
    expect(left([row(0, 1)], [{ ...noted[0], checkpointId: 'c0' }])).toEqual([1, 1.5, 1.7]);
    expect(left([], [{ step: 0, how: 'decided', checkpointId: null }])).toEqual([1, 1.5, 1.7]);
    // What comes behind an open step is open.
    expect(left([row(0, 1)], [{ step: 2, how: 'skipped', checkpointId: 'c1' }])).toEqual([
      1, 1.5, 1.7,
    ]);
  });

  test('a step is not begun beside one that it waits for', () => {
    const waiting = { ...one(1.5, 'p'), after: [1] };
    const all = [one(0), one(1, 'p'), waiting, one(1.7, 'p'), one(2)];
    const groups = plan.groupsOf(all).map((group) => group.steps.map(({ step }) => step));
    expect(groups).toEqual([[0], [1], [1.5, 1.7], [2]]);
  });

  test('a step that waits for a later one can not be done in the order of the file', () => {
    const waiting = (/** @type {any} */ step, /** @type {any[]} */ ...steps) => ({
      ...one(step),
      after: steps,
    });
    expect(() =>
      plan.checkOrder('w', [one(0), waiting(1, 0, 'elsewhere'), waiting(2)]),
    ).not.toThrow();
    expect(() => plan.checkOrder('w', [one(0), waiting(1, 0, 2), one(2)])).toThrow(
      expect.objectContaining({
        code: 'ERR_WORKFLOW_INVALID',
        message: expect.stringContaining('put step 2 before step 1'),
      }),
    );
  });

  test('a checkpoint of a step that the file does not list', () => {
    expect(() => left([row(7, 1)])).toThrow(
      expect.objectContaining({
        code: 'ERR_WORKFLOW_STEP_MISSING',
        message: expect.stringContaining('go on after another one (--resume-step), or give'),
      }),
    );
  });
});

describe('the command of a step', () => {
  const { commandFor } = command;
  test('takes what is missing, and what is marked', () => {
    expect(commandFor(['node', 'r.js'], 1.5, 'r', 'w.yaml')).toEqual([
      'node',
      'r.js',
      '--workflow',
      'w.yaml',
      '--step',
      '1.5',
      '--run-id',
      'r',
    ]);
    expect(
      commandFor(
        ['node', 'r.js', '--workflow', 'o.yaml', '--step', '9', '--resume'],
        2,
        'r',
        'w.yaml',
      ),
    ).toEqual(['node', 'r.js', '--workflow', 'o.yaml', '--step', '2', '--run-id', 'r']);
    expect(commandFor(['make', 'run-{step}', 'RUN={run}', 'W={workflow}'], 2, 'r', 'w')).toEqual([
      'make',
      'run-2',
      'RUN=r',
      'W=w',
    ]);
  });
});

describe('a run', () => {
  test("all steps in the order of the file, a checkpoint after each; stdout is the runner's", async () => {
    const project = supervisedProject();
    const report = path.join(project.root, 'report.json');
    const { code, stdout, stderr } = await run(project, ['--report', report]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual(STEPS);
    expect(project.checkpointSteps()).toEqual(STEPS);
    expect(project.record()).toMatchObject({ status: 'completed', current_step: 3 });
    expect(
      stdout
        .trim()
        .split('\n')
        .every((line) => line.startsWith('step ')),
    ).toBe(true);
    for (const [at, step] of STEPS.entries()) {
      expect(stderr).toContain(`[${at + 1}/5] step ${step} `);
      expect(stderr).toContain(`step ${step} done in`);
    }
    const told = readJson(report);
    expect(told).toMatchObject({ outcome: 'completed', exitCode: 0, starts: 1, failures: [] });
    expect(
      told.steps.map((/** @type {any} */ one) => [one.step, one.status, one.attempts]),
    ).toEqual(STEPS.map((step) => [step, 'done', 1]));
    expect(project.manager.runState('demo')).toMatchObject({ state: 'completed' });
  });

  test('begun once more it is refused; with --resume there is nothing left', async () => {
    const project = supervisedProject();
    await run(project);
    const again = await run(project);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_RUN_STARTED') });
    const resumed = await run(project, ['--resume']);
    expect(resumed).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('nothing is left to do'),
    });
    expect(project.effects()).toEqual(STEPS);
  });

  test('--resume-step goes on behind it, also a fractional one', async () => {
    const project = supervisedProject();
    await run(project);
    const { code, stderr } = await run(project, ['--resume-step', '1.5']);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual([...STEPS, 2, 3]);
    const missing = await run(project, ['--resume-step', '1.7']);
    expect(missing).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_WORKFLOW_STEP_MISSING'),
    });
  });

  test('where no runs are known yet, the first step shows', async () => {
    const project = supervisedProject();
    fs.rmSync(path.join(project.root, '.claude', 'context'), { recursive: true });
    const { code } = await run(project);
    expect(code).toBe(0);
    expect(project.effects()).toEqual(STEPS);
  });

  test('a condition that is false leaves no checkpoint, and the run goes on', async () => {
    const project = supervisedProject();
    const file = workflow(
      project.root,
      STEPS.map((step) => ({ step, name: `s${step}` })),
    );
    const script = runner(project, `if (step !== 1) done();`);
    const { code, stderr } = await run(project, [], { workflow: file, command: script });
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('step 1 passed over'),
    });
    expect(project.checkpointSteps()).toEqual([0, 1.5, 2, 3]);
  });

  test('a command that is no Node: the supervisor takes the checkpoints', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [{ step: 0 }, { step: 1.5 }]);
    const dir = '.claude/context/runs/{run}';
    const script = `mkdir -p ${dir}; echo '{"run_id":"{run}","workflow_id":"own","status":"in_progress"}' > ${dir}/run.json; echo {step} >> done.txt`;
    const { code, stderr } = await run(project, [], {
      workflow: file,
      command: ['sh', '-c', script],
    });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(project.checkpointSteps()).toEqual([0, 1.5]);
    expect(fs.readFileSync(path.join(project.root, 'done.txt'), 'utf8')).toBe('0\n1.5\n');
  });

  test('steps that the workflow calls parallel are at work at the same time', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [
      { step: 0 },
      { step: 1, parallel: 'a' },
      { step: 1.5, parallel: 'a' },
      { step: 2 },
    ]);
    // Each waits for the other: one after the other would never end.
    const script = runner(
      project,
      `fs.writeFileSync('at-' + step, '');
       const other = step === 1 ? 1.5 : 1;
       const look = () => (step === 0 || step === 2 || fs.existsSync('at-' + other) ? done() : setTimeout(look, 5));
       look();`,
    );
    const { code, stderr } = await run(project, ['--jobs', '2', '--step-timeout', '60s'], {
      workflow: file,
      command: script,
    });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(project.effects().toSorted()).toEqual([0, 1, 1.5, 2]);
    expect(project.effects().at(-1)).toBe(2);
    expect(project.checkpointSteps().toSorted()).toEqual([0, 1, 1.5, 2]);
  });

  test('a run that was begun by hand is refused without --resume, and its steps are not done again with it', async () => {
    const project = supervisedProject();
    const words = ['--workflow', WORKFLOW, '--run-id', 'demo', '--step', '0'];
    const env = { ...process.env, STEP_LOG: project.log };
    execFileSync(process.execPath, [RUNNER, ...words], { cwd: project.root, env });
    const refused = await run(project);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_RUN_STARTED') });
    project.manager.createSync('demo', 0);
    expect(await run(project, ['--resume'])).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual(STEPS);
  });

  test('a shell that starts two processes of the step', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [{ step: 0 }, { step: 1 }]);
    const [node, script] = runner(project, 'done();');
    const one = `${node} ${script} --run-id {run} --step {step}`;
    const how = { workflow: file, command: ['sh', '-c', `${one} && ${one}`] };
    const { code, stderr } = await run(project, [], how);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual([0, 0, 1, 1]);
    expect(await run(project, ['--resume'], how)).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual([0, 0, 1, 1]);
  });

  test('what the command line gets wrong', async () => {
    const project = supervisedProject();
    expect(
      await cli(['run', '--run-id', 'demo', '--workflow', WORKFLOW], { cwd: project.root }),
    ).toMatchObject({ code: 1, stderr: expect.stringContaining('the command is missing') });
    expect(await run(project, ['--resume', '--resume-step', '1'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('only one of'),
    });
    expect(await run(project, [], { command: ['node', 'x', '--dry-run'] })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--dry-run'),
    });
    expect(await run(project, ['--orphans', 'kill'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_OPTION_INVALID'),
    });
    expect(await run(project, ['--step-timeout', '5'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('a length of time'),
    });
    expect(await run(project, ['--report', path.join('none', 'r.md')])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there is no such folder'),
    });
    for (const [flag, what] of [
      ['--pause-after', 'paused'],
      ['--resume-step', 'resumed'],
    ]) {
      expect(await run(project, [flag, '9'])).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(
          new RegExp(
            `does not list step 9, after which the run is to be ${what} \\(it lists 0, .*\\); nothing was started .ERR_WORKFLOW_STEP_MISSING`,
          ),
        ),
      });
    }
    expect(await run(project, [], { workflow: 'none.yaml' })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_WORKFLOW_NOT_FOUND'),
    });
    const file = workflow(project.root, [
      { step: 0, depends_on: [1] },
      { step: 1, depends_on: [] },
    ]);
    expect(await run(project, [], { workflow: file })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /step 0 waits for step 1, which stands behind it.*ERR_WORKFLOW_INVALID/,
      ),
    });
    fs.writeFileSync(path.join(project.root, 'broken.yaml'), 'steps: [');
    expect(await run(project, [], { workflow: 'broken.yaml' })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_WORKFLOW_INVALID'),
    });
    expect(project.effects()).toEqual([]);
  });
});

describe('a step that fails', () => {
  const twoSteps = [{ step: 0 }, { step: 1.5 }];

  test('is repeated from the state before it', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, twoSteps);
    const script = runner(
      project,
      `const state = path.join(runDir, 'state.json');
       if (step === 0) fs.writeFileSync(state, 'first');
       else fs.appendFileSync(state, ' more');
       if (step === 1.5 && attempt < 3) { console.error('Error: read ECONNRESET'); process.exit(1); }
       done();`,
    );
    const { code, stderr } = await run(project, ['--retries', '2', ...QUICK], {
      workflow: file,
      command: script,
    });
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('retry helped'),
    });
    expect(project.effects()).toEqual([0, 1.5]);
    const failures = await project.manager.recovery('demo').failures();
    expect(
      failures.map((one) => [one.step, one.class, one.attempt, one.recovery?.strategy]),
    ).toEqual([
      [1.5, 'network', 1, 'retry'],
      [1.5, 'network', 2, 'retry'],
    ]);
    expect(failures[0].context.checkpointId).toMatch(/^checkpoint-step-0-/);
    const listed = await cli(['failures', 'demo'], { cwd: project.root });
    expect(listed).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('retry: helped 1 of 1 times'),
    });
    // What the attempts before left behind was put away.
    expect(fs.readFileSync(path.join(project.dir, 'state.json'), 'utf8')).toBe('first more');
  });

  test('that dies by a signal, or takes too long, or shows no life', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [{ step: 0 }, { step: 1 }, { step: 2, timeout: '4s' }]);
    project.configure({
      rules: [{ name: 'quick', do: [{ retry: { limit: 1, delayMs: 1 } }, { fail: {} }] }],
      graceMs: 200,
    });
    const script = runner(
      project,
      `if (attempt > 1) done();
       else if (step === 0) process.kill(process.pid, 'SIGSEGV');
       else if (step === 1) throw new RangeError('too far');
       else { process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); }`,
    );
    const { code, stderr } = await run(project, [], { workflow: file, command: script });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const failures = await project.manager.recovery('demo').failures();
    expect(failures.map((one) => [one.step, one.class, one.kind])).toEqual([
      [0, 'crash', 'signal'],
      [1, 'error', 'exit'],
      [2, 'timeout', 'time_limit'],
    ]);
    expect(failures[1].error).toMatchObject({ name: 'RangeError', message: 'too far' });
  });

  test('that is ended because its time is over does not pause the run, whatever SIGTERM means to it', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [{ step: 0 }, { step: 1 }]);
    const command = runner(
      project,
      'if (step === 1 && attempt === 1) { change({}); setTimeout(() => {}, 600_000); } else done();',
    );
    const env = { WAYMARK_PAUSE_ON_SIGTERM: '1' };
    project.configure({ graceMs: 300 });
    const options = ['--step-timeout', '1500ms', '--retries', '1', ...QUICK];
    const { code, stderr } = await run(project, options, { workflow: file, command, env });
    expect(stderr).toContain('SIGTERM: run demo is paused when step 1 is done');
    expect({ code, effects: project.effects() }).toEqual({ code: 0, effects: [0, 1] });
  });

  test('that hangs with a blocked event loop is stalled; one that is only slow is not', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, twoSteps);
    project.configure({
      rules: [{ name: 'quick', do: [{ retry: { limit: 1, delayMs: 1 } }, { fail: {} }] }],
      graceMs: 100,
    });
    const script = runner(
      project,
      `if (step === 0) setTimeout(done, 2500);
       else if (attempt > 1) done();
       else for (;;);`,
    );
    const { code, stderr } = await run(project, ['--stall-timeout', '1s'], {
      workflow: file,
      command: script,
    });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const failures = await project.manager.recovery('demo').failures();
    expect(failures.map((one) => [one.step, one.class])).toEqual([[1.5, 'stalled']]);
  });

  test('goes to another worker, by the rules of the configuration', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, twoSteps);
    project.configure({
      rules: [
        { name: 'small', when: { class: ['memory'] }, do: [{ reassign: { to: ['large'] } }] },
      ],
      workers: { large: { env: { SIZE: 'large' } } },
    });
    const script = runner(
      project,
      `if (step === 1.5 && process.env.SIZE !== 'large') process.exit(42);
       done();`,
    );
    const { code } = await run(project, [], { workflow: file, command: script });
    expect(code).toBe(0);
    const [failure] = await project.manager.recovery('demo').failures();
    expect(failure).toMatchObject({
      class: 'memory',
      recovery: { success: true, strategy: 'reassign' },
    });
  });

  test('is done in parts by the splitter, and the parts are linked', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, twoSteps);
    fs.writeFileSync(
      path.join(project.root, 'split.mjs'),
      `import fs from 'node:fs';
       export const split = () => ['a', 'b'].map((name) => ({ name, env: { PART: name } }));
       export const merge = ({ runId, parts }) => fs.writeFileSync('.claude/context/runs/' + runId + '/artifacts/all.txt', parts.map((one) => one.run).join());`,
    );
    project.configure({
      rules: [{ name: 'split', do: [{ decompose: {} }, { fail: {} }] }],
      splitter: './split.mjs',
    });
    const script = runner(
      project,
      `if (step === 1.5 && !process.env.PART) process.exit(42); done();`,
    );
    const { code, stderr } = await run(project, [], { workflow: file, command: script });
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('part a') });
    const [last] = project.manager.listSync('demo');
    expect(last.step).toBe(1.5);
    const { subtasks } = /** @type {any} */ (
      project.manager.showSync('demo', last.checkpointId).checkpoint
    ).facts;
    expect(subtasks).toHaveLength(2);
    expect(fs.readFileSync(path.join(project.dir, 'artifacts', 'all.txt'), 'utf8')).toBe(
      subtasks.map((/** @type {any} */ one) => one.run).join(),
    );
  });

  test('is put before a person, who decides by the command', async () => {
    const project = supervisedProject();
    const first = await run(project, ['--retries', '0'], { env: { FAIL_AT_STEP: '1.5' } });
    expect(first).toMatchObject({
      code: 75,
      stderr: expect.stringContaining('waymark decide demo'),
    });
    expect(project.effects()).toEqual([0, 1, 1.5]);
    const shown = await cli(['failures', 'demo'], { cwd: project.root });
    expect(shown.stdout).toContain('waits for a decision');
    // An answer that can't be read hides neither the question nor the failures.
    const answer = path.join(project.dir, 'checkpoints', 'recovery', 'decision.json');
    fs.writeFileSync(answer, '{ "decisio');
    const still = await run(project, ['--resume']);
    expect(still).toMatchObject({
      code: 75,
      stderr: expect.stringMatching(/decision\.json is not JSON.*waymark decide demo retry\|/s),
    });
    expect(await cli(['failures', 'demo'], { cwd: project.root })).toMatchObject({
      code: 0,
      stdout: shown.stdout,
      stderr: expect.stringContaining('decision.json is not JSON'),
    });
    fs.rmSync(answer);
    for (const words of [['failures'], ['decide', 'retry']]) {
      const [verb, ...rest] = words;
      expect(await cli([verb, 'nosuch', ...rest], { cwd: project.root })).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('ERR_RUN_NOT_FOUND'),
      });
    }
    expect(await cli(['decide', 'demo', 'maybe'], { cwd: project.root })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_DECISION_INVALID'),
    });
    expect(
      await cli(['decide', 'demo', 'retry', '--note', 'mended'], { cwd: project.root }),
    ).toMatchObject({ code: 0 });
    const { code, stderr } = await run(project, ['--resume']);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(project.record().status).toBe('completed');
    expect(await cli(['decide', 'demo', 'retry'], { cwd: project.root })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_NO_QUESTION'),
    });
  });

  test('that is given up fails the run, and --resume begins it anew', async () => {
    const project = supervisedProject();
    project.configure({ rules: [{ name: 'none', do: [{ fail: {} }] }] });
    const { code, stderr } = await run(project, [], { env: { FAIL_AT_STEP: '1.5' } });
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('nothing more is tried'),
    });
    expect(project.manager.runState('demo').state).toBe('failed');
    expect(await run(project, ['--resume'])).toMatchObject({ code: 0 });
    expect(project.made()).toEqual(expect.objectContaining({ 'report.md': expect.any(String) }));
  });

  test('because its program is not there', async () => {
    const project = supervisedProject();
    project.configure({ rules: [{ name: 'none', do: [{ fail: {} }] }] });
    const { code, stderr } = await run(project, [], { command: ['no-such-program'] });
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not_started'),
    });
  });

  test('because its program is not there, before anybody knows where runs are', async () => {
    const project = supervisedProject();
    fs.rmSync(path.join(project.root, '.claude', 'context'), { recursive: true });
    const { code, stderr } = await run(project, QUICK, { command: ['no-such-program'] });
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('ENOENT') });
  });

  test('although it ends with 0: the runner calls the run failed', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, twoSteps);
    const script = runner(project, `done(); if (step === 1.5) change({ status: 'failed' });`);
    const { code } = await run(project, [], { workflow: file, command: script });
    expect(code).toBe(75);
    expect((await project.manager.recovery('demo').failures())[0]).toMatchObject({
      class: 'status',
      status: 'failed',
    });
  });
});

describe('stopping', () => {
  test('--pause-after, then --resume', async () => {
    const project = supervisedProject();
    expect(await run(project, ['--pause-after', '1.5'])).toMatchObject({ code: 75 });
    expect(project.effects()).toEqual([0, 1, 1.5]);
    expect(project.manager.runState('demo')).toMatchObject({ state: 'paused', pauses: 1 });
    expect(await run(project, ['--resume'])).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual(STEPS);
    expect(project.manager.runState('demo')).toMatchObject({ state: 'completed', resumes: 1 });
  });

  test('--pause-after a step that was passed pauses behind the next one', async () => {
    const project = supervisedProject();
    expect(await run(project, ['--pause-after', '1'])).toMatchObject({ code: 75 });
    expect(await run(project, ['--resume', '--pause-after', '0'])).toMatchObject({ code: 75 });
    expect(project.effects()).toEqual([0, 1, 1.5]);
  });

  test('a pause that is asked for while a step is at work comes behind it', async () => {
    const project = supervisedProject();
    const child = startRun(project, [], { env: { WORK_MS: '700' } });
    const over = ended(child);
    for await (const text of child.stdout) if (/step 1 started/.test(text)) break;
    project.manager.pause('demo', { reason: 'lunch' });
    const { code, stderr } = await over;
    expect({ code, stderr }).toMatchObject({ code: 75, stderr: expect.stringContaining('lunch') });
    expect(project.effects()).toEqual([0, 1]);
    expect(project.checkpointSteps()).toEqual([0, 1]);
    expect(await run(project, ['--resume'])).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual(STEPS);
  });

  test('a step that waits for approval stops the run, and a resume asks it again', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [{ step: 0 }, { step: 1 }]);
    const script = runner(
      project,
      `if (step === 1 && !fs.existsSync('approved')) change({ status: 'awaiting_approval' });
       else { change({ status: 'in_progress' }); done(); }`,
    );
    const how = { workflow: file, command: script };
    expect(await run(project, [], how)).toMatchObject({
      code: 75,
      stderr: expect.stringContaining('awaiting_approval'),
    });
    fs.writeFileSync(path.join(project.root, 'approved'), '');
    expect(await run(project, ['--resume'], how)).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual([0, 1]);
  });

  test.each(/** @type {const} */ (['SIGTERM', 'SIGINT']))(
    '%s reaches the step, nothing is tried again',
    async (signal) => {
      const project = supervisedProject();
      const child = startRun(project, [], { env: { WORK_MS: '60000' } });
      const over = ended(child);
      for await (const text of child.stdout) if (/step 0 started/.test(text)) break;
      child.kill(signal);
      const { code, stderr } = await over;
      expect({ code, stderr }).toMatchObject({ code: signal === 'SIGTERM' ? 143 : 130 });
      expect(project.effects()).toEqual([]);
      expect(await project.manager.recovery('demo').failures()).toEqual([]);
      expect(await run(project, ['--resume'])).toMatchObject({ code: 0 });
      expect(project.effects()).toEqual(STEPS);
    },
  );

  test('a second supervisor is refused while the first is at work', async () => {
    const project = supervisedProject();
    const child = startRun(project, [], { env: { WORK_MS: '2000' } });
    const over = ended(child);
    for await (const text of child.stdout) if (/step 0 started/.test(text)) break;
    const second = await run(project, ['--resume']);
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_LEASE_HELD') });
    child.kill('SIGTERM');
    await over;
    expect(project.effects()).toEqual([]);
  });

  test('killed itself, its step is waited for, and counts', async () => {
    const project = supervisedProject();
    const file = workflow(project.root, [{ step: 0 }, { step: 1.5 }]);
    const script = runner(
      project,
      `console.log('begun');
       const look = () => (fs.existsSync('go') ? done() : setTimeout(look, 5));
       look();`,
    );
    const how = { workflow: file, command: script };
    const first = startRun(project, [], how);
    for await (const text of first.stdout) if (/begun/.test(text)) break;
    first.kill('SIGKILL');
    const second = startRun(project, ['--resume'], how);
    const over = ended(second);
    let told = '';
    for await (const text of second.stderr) {
      told += text;
      if (told.includes('still at work (pid ')) break;
    }
    expect(told).toContain('still at work (pid ');
    fs.writeFileSync(path.join(project.root, 'go'), '');
    expect(await over).toMatchObject({ code: 0 });
    expect(project.effects()).toEqual([0, 1.5]);
  });

  test('killed itself, its step can be ended instead', async () => {
    const project = supervisedProject();
    const child = startRun(project, [], { env: { WORK_MS: '600000' } });
    for await (const text of child.stdout) if (/step 0 started/.test(text)) break;
    child.kill('SIGKILL');
    const { code, stderr } = await run(project, ['--resume', '--orphans', 'end']);
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('it is ended'),
    });
    expect(project.effects()).toEqual(STEPS);
  });

  test('a process that only has the number of a step is left alone', async () => {
    const project = supervisedProject();
    await run(project, ['--pause-after', '1']);
    const kept = project.manager.recovery('demo');
    const record = /** @type {any} */ (kept).kept;
    await record.change('supervisor', (/** @type {any} */ now) => ({
      ...now,
      running: [
        {
          pid: process.pid,
          host: now.supervisor.host,
          started: '1',
          step: 1.5,
          attempt: 1,
          worker: 'default',
          since: now.started,
        },
      ],
    }));
    const { code, stderr } = await run(project, ['--resume', '--orphans', 'end']);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).not.toContain('still at work');
  });

  test('a step whose supervisor dies before it is written down does nothing', async () => {
    const project = supervisedProject();
    const { Child, stepEnvironment } = (await import('../lib/supervisor/child.js')).default;
    const words = [
      process.execPath,
      path.join(project.root, '.claude', 'tools', 'workflow_runner.js'),
      '--workflow',
      WORKFLOW,
      '--run-id',
      'demo',
      '--step',
      '0',
    ];
    const child = new Child({
      words,
      env: stepEnvironment(words, { ...process.env, STEP_LOG: project.log }),
      cwd: project.root,
      alone: false,
      graceMs: 60_000,
      onOutput: () => {},
    });
    await sleep(1);
    child.hangUp();
    const { code, signal } = await child.ended;
    expect([code, signal]).toEqual([1, null]);
    expect(project.effects()).toEqual([]);
    expect(fs.existsSync(project.dir)).toBe(false);
  });

  test('its damaged record is begun anew: the checkpoints tell where to go on', async () => {
    const project = supervisedProject();
    await run(project, ['--pause-after', '1.5']);
    const file = path.join(project.dir, 'checkpoints', '.waymark', 'records', 'supervisor.json');
    fs.truncateSync(file, 20);
    const { code, stderr } = await run(project, ['--resume']);
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('was damaged'),
    });
    expect(project.effects()).toEqual(STEPS);
  });

  test('a damaged record of the run’s state is begun anew, too', async () => {
    const project = supervisedProject();
    await run(project, ['--pause-after', '1']);
    const records = path.join(project.dir, 'checkpoints', '.waymark', 'records');
    const [name] = fs.readdirSync(records).filter((one) => one.startsWith('run-state'));
    fs.writeFileSync(path.join(records, name), 'x');
    expect((await run(project, ['--resume'])).code).toBe(0);
    expect(project.effects()).toEqual(STEPS);
  });
});

describe('by the API', () => {
  test('with a signal, events and a report', async () => {
    const project = supervisedProject();
    const words = [
      process.execPath,
      path.join(project.root, '.claude', 'tools', 'workflow_runner.js'),
    ];
    const options = {
      workflow: path.join(project.root, WORKFLOW),
      command: words,
      cwd: project.root,
      env: { STEP_LOG: project.log },
    };
    const aborter = new AbortController();
    /** @type {string[]} */
    const kinds = [];
    const stopped = await project.manager.supervise('demo', {
      ...options,
      signal: aborter.signal,
      onEvent: ({ kind, step }) => {
        kinds.push(`${kind} ${step}`);
        if (kind === 'done' && step === 1) aborter.abort();
      },
    });
    expect(stopped).toMatchObject({ outcome: 'interrupted', reason: 'aborted', exitCode: 130 });
    expect(kinds.slice(0, 4)).toEqual(['begin 0', 'done 0', 'begin 1', 'done 1']);
    const report = await project.manager.supervise('demo', { ...options, resume: true });
    expect(report).toMatchObject({ outcome: 'completed', starts: 2 });
    expect(project.effects()).toEqual(STEPS);
    const invalid = { code: 'ERR_OPTION_INVALID' };
    await expect(
      project.manager.supervise('demo', { ...options, command: [] }),
    ).rejects.toMatchObject(invalid);
    await expect(
      project.manager.supervise('demo', { ...options, options: ['no_such'] }),
    ).rejects.toMatchObject(invalid);
    await expect(
      project.manager.supervise('demo', /** @type {any} */ ({ ...options, orphans: 'no' })),
    ).rejects.toMatchObject(invalid);
  });
});
