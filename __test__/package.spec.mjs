// What is published: both tarballs, installed into an empty folder, used from there as anybody would.
// commander and yaml come from npm's cache or the registry.

import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { addRun, files, readJson, removeAll, repo, temporary } from './support/project.mjs';

const { packageFor } = createRequire(import.meta.url)('../lib/native.js');
const manifest = readJson(path.join(repo, 'package.json'));
const windows = process.platform === 'win32';
const tool = (/** @type {string[]} */ ...parts) => path.join(repo, 'node_modules', ...parts);

/** @type {string} the tarball of the main package */
let main;
/** @type {string} the tarball of this machine's package */
let platform;
/** @type {string} the folder both are installed in */
let app;
/** @type {string} */
let runsDir;

/**
 * @param {string} command
 * @param {string[]} words
 * @param {{ cwd?: string, env?: Record<string, string> }} [options]
 */
function run(command, words, { cwd = app, env = {} } = {}) {
  /** @type {NodeJS.ProcessEnv} */
  const own = { ...process.env, WAYMARK_RUNS_DIR: runsDir, NO_COLOR: '1', ...env };
  // Of the process that runs the tests, not of a user's: Jest's flags, npm run's folder.
  for (const name of ['NODE_OPTIONS', 'NODE_PATH', 'npm_config_local_prefix', 'FORCE_COLOR']) {
    delete own[name];
  }
  // npm and npx are .cmd files on Windows, which only a shell starts.
  const shell = windows && command !== process.execPath;
  const given = shell ? words.map((word) => `"${word}"`) : words;
  const { status, stdout, stderr } = spawnSync(command, given, {
    cwd,
    env: own,
    shell,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** Runs Node and gives what it printed. @type {(words: string[], options?: object) => string} */
function node(words, options) {
  const { status, stdout, stderr } = run(process.execPath, words, options);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

let runs = 0;
/** A run of its own. */
function newRun() {
  runs += 1;
  return addRun(runsDir, `run-${runs}`);
}

/** @param {string} folder @returns {string[]} every file below, with `/` */
function filesBelow(folder) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .map((file) => file.replaceAll(path.sep, '/'))
    .sort();
}

/** @param {string} folder @returns {number} */
const bytesBelow = (folder) =>
  filesBelow(folder).reduce((sum, file) => sum + fs.statSync(path.join(folder, file)).size, 0);

const installed = (/** @type {string} */ name) => path.join(app, 'node_modules', name);
const platformName = () => path.basename(platform).replace(`-${manifest.version}.tgz`, '');

beforeAll(() => {
  const outdir = temporary();
  const before = filesBelow(path.join(repo, 'npm'));
  const printed = execFileSync(process.execPath, [path.join(repo, 'scripts', 'pack.mjs'), outdir], {
    encoding: 'utf8',
  });
  [main, platform] = printed.trim().split(/\r?\n/);
  expect(fs.readdirSync(outdir).sort()).toEqual(
    [main, platform].map((f) => path.basename(f)).sort(),
  );
  expect(filesBelow(path.join(repo, 'npm'))).toEqual(before);

  runsDir = temporary();
  app = temporary();
  fs.writeFileSync(path.join(app, 'package.json'), '{ "private": true }');
  const words = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  expect(run('npm', [...words, main, platform])).toMatchObject({ status: 0 });
});
afterAll(removeAll);

describe('the tarballs', () => {
  test('the main package holds the entries, lib, cli and docs, and nothing else', () => {
    const allowed = [
      /^(package\.json|README\.md|CHANGELOG\.md|LICENSE(-MIT|-APACHE)?)$/,
      /^(index|native)\.(js|mjs|d\.ts|d\.mts)$/,
      /^lib\/[\w/-]+\.(js|mjs|d\.ts|d\.mts)$/,
      /^cli\/waymark\.js$/,
      /^docs\/[\w/-]+\.(md|json)$/,
      /^schema\/[\w.-]+\.json$/,
    ];
    const found = filesBelow(installed('waymark'));
    expect(found.filter((file) => !allowed.some((pattern) => pattern.test(file)))).toEqual([]);
    expect(found).toEqual(
      expect.arrayContaining([
        'LICENSE',
        'LICENSE-APACHE',
        'LICENSE-MIT',
        'native.d.ts',
        'native.js',
      ]),
    );
    expect(bytesBelow(installed('waymark'))).toBeLessThan(1_600_000);
  });

  test('the platform package holds the binary, its manifest and the licenses', () => {
    const name = platformName();
    expect(filesBelow(installed(name))).toEqual([
      'LICENSE-APACHE',
      'LICENSE-MIT',
      'README.md',
      'package.json',
      `waymark.${name.slice('waymark-'.length)}.node`,
    ]);
    // The gate's own build is not what is shipped: less optimised, with its symbols.
    const most = process.env.WAYMARK_PROFILE === 'dev' ? 75_000_000 : 17_000_000;
    expect(bytesBelow(installed(name))).toBeLessThan(most);
  });

  test('nothing runs when they are installed', () => {
    for (const name of ['waymark', platformName()]) {
      const { scripts = {} } = readJson(path.join(installed(name), 'package.json'));
      const known = /^(pre|post)?(install|prepare|pack)$|^prepublish/;
      expect(Object.keys(scripts).filter((script) => known.test(script))).toEqual([]);
      // npm runs node-gyp by itself where it sees this file.
      expect(fs.existsSync(path.join(installed(name), 'binding.gyp'))).toBe(false);
    }
    // npm's own mark in the lock file for a package that has such a script.
    const { packages } = readJson(path.join(app, 'package-lock.json'));
    const withScripts = Object.keys(packages).filter((name) => packages[name].hasInstallScript);
    expect(withScripts).toEqual([]);
  });

  test('publint finds nothing', () => {
    for (const tarball of [main, platform]) {
      const printed = node([tool('publint', 'src', 'cli.js'), 'run', tarball, '--strict']);
      expect(printed).toContain('All good!');
    }
  });

  test('are-the-types-wrong finds nothing', () => {
    const attw = (/** @type {string[]} */ ...words) => {
      const cli = tool('@arethetypeswrong', 'cli', 'dist', 'index.js');
      const { status, stdout } = run(process.execPath, [
        cli,
        main,
        '--no-definitely-typed',
        '--no-emoji',
        // Without "node10": a resolution that knows no `exports`. Every Node we support (20.19 on)
        // knows them, and TypeScript 7 has dropped it.
        '--profile',
        'node16',
        ...words,
      ]);
      expect(status === 0 ? '' : stdout).toBe('');
    };
    attw('--exclude-entrypoints', 'register');
    // The preload is an ES module only, for `--import`; it has no exports that could be required.
    attw('--entrypoints', 'register', '--ignore-rules', 'cjs-resolves-to-esm');
  });
});

describe('installed, it takes checkpoints', () => {
  const body = `
    const assert = (ok, what) => { if (!ok) throw new Error(what); };
    const [runId] = process.argv.slice(2);
    (async () => {
      for (const name of ['createCheckpoint', 'restoreFromCheckpoint', 'listCheckpoints', 'CheckpointManager', 'WaymarkError']) {
        assert(typeof named[name] === 'function', name);
        assert(byDefault[name] === named[name], 'default.' + name);
      }
      const { checkpoint_id } = await named.createCheckpoint(runId, 1, { form: 'drop-in' });
      const restored = await named.restoreFromCheckpoint(runId, checkpoint_id);
      assert(restored.restored_step === 1, 'restored_step');
      new named.CheckpointManager().createSync(runId, 2);
      const listed = await named.listCheckpoints(runId);
      process.stdout.write(JSON.stringify(listed.map((one) => one.step)));
    })();`;

  test.each([
    ['cjs', 'waymark'],
    ['cjs', 'waymark/checkpoint-manager'],
    ['mjs', 'waymark'],
    ['mjs', 'waymark/checkpoint-manager'],
  ])('from a .%s file, as %s', (extension, name) => {
    const head =
      extension === 'cjs'
        ? `const named = require('${name}'); const byDefault = named.default;`
        : `import * as named from '${name}'; import byDefault from '${name}';`;
    const file = path.join(app, `use.${extension}`);
    fs.writeFileSync(file, head + body);
    const { runId, dir } = newRun();
    expect(node([file, runId])).toBe('[2,1]');
    expect(files(dir)).toHaveLength(2);
  });

  test('as a preload, with and without --resume', () => {
    const { runId, dir } = newRun();
    fs.writeFileSync(path.join(app, 'flow.yaml'), 'steps:\n  - step: 1\n  - step: 1.5\n');
    fs.writeFileSync(
      path.join(app, 'runner.mjs'),
      `import fs from 'node:fs';
       const record = JSON.parse(fs.readFileSync(${JSON.stringify(path.join(dir, 'run.json'))}));
       record.updated_at = new Date().toISOString();
       fs.writeFileSync(${JSON.stringify(path.join(dir, 'run.json'))}, JSON.stringify(record));
       process.stdout.write(process.argv.slice(2).join(' '));`,
    );
    const words = ['--import', 'waymark/register', 'runner.mjs', '--workflow', 'flow.yaml'];
    const first = run(process.execPath, [...words, '--run-id', runId, '--step', '1']);
    expect(first).toMatchObject({ status: 0, stderr: '' });
    expect(files(dir)).toHaveLength(1);
    const second = run(process.execPath, [...words, '--run-id', runId, '--resume']);
    expect(second).toMatchObject({ status: 0 });
    expect(second.stdout).toBe(`--workflow flow.yaml --run-id ${runId} --step 1.5`);
    expect(files(dir)).toHaveLength(2);
  });

  /** A run with a checkpoint of step 1, and the words that go on with it. @param {string} runner its file's text */
  function toResume(runner) {
    const { runId } = newRun();
    fs.writeFileSync(path.join(app, 'order.yaml'), 'steps:\n  - step: 1\n  - step: 2\n');
    fs.writeFileSync(path.join(app, 'first.cjs'), runner);
    node(['-e', `require('waymark').createCheckpoint('${runId}', 1)`]);
    const words = ['--import', 'waymark/register', 'first.cjs', '--workflow', 'order.yaml'];
    const named = [...words, '--run-id', runId];
    return { resume: [...named, '--resume'], step: [...named, '--step', '2'] };
  }

  test('before the first line of a step that is resumed nothing of lib is read but the bundles', () => {
    const { resume, step } = toResume(
      `const files = Object.keys(require.cache).map((file) => file.split(/node_modules.waymark[^-\\w]/)[1]);
       process.stdout.write(files.filter(Boolean).join(' ').replaceAll('\\\\', '/'));`,
    );
    const [start, ...bundles] = ['start', 'bundles/step', 'bundles/resume'].map(
      (n) => `lib/${n}.js`,
    );
    const env = { NODE_DISABLE_COMPILE_CACHE: '1' };
    expect(run(process.execPath, resume, { env }).stdout).toBe([start, ...bundles].join(' '));
    expect(run(process.execPath, step, { env }).stdout).toBe([start, bundles[0]].join(' '));
    // Bundles that Node compiled before are no modules of its own.
    for (const words of [resume, step]) expect(run(process.execPath, words).stdout).toBe(start);
  });

  test('what Node compiled of the bundles is kept beside them, for the processes that follow', () => {
    const folder = path.join(installed('waymark'), 'lib', 'bundles', 'compiled');
    const { resume, step } = toResume("process.stdout.write('ran');");
    /** @param {string[]} words @param {Record<string, string>} [env] */
    const ran = (words, env) => {
      const { status, stdout } = run(process.execPath, words, { env });
      expect({ status, stdout }).toEqual({ status: 0, stdout: 'ran' });
    };
    const kept = () => {
      if (!fs.existsSync(folder)) return [];
      const names = fs.readdirSync(folder).sort();
      return names.map((name) => ({ name, at: fs.statSync(path.join(folder, name)).mtimeMs }));
    };
    fs.rmSync(folder, { recursive: true, force: true });
    // Node's own words for leaving it: and what is covered would be counted less exactly.
    ran(resume, { NODE_DISABLE_COMPILE_CACHE: '1' });
    ran(resume, { NODE_V8_COVERAGE: temporary() });
    expect(kept()).toEqual([]);
    ran(resume);
    const both = kept();
    expect(both).toHaveLength(2);
    // Taken as it is: nothing has to be compiled, or kept, once more.
    ran(resume);
    expect(kept()).toEqual(both);
    // V8 itself would believe it.
    for (const { name } of both) {
      const file = path.join(folder, name);
      const good = fs.readFileSync(file);
      const bad = Buffer.from(good);
      bad[good.length >> 1] ^= 0x10;
      for (const text of [bad, good.subarray(0, good.length >> 1), Buffer.alloc(0)]) {
        fs.writeFileSync(file, text);
        ran(resume);
        expect(fs.readFileSync(file)).not.toEqual(text);
      }
      const mended = kept();
      ran(resume);
      expect(kept()).toEqual(mended);
    }
    // A step that is not resumed calls other parts.
    ran(step);
    const all = kept();
    expect(all).toHaveLength(4);
    ran(step);
    ran(resume);
    expect(kept()).toEqual(all);
    // A command that resumes keeps what it called, and the step that it started. Others only take it: they call little.
    fs.rmSync(folder, { recursive: true });
    const command = (/** @type {string[]} */ ...words) =>
      run('npx', ['--no-install', 'waymark', ...words]);
    expect(command('runs')).toMatchObject({ status: 0 });
    expect(kept()).toEqual([]);
    const last = /** @type {string} */ (resume.at(-2));
    const resumed = () => {
      const words = ['resume', last, '--', 'node', 'first.cjs', '--workflow', 'order.yaml'];
      expect(command(...words)).toMatchObject({ status: 0, stdout: 'ran' });
    };
    resumed();
    const ofCommand = kept();
    expect(ofCommand).toHaveLength(5);
    resumed();
    expect(command('runs')).toMatchObject({ status: 0 });
    expect(kept()).toEqual(ofCommand);
    fs.rmSync(folder, { recursive: true });
    // Nor does a process that came to no step.
    const none = resume.map((word) => (word === 'order.yaml' ? 'none.yaml' : word));
    expect(run(process.execPath, none)).toMatchObject({ status: 1 });
    expect(kept()).toEqual([]);
    ran(resume);
    expect(kept()).toHaveLength(2);
    // With other flags of V8 it is other code; what is Node's alone makes no difference.
    ran(['--title=another', ...resume]);
    expect(kept()).toHaveLength(2);
    ran(['--stack-size=900', ...resume]);
    expect(kept()).toHaveLength(4);
    // Somebody mends a word of the package, as long as it was.
    const bundle = path.join(path.dirname(folder), 'step.js');
    const text = fs.readFileSync(bundle, 'utf8');
    fs.writeFileSync(bundle, text.replace('going on with step', 'GOING ON with step'));
    expect(run(process.execPath, resume).stderr).toMatch(/GOING ON with step 2/);
    expect(run(process.execPath, resume).stderr).toMatch(/GOING ON with step 2/);
    fs.writeFileSync(bundle, text);
    expect(run(process.execPath, resume).stderr).toMatch(/going on with step 2/);
    // Where nothing can be kept, nothing is, and that is all.
    fs.rmSync(folder, { recursive: true });
    fs.writeFileSync(folder, 'a file');
    ran(resume);
    expect(fs.readFileSync(folder, 'utf8')).toBe('a file');
    fs.rmSync(folder);
  });

  test.each([
    [windows ? "it's a folder" : 'it\'s "a" folder', 'import'],
    ...(windows ? [] : [['two\nlines', 'import']]),
    // As in Yarn's archives, out of which Node itself imports nothing.
    ['a.zip', 'require'],
  ])('the command and its preload work from the folder %j', (name, by) => {
    const folder = path.join(temporary(), name, 'app');
    fs.cpSync(app, folder, { recursive: true });
    const { resume } = toResume('process.stdout.write(process.env.NODE_OPTIONS);');
    const last = /** @type {string} */ (resume.at(-2));
    for (const name of ['first.cjs', 'order.yaml']) {
      fs.copyFileSync(path.join(app, name), path.join(folder, name));
    }
    const lib = path.join(fs.realpathSync(folder), 'node_modules', 'waymark', 'lib');
    const main = path.join(lib, '..', 'cli', 'waymark.js');
    const command = [process.execPath, 'first.cjs', '--workflow', 'order.yaml'];
    const words = [main, 'resume', last, '--', ...command];
    const preload =
      by === 'import'
        ? `--import ${pathToFileURL(path.join(lib, 'register.mjs')).href}`
        : `--require ${JSON.stringify(path.join(lib, 'register.js'))}`;
    expect(run(process.execPath, words, { cwd: folder })).toEqual({
      status: 0,
      stdout: preload,
      stderr: expect.stringMatching(/going on with step 2.*\n.*step 2 left no trace in run/),
    });
  });

  test('who only requires the package gets nothing of the command', () => {
    const start = fs.readFileSync(path.join(installed('waymark'), 'lib', 'start.js'), 'utf8');
    expect(start).not.toMatch(/cli\/|commander|bundles\/command/);
  });

  test('a file that is bundled is the same one, however it is asked for', () => {
    for (const quicken of ['', "quicken('step');"]) {
      const told = node([
        '-e',
        `const path = require('node:path');
         const lib = path.join(path.dirname(require.resolve('waymark')), 'lib');
         const { load, quicken } = require(path.join(lib, 'start.js'));
         ${quicken}
         const { WaymarkError } = require('waymark');
         const names = ['lib/error.js', 'lib/collectors/git.js', 'lib/supervisor/left-over.js', 'lib/native.js'];
         const same = names.map((name) => load(name) === require(path.join(lib, '..', name)));
         process.stdout.write(JSON.stringify([...same, load('lib/error.js').WaymarkError === WaymarkError]));`,
      ]);
      expect(JSON.parse(told)).toEqual([true, true, true, true, true]);
    }
  });

  test('of an error that nobody catches Node shows a line that can be read', () => {
    const words = ['-e', "new (require('waymark').CheckpointManager)({ nonsense: true });"];
    const { status, stderr } = run(process.execPath, words);
    expect(status).toBe(1);
    expect(stderr).toMatch(/ERR_OPTION_UNKNOWN/);
    expect(stderr.split('\n').filter((line) => line.length > 400)).toEqual([]);
  });

  test('as the waymark command', () => {
    const { runId, dir } = newRun();
    const version = run('npx', ['--no-install', 'waymark', '--version']);
    expect(version).toMatchObject({ status: 0, stdout: `${manifest.version}\n` });
    const words = ['--no-install', 'waymark', 'create', '--run-id', runId, '--step', '3'];
    expect(run('npx', words)).toMatchObject({ status: 0 });
    expect(files(dir)).toHaveLength(1);
    expect(readJson(path.join(dir, 'checkpoints', `${files(dir)[0]}.json`)).step).toBe(3);
  });
});

describe('installed, its types', () => {
  const imports = (/** @type {boolean} */ required) =>
    required
      ? `import waymark = require('waymark');
         import dropIn = require('waymark/checkpoint-manager');
         const { CheckpointManager, WaymarkError, createCheckpoint, listCheckpoints } = waymark;
         const byDefault = waymark.default;
         type Listed = waymark.ListedCheckpoint;`
      : `import byDefault, { CheckpointManager, WaymarkError, createCheckpoint, listCheckpoints } from 'waymark';
         import type { ListedCheckpoint as Listed } from 'waymark';
         import * as dropIn from 'waymark/checkpoint-manager';`;
  const uses = `
    async function main(runId: string): Promise<void> {
      const checkpoint = await createCheckpoint(runId, 1.5, { typed: true });
      const id: string = checkpoint.checkpoint_id;
      const restored = await dropIn.restoreFromCheckpoint(runId, id);
      const { step }: { step: number | string } = restored.checkpoint;
      const rows: Listed[] = await byDefault.listCheckpoints(runId, { includeDamaged: true });
      const manager = new CheckpointManager({ keepLast: 'all' });
      const sequence: number = manager.createSync(runId, 2, {}, { keepLast: 3 }).sequence;
      const { signal } = new AbortController();
      const found = await manager.list(runId, { signal });
      // @ts-expect-error a run id is text
      const noText = () => createCheckpoint(1, 1);
      // @ts-expect-error no such option
      const noOption = () => new CheckpointManager({ nonsense: true });
      // @ts-expect-error damaged ones are only given when they are asked for
      const damage = found[0]?.damage;
      const same: boolean = dropIn.default.createCheckpoint === createCheckpoint;
      const error: Error & { code: string } = new WaymarkError('ERR_IO', 'words');
      process.stdout.write(JSON.stringify([step, rows.length, found.length, sequence > 0, same, error.code, damage === undefined, typeof noText, typeof noOption, typeof listCheckpoints]));
    }
    main(String(process.argv[2]));`;
  const printed = '[1.5,1,2,true,true,"ERR_IO",true,"function","function","function"]';

  /** @type {string} */
  let folder;
  beforeAll(() => {
    folder = path.join(app, 'typed');
    fs.mkdirSync(path.join(folder, 'esm'), { recursive: true });
    fs.writeFileSync(path.join(folder, 'required.cts'), imports(true) + uses);
    fs.writeFileSync(path.join(folder, 'imported.cts'), imports(false) + uses);
    fs.writeFileSync(path.join(folder, 'commonjs.ts'), imports(false) + uses);
    fs.writeFileSync(
      path.join(folder, 'module.mts'),
      `import 'waymark/register';\n${imports(false)}${uses}`,
    );
    fs.writeFileSync(path.join(folder, 'esm', 'package.json'), '{ "type": "module" }');
    fs.writeFileSync(path.join(folder, 'esm', 'module.ts'), imports(false) + uses);
  });

  /** @param {object} options @param {string[]} [sources] */
  function compile(options, sources = ['**/*.ts', '**/*.cts', '**/*.mts']) {
    const compilerOptions = {
      strict: true,
      isolatedModules: true,
      skipLibCheck: false,
      noEmitOnError: true,
      target: 'es2022',
      types: ['node'],
      typeRoots: [tool('@types')],
      ...options,
    };
    const config = path.join(folder, 'tsconfig.json');
    fs.writeFileSync(
      config,
      JSON.stringify({ compilerOptions, include: sources, exclude: ['**/*.d.ts'] }),
    );
    const tsc = run(process.execPath, [tool('typescript', 'bin', 'tsc'), '-p', config]);
    expect(tsc).toEqual({ status: 0, stdout: '', stderr: '' });
  }

  test.each(['node16', 'nodenext'])('compile with module %s', (module) => {
    compile({ module, noEmit: true });
  });

  test('compile for a bundler, and without the types of Node', () => {
    const moduleResolution = 'bundler';
    compile({ module: 'esnext', moduleResolution, noEmit: true }, ['module.mts', 'esm/module.ts']);
    fs.writeFileSync(
      path.join(folder, 'plain.ts'),
      "import { createCheckpoint } from 'waymark';\nexport const id = createCheckpoint('run', 1).then((made) => made.checkpoint_id);\n",
    );
    compile({ module: 'nodenext', noEmit: true, types: [], skipLibCheck: true }, ['plain.ts']);
    fs.rmSync(path.join(folder, 'plain.ts'));
  });

  test('tell what happens when the compiled files run', () => {
    compile({ module: 'nodenext' });
    for (const file of [
      'required.cjs',
      'imported.cjs',
      'commonjs.js',
      'module.mjs',
      'esm/module.js',
    ]) {
      expect([file, node([path.join(folder, file), newRun().runId])]).toEqual([file, printed]);
    }
  });
});

describe('without the platform package', () => {
  /** @type {string} */
  let bare;
  const attempt = `
    const { createCheckpoint } = require('waymark');
    createCheckpoint(process.argv[1], 1).then(
      ({ step }) => process.stdout.write(JSON.stringify({ step })),
      ({ name, code, message, path, cause }) =>
        process.stdout.write(JSON.stringify({ name, code, message, path, caused: cause !== undefined })),
    );`;
  beforeAll(() => {
    bare = temporary();
    fs.cpSync(app, bare, { recursive: true, verbatimSymlinks: true });
    fs.rmSync(path.join(bare, 'node_modules', platformName()), { recursive: true });
  });

  test('the error names it and the cure', () => {
    const told = JSON.parse(node(['-e', attempt, newRun().runId], { cwd: bare }));
    expect(told).toMatchObject({
      name: 'WaymarkError',
      code: 'ERR_BINARY_MISSING',
      path: platformName(),
      caused: true,
    });
    expect(told.message).toContain(`the package ${platformName()} is missing`);
    expect(told.message).toContain(`npm install ${platformName()}`);
  });

  test('the waymark command says the same and fails', () => {
    const words = ['--no-install', 'waymark', 'list', '--run-id', newRun().runId];
    const { status, stdout, stderr } = run('npx', words, { cwd: bare });
    expect(status).not.toBe(0);
    expect(stdout).toBe('');
    expect(stderr).toContain(`npm install ${platformName()}`);
  });

  test('a binary somewhere else is taken with NAPI_RS_NATIVE_LIBRARY_PATH', () => {
    const binary = path.join(repo, `waymark.${platformName().slice('waymark-'.length)}.node`);
    const env = { NAPI_RS_NATIVE_LIBRARY_PATH: binary };
    const told = node(['-e', attempt, newRun().runId], { cwd: bare, env });
    expect(JSON.parse(told)).toEqual({ step: 1 });
    const words = ['-e', attempt, newRun().runId];
    const wrong = node(words, { cwd: bare, env: { NAPI_RS_NATIVE_LIBRARY_PATH: `${binary}.no` } });
    expect(JSON.parse(wrong)).toMatchObject({ code: 'ERR_BINARY_MISSING' });
  });
});

describe('the eight platforms', () => {
  /** @type {Record<string, { platform: string, arch: string, libc?: string }>} */
  const machines = {
    'x86_64-unknown-linux-gnu': { platform: 'linux', arch: 'x64', libc: 'glibc' },
    'aarch64-unknown-linux-gnu': { platform: 'linux', arch: 'arm64', libc: 'glibc' },
    'x86_64-unknown-linux-musl': { platform: 'linux', arch: 'x64', libc: 'musl' },
    'aarch64-unknown-linux-musl': { platform: 'linux', arch: 'arm64', libc: 'musl' },
    'x86_64-apple-darwin': { platform: 'darwin', arch: 'x64' },
    'aarch64-apple-darwin': { platform: 'darwin', arch: 'arm64' },
    'x86_64-pc-windows-msvc': { platform: 'win32', arch: 'x64' },
    'aarch64-pc-windows-msvc': { platform: 'win32', arch: 'arm64' },
  };
  const cases = Object.entries(machines).map(([target, { platform, arch, libc }]) => ({
    target,
    libc,
    platform,
    arch,
    name: packageFor({ platform, arch, musl: libc === 'musl' }),
  }));

  test('are the targets of package.json and the folders of npm/, no more and no less', () => {
    expect(manifest.napi.targets).toEqual(Object.keys(machines));
    expect(fs.readdirSync(path.join(repo, 'npm')).sort()).toEqual(
      cases.map(({ name }) => name.slice('waymark-'.length)).sort(),
    );
  });

  test.each(cases)('$target has $name', ({ target, libc, platform, arch, name }) => {
    const folder = path.join(repo, 'npm', name.slice('waymark-'.length));
    const binary = `waymark.${path.basename(folder)}.node`;
    expect(filesBelow(folder)).toEqual(['README.md', 'package.json']);
    expect(readJson(path.join(folder, 'package.json'))).toEqual({
      name,
      version: manifest.version,
      description: expect.stringMatching(/^The binary of waymark for /),
      license: manifest.license,
      type: 'commonjs',
      main: binary,
      files: [binary, 'LICENSE-APACHE', 'LICENSE-MIT'],
      os: [platform],
      cpu: [arch],
      ...(libc && { libc: [libc] }),
      engines: manifest.engines,
    });
    expect(fs.readFileSync(path.join(folder, 'README.md'), 'utf8')).toContain(target);
    // The loader that `napi build` writes asks for the same name.
    expect(fs.readFileSync(path.join(repo, 'native.js'), 'utf8')).toContain(`require('${name}')`);
  });

  test('are named in no manifest or lock file of the repository, before they are published', () => {
    expect(manifest).not.toHaveProperty('optionalDependencies');
    const lock = fs.readFileSync(path.join(repo, 'package-lock.json'), 'utf8');
    expect(cases.filter(({ name }) => lock.includes(`"${name}"`))).toEqual([]);
  });

  test('are named, at this version, in what the workflow publishes', () => {
    // The workflow's own steps, with stand-ins for the binaries.
    const copy = temporary();
    fs.cpSync(installed('waymark'), copy, { recursive: true });
    fs.cpSync(path.join(repo, 'npm'), path.join(copy, 'npm'), { recursive: true });
    const prepublish = () =>
      run(
        process.execPath,
        [
          tool('@napi-rs', 'cli', 'dist', 'cli.js'),
          ...['prepublish', '-t', 'npm', '--no-gh-release', '--skip-optional-publish'],
        ],
        { cwd: copy },
      );
    for (const { name } of cases) {
      const folder = path.join(copy, 'npm', name.slice('waymark-'.length));
      fs.writeFileSync(path.join(folder, `waymark.${path.basename(folder)}.node`), 'stand-in');
      for (const file of ['LICENSE-MIT', 'LICENSE-APACHE']) {
        fs.copyFileSync(path.join(repo, file), path.join(folder, file));
      }
    }
    expect(prepublish()).toMatchObject({ status: 0 });
    const published = readJson(path.join(copy, 'package.json'));
    expect(published.optionalDependencies).toEqual(
      Object.fromEntries(cases.map(({ name }) => [name, manifest.version])),
    );
    expect({ ...published, optionalDependencies: undefined }).toEqual(manifest);

    // A binary that was not built stops it.
    fs.rmSync(path.join(copy, 'npm', 'linux-x64-gnu', 'waymark.linux-x64-gnu.node'));
    expect(prepublish().status).not.toBe(0);
  });
});
