// Makes what is published of the main package, in a copy of it. The files that the process of a step loads, and those of
// the command, are put into three: for Node to find, check and read fifty files takes time that each step waits for.
//
//   node scripts/bundle.mjs <folder>     a copy of the repository, or of the package; it is changed
//
//   step     what a step's process loads before its first line, with the preload; and what there is before the manager
//            for whoever requires the package, the command among them
//   resume   what it loads besides if it is resumed
//   command  what there is of the command behind its first file
//
// Each file of lib stays where it is: in its place one line gives what the bundle holds, so that a file is loaded once
// however it is asked for. Nobody but the command asks for its files; they are ES modules here, and CommonJS in the bundle,
// as Node begins with that sooner. lib/start.js is made anew: it holds the few files that find the addon, and gives the others;
// the preload and the command have them from what Node compiled before (lib/compiled.js), and whoever only requires the
// package has them as Node, or his test runner, loads files. Only comments are left out: V8 takes its time to read them. The
// lists may go stale without harm but in speed; a test of the packed package says which files are missing.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from '@babel/core';

/** What lib/start.js holds itself. */
const HEAD = ['error', 'native', 'compiled', 'attach'];
const BUNDLES = {
  step: [
    'preload',
    'arguments',
    'manager',
    'checkpoint-manager',
    'drop-in-shapes',
    'archive',
    'options',
    'checkpoint',
    'clock',
    'diff',
    'files',
    'lease',
    'own-command',
    'place',
    'settings',
    'upkeep',
    'port-variables',
    'step-process',
    'left-at-work',
    'records',
    'run-state',
    'run-json',
    'run-states',
    'supervisor/left-over',
    'pause',
  ],
  resume: [
    'resume-run',
    'resume-plan',
    'resume-table',
    'resume-descent',
    'resume-steps',
    'resume-notes',
    'resume-words',
    'gate',
    'fingerprint',
    'environment-settings',
    'collectors/git',
    'collectors/host',
    'collectors/read',
    'collectors/versions',
    'collectors/workflow',
    'real-path',
    'time-limit',
    'json-pointer',
    'workflow',
    'workflow-steps',
    'restore',
    'task-history',
    'capture',
    'preload-option',
    'supervisor/command',
  ],
};

const COMMONJS = fileURLToPath(import.meta.resolve('@babel/plugin-transform-modules-commonjs'));

const ABOUT = '// Files of the package in one. Made by scripts/bundle.mjs of the source.\n';

/** A bundle is a module, and a script whose value is the same: to put a module's function around it would copy it. */
const EXPORTED = "(typeof module === 'undefined' ? {} : module).exports";

/** How the files of the bundles find each other, and the rest. */
const LINKS = `
const path = require('node:path');
const root = path.join(__dirname, '..');
const loaded = new Map();
const others = new Map();
let isQuick = false;
function other(name) {
  let found = others.get(name);
  if (found === undefined) {
    found = ways[name] === undefined ? require(name) : ways[name]();
    others.set(name, found);
  }
  return found;
}
function filesOf(bundle) {
  if (isQuick) {
    try {
      return load('lib/compiled.js').taking(path.join(__dirname, 'bundles', bundle + '.js'));
    } catch {}
  }
  return bundles[bundle]();
}
function load(name) {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  if (files[name] === undefined) Object.assign(files, filesOf(lies[name]));
  const filename = path.join(root, name);
  const module = { exports: {} };
  loaded.set(name, module);
  try {
    const folder = path.posix.dirname(name);
    const from = (wanted) => {
      const name = wanted.startsWith('.') ? path.posix.join(folder, wanted) : wanted;
      return lies[name] === undefined ? other(name) : load(name);
    };
    files[name].call(module.exports, module.exports, from, module, filename, path.dirname(filename));
  } catch (error) {
    loaded.delete(name);
    throw error;
  }
  return module.exports;
}
function quicken(kind) {
  isQuick = load('lib/compiled.js').begin(kind);
}
function run(name, more) {
  Object.assign(lies, more.lies);
  Object.assign(ways, more.ways);
  Object.assign(bundles, more.bundles);
  return load(name);
}
module.exports = { load, quicken, run };
`;

/**
 * Copies what is published of the main package, bundled.
 * @param {string} folder
 */
