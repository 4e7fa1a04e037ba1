// The documents tell what is: every error code has its row and its test, every link leads somewhere.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { repo } from './support/project.mjs';

/** @param {string} folder @param {RegExp} name @returns {string[]} */
function filesBelow(folder, name) {
  return fs
    .readdirSync(path.join(repo, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && name.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/** @param {string[]} files */
const textOf = (files) => files.map((file) => fs.readFileSync(file, 'utf8')).join('\n');
/** @param {string} text */
const codesIn = (text) =>
  [...new Set(text.match(/\bERR_[A-Z]+_?[A-Z_]*[A-Z]\b/g))]
    .filter((code) => !NODES.has(code))
    .sort();
// Node's own, which our sources look out for.
const NODES = new Set([
  'ERR_INVALID_ARG_VALUE',
  'ERR_MODULE_NOT_FOUND',
  'ERR_WORKER_OUT_OF_MEMORY',
]);

const sources = textOf([
  ...filesBelow('src', /\.rs$/),
  ...filesBelow('lib', /\.js$/),
  ...filesBelow('cli', /\.mjs$/),
]);
const documented = fs.readFileSync(path.join(repo, 'docs', 'errors.md'), 'utf8');

test('every error code has a row in docs/errors.md, and every row is an error code', () => {
  const rows = [...documented.matchAll(/^\| `(ERR_[A-Z_]+)` \|/gm)].map((row) => row[1]);
  expect(rows.toSorted()).toEqual(codesIn(sources));
  expect(new Set(rows).size).toBe(rows.length);
});

test('every kind of damage has a row', () => {
  const damage = fs.readFileSync(path.join(repo, 'src', 'model', 'damage.rs'), 'utf8');
  const kinds = [...damage.matchAll(/Self::\w+(?:\(_\))? => "(\w+)"/g)].map((kind) => kind[1]);
  expect(kinds.length).toBeGreaterThan(10);
  for (const kind of kinds) expect(documented).toContain(`| \`${kind}\` |`);
});

test('every error code is reached by a test', () => {
  const tests = textOf([...filesBelow('__test__', /\.mjs$/), ...filesBelow('tests', /\.rs$/)]);
  // A defect can't be provoked on purpose.
  const missing = codesIn(sources).filter(
    (code) => code !== 'ERR_INTERNAL' && !tests.includes(code),
  );
  expect(missing).toEqual([]);
});

test('every option of a command is in its section of docs/cli.md', async () => {
  const text = fs.readFileSync(path.join(repo, 'docs', 'cli.md'), 'utf8');
  const sections = text.split(/^## /m).slice(1);
  const missing = [];
  for (const file of filesBelow('cli/commands', /\.mjs$/)) {
    const { definition } = await import(pathToFileURL(file).href);
    if (definition === undefined) continue;
    const { name, options = [] } = definition;
    const section = sections.find((one) => one.startsWith(`${name}\n`));
    // The small ones stand together.
    const told = section ?? sections.find((one) => one.startsWith('Changes\n')) ?? '';
    for (const { flags } of options) {
      const [flag] = flags.match(/--[\w-]+/) ?? [flags];
      if (!told.includes(flag)) missing.push(`${name} ${flag}`);
    }
  }
  expect(missing).toEqual([]);
});

describe('links', () => {
  const documents = [
    ...fs
      .readdirSync(repo)
      .filter((name) => name.endsWith('.md'))
      .map((name) => path.join(repo, name)),
    ...filesBelow('docs', /\.md$/),
    ...filesBelow('examples', /\.md$/),
  ];
  test.each(documents.map((file) => path.relative(repo, file)))('%s', (name) => {
    const file = path.join(repo, name);
    const text = fs.readFileSync(file, 'utf8');
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g)) {
      expect(fs.existsSync(path.join(path.dirname(file), target))).toBe(true);
    }
  });
});
