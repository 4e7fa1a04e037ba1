// Makes what is published of the main package, in a copy of it. The files of lib that the process of a step loads are put
// into two: for Node to find, check and read fifty files takes time that each step waits for.
//
//   node scripts/bundle.mjs <folder>     a copy of the repository, or of the package; it is changed
//
//   step    what a step's process loads before its first line, with the preload
//   resume  what it loads besides if it is resumed
//
// Each file of lib stays where it is: in its place one line gives what the bundle holds, so that a file is loaded once
// however it is asked for. lib/start.js is made anew: it holds the few files that find the addon, and gives the others;
// the preload and the command have them from what Node compiled before (lib/compiled.js), and whoever only requires the
// package has them as Node, or his test runner, loads files. Only comments are left out: V8 takes its time to read them. The
// lists may go stale without harm but in speed; a test of the packed package says which files are missing.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from '@babel/core';

/** What lib/start.js holds itself. */
const HEAD = ['error', 'native', 'compiled'];
const BUNDLES = {
  step: [
    'preload',
    'arguments',
    'manager',
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
module.exports = { load, quicken };
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
  const about = '// Files of lib in one. Made by scripts/bundle.mjs of the source.\n';
  /** In which bundle a file lies. @type {Record<string, string>} */
  const lies = { 'package.json': 'start' };
  for (const [one, names] of Object.entries({ start: HEAD, ...BUNDLES })) {
    for (const each of names) lies[`lib/${each}.js`] = one;
  }
  /** What the files ask for besides each other: paths in the package, and names. @type {Set<string>} */
  const asked = new Set();
  /** @param {string[]} names */
  const together = (names) => {
    const parts = names.map((each) => {
      const file = `lib/${each}.js`;
      const { text, names: wanted } = stripped(fs.readFileSync(path.join(folder, file), 'utf8'));
      for (const one of wanted) {
        const found = one.startsWith('.') ? path.posix.join(path.posix.dirname(file), one) : one;
        if (lies[found] === undefined) asked.add(found);
      }
      return part(file, text);
    });
    return parts.join('');
  };
  const manifest = part('package.json', `module.exports = ${JSON.stringify({ name, version })};`);
  const head = together(HEAD) + manifest;
  fs.mkdirSync(path.join(folder, 'lib', 'bundles'));
  for (const [one, names] of Object.entries(BUNDLES)) {
    const text = `${about}${EXPORTED} = {\n${together(names)}};\n`;
    fs.writeFileSync(path.join(folder, 'lib', 'bundles', `${one}.js`), text);
  }
  for (const file of Object.keys(lies)) {
    if (!file.startsWith('lib/')) continue;
    const way = path.posix.relative(path.posix.dirname(file), 'lib/start.js');
    const from = way.startsWith('.') ? way : `./${way}`;
    const text = `module.exports = require('${from}').load('${file}');\n`;
    fs.writeFileSync(path.join(folder, file), text);
  }
  // Written out, so that whatever bundles a runner, or looks for its files, finds them.
  const ways = [...asked].map((found) => {
    const isFile = fs.existsSync(path.join(folder, found));
    return `'${found}': () => require('${isFile ? `../${found}` : found}'),\n`;
  });
  const bundles = Object.keys(BUNDLES).map(
    (one) => `${one}: () => require('./bundles/${one}.js'),\n`,
  );
  const start = [
    `const lies = ${JSON.stringify(lies)};\n`,
    `const bundles = {\n${bundles.join('')}};\n`,
    `const ways = {\n${ways.join('')}};\n`,
    `const files = {\n${head}};\n`,
  ];
  fs.writeFileSync(path.join(folder, 'lib', 'start.js'), about + start.join('') + LINKS);
}

/**
 * A file without its comments, and the names that it requires.
 * @param {string} source
 */
function stripped(source) {
  /** @type {string[]} */
  const names = [];
  const visitor = {
    /** @param {any} at */
    CallExpression({ node: { callee, arguments: words } }) {
      const isRequire = callee.type === 'Identifier' && callee.name === 'require';
      if (isRequire && words[0]?.type === 'StringLiteral') names.push(words[0].value);
    },
  };
  const found = transformSync(source, {
    babelrc: false,
    comments: false,
    // Lines stay lines: Node shows the one that an error comes from.
    compact: false,
    configFile: false,
    plugins: [{ visitor }],
    sourceType: 'script',
  });
  // In ASCII Node reads it with one byte for a character.
  const text = String(found?.code).replace(
    /[^\0-\x7f]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return { text, names };
}

/**
 * In brackets: it is called at once, and V8 then does not parse it twice.
 * @param {string} file
 * @param {string} text
 */
function part(file, text) {
  return `'${file}': (function (exports, require, module, __filename, __dirname) {${text}\n}),\n`;
}

const [, script, folder] = process.argv;
if (script === fileURLToPath(import.meta.url)) {
  if (folder === undefined) throw new Error('bundle: name a copy of the package');
  bundle(path.resolve(folder));
}