export function layOut(folder) {
  const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
  const { files } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  for (const name of ['package.json', 'README.md', 'LICENSE', ...files]) {
    fs.cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  }
  bundle(folder);
}

/**
 * @param {string} folder a copy of the package
 */
export function bundle(folder) {
  const { name, version } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  /** @param {string[]} names */
  const ofLib = (names) => names.map((each) => `lib/${each}.js`);
  /** @type {Record<string, string[]>} */
  const files = {
    start: ofLib(HEAD),
    step: ofLib(BUNDLES.step),
    resume: ofLib(BUNDLES.resume),
    command: modulesBelow(folder, 'cli'),
  };
  /** In which bundle a file lies. @type {Record<string, string>} */
  const lies = { 'package.json': 'start' };
  for (const [one, names] of Object.entries(files)) {
    for (const each of names) lies[each] = one;
  }
  const { start, ...bundles } = Object.fromEntries(
    Object.entries(files).map(([one, names]) => [one, together(folder, names, lies)]),
  );
  fs.mkdirSync(path.join(folder, 'lib', 'bundles'));
  for (const [one, { text }] of Object.entries(bundles)) {
    const whole = `${ABOUT}${EXPORTED} = {\n${text}};\n`;
    fs.writeFileSync(path.join(folder, 'lib', 'bundles', `${one}.js`), whole);
  }
  for (const file of Object.keys(lies)) {
    if (file.startsWith('cli/')) fs.rmSync(path.join(folder, file));
    if (file.startsWith('lib/')) leaveLine(folder, file);
  }
  fs.rmdirSync(path.join(folder, 'cli', 'commands'));

  const { command, step, resume } = bundles;
  const ofCommand = Object.entries(lies).filter(([, one]) => one === 'command');
  const ofLibrary = Object.entries(lies).filter(([, one]) => one !== 'command');
  const asked = new Set([...start.asked, ...step.asked, ...resume.asked]);
  const manifest = part('package.json', `module.exports = ${JSON.stringify({ name, version })};`);
  const parts = [
    `const lies = ${JSON.stringify(Object.fromEntries(ofLibrary))};\n`,
    `const bundles = ${requires(folder, { step: 'lib/bundles/step.js', resume: 'lib/bundles/resume.js' })};\n`,
    `const ways = ${requires(folder, named(asked))};\n`,
    `const files = {\n${start.text}${manifest}};\n`,
  ];
  fs.writeFileSync(path.join(folder, 'lib', 'start.js'), ABOUT + parts.join('') + LINKS);
  // Only the command knows of its own: a runner that is bundled with the library does without.
  const more = [
    `lies: ${JSON.stringify(Object.fromEntries(ofCommand))}`,
    `bundles: ${requires(folder, { command: 'lib/bundles/command.js' })}`,
    `ways: ${requires(folder, named([...command.asked].filter((one) => !asked.has(one))))}`,
  ];
  const first = path.join(folder, 'cli', 'waymark.js');
  const around = fs.readFileSync(first, 'utf8').split("start.run('cli/main.mjs')");
  if (around.length !== 2) throw new Error('bundle: cli/waymark.js does not run cli/main.mjs');
  fs.writeFileSync(first, around.join(`start.run('cli/main.mjs', {\n${more.join(',\n')},\n})`));
}

/**
 * The text of a bundle, and what its files ask for besides what is bundled: paths in the package, and names.
 * @param {string} folder
 * @param {string[]} files
 * @param {Record<string, string>} lies
 */
function together(folder, files, lies) {
  /** @type {Set<string>} */
  const asked = new Set();
  const parts = files.map((file) => {
    const source = fs.readFileSync(path.join(folder, file), 'utf8');
    const { text, names } = stripped(source, file);
    for (const one of names) {
      const found = one.startsWith('.') ? path.posix.join(path.posix.dirname(file), one) : one;
      if (lies[found] === undefined) asked.add(found);
    }
    return part(file, text);
  });
  return { text: parts.join(''), asked };
}

/**
 * Leaves a line in place of a file that is bundled.
 * @param {string} folder
 * @param {string} file
 */
