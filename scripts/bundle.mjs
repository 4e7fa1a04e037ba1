// Makes what is published of the main package, in a copy of it. The files of lib that the process of a step loads are put
// into two: for Node to find, check and read fifty files takes time that each step waits for.
//
//   node scripts/bundle.mjs <folder>     a copy of the repository, or of the package; it is changed
//
//   start   what a step's process loads before its first line, with the preload
//   resume  what it loads besides if it is resumed
//
// Each file of lib stays where it is: in its place one line gives what the bundle holds, so that a file is loaded once
// however it is asked for. Only comments and layout are left out: V8 takes its time to read them. The lists may go stale
// without harm but in speed; a test of the packed package says which files are missing.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from '@babel/core';

const BUNDLES = {
  start: [
    'preload',
    'arguments',
    'error',
    'manager',
    'archive',
    'native',
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

/** How the files of a bundle find each other, and the rest. */
const LINKS = `
const path = require('node:path');
const root = path.join(__dirname, '..', '..');
const loaded = new Map();
const others = new Map();
function other(name) {
  let found = others.get(name);
  if (found === undefined) {
    found = ways[name] === undefined ? require(name) : ways[name]();
    others.set(name, found);
  }
  return found;
}
function load(name) {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  if (files[name] === undefined) Object.assign(files, require('./resume.js'));
  const filename = path.join(root, name);
  const module = { exports: {} };
  loaded.set(name, module);
  try {
    const folder = path.posix.dirname(name);
    const from = (wanted) => {
      const name = wanted.startsWith('.') ? path.posix.join(folder, wanted) : wanted;
      return bundles[name] === undefined ? other(name) : load(name);
    };
    files[name].call(module.exports, module.exports, from, module, filename, path.dirname(filename));
  } catch (error) {
    loaded.delete(name);
    throw error;
  }
  return module.exports;
}
exports.load = load;
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
  const head = '// Files of lib in one. Made by scripts/bundle.mjs of the source.\n';
  /** @type {Record<string, string>} */
  const bundles = { 'package.json': 'start' };
  for (const [one, names] of Object.entries(BUNDLES)) {
    for (const each of names) bundles[`lib/${each}.js`] = one;
  }
  /** What the files ask for besides each other: paths in the package, and names. @type {Set<string>} */
  const asked = new Set();
  const texts = Object.values(BUNDLES).map((names) => {
    const parts = names.map((each) => {
      const file = `lib/${each}.js`;
      const { text, names: wanted } = stripped(fs.readFileSync(path.join(folder, file), 'utf8'));
      for (const one of wanted) {
        const found = one.startsWith('.') ? path.posix.join(path.posix.dirname(file), one) : one;
        if (bundles[found] === undefined) asked.add(found);
      }
      return part(file, text);
    });
    return parts.join('');
  });
  // Written out, so that whatever bundles a runner, or looks for its files, finds them.
  const ways = [...asked].map((found) => {
    const isFile = fs.existsSync(path.join(folder, found));
    return `'${found}': () => require('${isFile ? `../../${found}` : found}'),\n`;
  });
  const manifest = part('package.json', `module.exports = ${JSON.stringify({ name, version })};`);
  const known = `const bundles = ${JSON.stringify(bundles)};\nconst ways = {\n${ways.join('')}};\n`;
  fs.mkdirSync(path.join(folder, 'lib', 'bundles'));
  const write = (/** @type {string} */ one, /** @type {string} */ text) =>
    fs.writeFileSync(path.join(folder, 'lib', 'bundles', `${one}.js`), head + text);
  write('start', `${known}const files = {\n${texts[0]}${manifest}};\n${LINKS}`);
  write('resume', `module.exports = {\n${texts[1]}};\n`);
  for (const file of Object.keys(bundles)) {
    if (!file.startsWith('lib/')) continue;
    const way = path.posix.relative(path.posix.dirname(file), 'lib/bundles/start.js');
    const from = way.startsWith('.') ? way : `./${way}`;
    fs.writeFileSync(
      path.join(folder, file),
      `module.exports = require('${from}').load('${file}');\n`,
    );
  }
  shorten(path.join(folder, 'lib', 'register.mjs'));
}

/**
 * The preload asks for its bundle itself.
 * @param {string} file
 */
function shorten(file) {
  const text = fs.readFileSync(file, 'utf8');
  const short = text.replace("('./preload.js')", "('./bundles/start.js').load('lib/preload.js')");
  if (short === text) throw new Error(`${file} does not ask for ./preload.js any more`);
  fs.writeFileSync(file, short);
}

/**
 * A file without its comments and layout, and the names that it requires.
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
    compact: true,
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
