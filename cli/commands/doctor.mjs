import { factList, plain, table } from '../output.mjs';

const PROBLEM = 3;

/** What each promise means, for people. @type {Record<string, string>} */
const PROMISES = {
  durable: 'what was confirmed survives power loss',
  atomic: 'a file is old or new, never half',
  exclusive: 'two processes never write one run at once',
  exact_files: 'files come back as they were',
  bounded: 'there is room for checkpoints',
};

/** @type {Record<'yes' | 'no' | 'unknown', import('../output.mjs').Format>} */
const COLOURS = { yes: 'green', no: 'red', unknown: 'yellow' };

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'doctor',
  usage: '[folder] [options]',
  summary: 'tell what this file system really does, and which promises hold on it',
  about:
    'Tells what a file system really does, and which promises of Waymark hold on it, by trying it out in a temporary folder there, which it removes. Needs neither a run nor a project.',
  arguments: [['folder', 'the folder to probe (default: the runs, else the working directory)']],
  options: [],
  examples: [
    ['waymark doctor', ''],
    ['waymark doctor /mnt/share', 'before the runs move there'],
    ['waymark doctor --json', 'for a report of a problem'],
  ],
  exits: [
    ['0', 'every promise holds'],
    ['1', 'refused or failed; also misuse'],
    [String(PROBLEM), "a promise does not hold, or can't be told"],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args: [folder] }) {
  const found = manager.doctorSync({ path: folder });
  return {
    data: found,
    text: (style) =>
      [
        factList(facts(found), style),
        '',
        probes(found, style),
        '',
        promises(found, style),
        '',
        summary(found),
      ].join('\n'),
    notices: found.warnings,
    exitCode: found.ok ? 0 : PROBLEM,
  };
}

/**
 * @param {import('../../index.js').DoctorResult} found
 * @returns {[string, string][]}
 */
function facts({ path, runsDir, storeDir, configFile, fileSystem, versions }) {
  const { waymark, node, platform, arch, libc } = versions;
  const { kind = 'unknown', source, mountPoint } = fileSystem;
  const mounted = source === undefined ? '' : `, ${source} on ${mountPoint}`;
  return [
    ['probed', path],
    ['runs', runsDir ?? 'none found'],
    ['store', storeDir ?? 'none found'],
    ['settings', configFile ?? 'none found'],
    ['file system', `${kind} (${fileSystem.class})${mounted}`],
    ['waymark', waymark],
    ['node', `${node}, ${platform} ${arch}${libc === null ? '' : `, ${libc}`}`],
  ];
}

/**
 * @param {import('../../index.js').DoctorResult} found
 * @param {import('../output.mjs').Style} style
 */
function probes({ probes }, style) {
  const columns = [{ title: 'PROBE' }, { title: 'OK' }, { title: 'OBSERVED' }, { title: 'ASKED' }];
  const rows = probes.map(({ name, ok, observed, detail }) => {
    const told = ok === null ? '?' : ok ? 'yes' : 'no';
    return [name, told, observed, detail];
  });
  return table(columns, rows, style);
}

/**
 * @param {import('../../index.js').DoctorResult} found
 * @param {import('../output.mjs').Style} style
 */
function promises({ promises }, style) {
  const columns = [
    { title: 'PROMISE' },
    { title: 'HOLDS' },
    { title: 'MEANING' },
    { title: 'WHY' },
  ];
  /** @type {import('../output.mjs').Cell[][]} */
  const rows = promises.map(({ name, holds, why, advice }) => [
    name,
    { text: holds, format: COLOURS[holds] },
    PROMISES[name] ?? '',
    advice === undefined ? why : `${why}; ${advice}`,
  ]);
  return table(columns, rows, style);
}

/** @param {import('../../index.js').DoctorResult} found */
function summary({ ok, path, promises }) {
  if (ok) return `all promises hold in ${plain(path)}`;
  const names = (/** @type {string} */ holds) =>
    promises.filter((one) => one.holds === holds).map((one) => one.name);
  const [broken, open] = [names('no'), names('unknown')];
  const parts = [];
  if (broken.length > 0) parts.push(`does not hold: ${broken.join(', ')}`);
  if (open.length > 0) parts.push(`can't be told: ${open.join(', ')}`);
  return parts.join('; ');
}