function leaveLine(folder, file) {
  const place = path.join(folder, file);
  const way = path.posix.relative(path.posix.dirname(file), 'lib/start.js');
  const from = way.startsWith('.') ? way : `./${way}`;
  const line = `module.exports = require('${from}').load('${file}');\n`;
  // Tools that only read the file see that it has one.
  const hasDefault = fs.readFileSync(place, 'utf8').includes('exports.default =');
  const more = hasDefault ? 'module.exports.default = module.exports;\n' : '';
  fs.writeFileSync(place, line + more);
}

/** @param {Iterable<string>} names */
const named = (names) => Object.fromEntries([...names].map((name) => [name, name]));

/**
 * Written out, so that whatever bundles a runner, or looks for its files, finds them.
 * @param {string} folder
 * @param {Record<string, string>} wanted each a path in the package or a name
 */
function requires(folder, wanted) {
  const lines = Object.entries(wanted).map(([name, found]) => {
    const isFile = fs.existsSync(path.join(folder, found));
    return `'${name}': () => require('${isFile ? `../${found}` : found}'),\n`;
  });
  return `{\n${lines.join('')}}`;
}

/**
 * The ES modules below a folder of the package, as paths in it.
 * @param {string} folder
 * @param {string} below
 */
function modulesBelow(folder, below) {
  const found = fs.readdirSync(path.join(folder, below), { recursive: true, encoding: 'utf8' });
  const names = found.map((name) => path.posix.join(below, name.replaceAll('\\', '/')));
  return names.filter((name) => name.endsWith('.mjs')).sort();
}

/**
 * A file without its comments, as CommonJS, and the names that it requires.
 * @param {string} source
 * @param {string} file its path in the package
 */
function stripped(source, file) {
  /** @type {string[]} */
  const names = [];
  const visitor = {
    /** @param {any} at */
    CallExpression({ node: { callee, arguments: words } }) {
      const isRequire = callee.type === 'Identifier' && callee.name === 'require';
      if (isRequire && words[0]?.type === 'StringLiteral') names.push(words[0].value);
    },
  };
  const script = file.endsWith('.mjs') ? asCommonJs(source) : source;
  const found = transformed(script, {
    comments: false,
    plugins: [{ visitor }],
    sourceType: 'script',
  });
  // In ASCII Node reads it with one byte for a character.
  const text = found.replace(
    /[^\0-\x7f]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return { text, names };
}

/**
 * An ES module as the body of a CommonJS one. What is imported only when it is needed is required then.
 * @param {string} source
 */
function asCommonJs(source) {
  /** Of a package of others what it exports is its default. @param {string} name */
  const isOwn = (name) => name.startsWith('.');
  const visitor = {
    /** The bundle gives each file its `require`. @param {any} at */
    VariableDeclaration(at) {
      const { init } = at.node.declarations[0];
      if (init?.type === 'CallExpression' && init.callee.name === 'createRequire') at.remove();
    },
    /** @param {any} at */
    CallExpression(at) {
      const { callee, arguments: words } = at.node;
      if (callee.type !== 'Import') return;
      const name = words[0].value;
      const required = `require(${JSON.stringify(name)})`;
      const given = isOwn(name) ? required : `({ default: ${required} })`;
      at.replaceWithSourceString(`Promise.resolve().then(() => ${given})`);
    },
  };
  const importInterop = (/** @type {string} */ name) => (isOwn(name) ? 'babel' : 'node');
  const plugins = [{ visitor }, [COMMONJS, { importInterop }]];
  return transformed(source, { plugins, sourceType: 'module' });
}

/**
 * @param {string} source
 * @param {import('@babel/core').TransformOptions} how
 */
function transformed(source, how) {
  // Lines stay lines: Node shows the one that an error comes from.
  const found = transformSync(source, {
    babelrc: false,
    compact: false,
    configFile: false,
    ...how,
  });
  return String(found?.code);
}

/**
 * In brackets where it is called soon: V8 then does not parse it twice. Of the command's files each calls a few.
 * @param {string} file
 * @param {string} text
 */
function part(file, text) {
  const whole = `function (exports, require, module, __filename, __dirname) {${text}\n}`;
  return `'${file}': ${file.startsWith('lib/') ? `(${whole})` : whole},\n`;
}

const [, script, folder] = process.argv;
if (script === fileURLToPath(import.meta.url)) {
  if (folder === undefined) throw new Error('bundle: name a copy of the package');
  bundle(path.resolve(folder));
}
