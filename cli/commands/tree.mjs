import { existingRun } from '../input.mjs';
import { plain } from '../output.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'tree',
  usage: '<run> [options]',
  summary: "show a run's checkpoints by what they descend from",
  about:
    "Shows a run's checkpoints by what they descend from, with the runs that were forked from them and those that do a part of their work.",
  arguments: [['run', "the run's id"]],
  options: [],
  examples: [['waymark tree demo', '']],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args }) {
  const tree = await manager.tree(/** @type {string} */ (args[0]));
  if (tree.roots.length === 0) await existingRun(manager, tree.runId);
  return {
    data: flat(tree),
    text: () => {
      const lines = [plain(tree.runId)];
      roots(tree.roots, '', lines);
      return lines.length === 1 ? 'no checkpoints' : lines.join('\n');
    },
  };
}

/**
 * As JSON a line of descent goes not down but along: it may be longer than readers of JSON go deep.
 * @param {import('../../index.js').RunTree} tree
 * @returns {object}
 */
function flat({ runId, roots }) {
  const nodes = [];
  for (const left = roots.toReversed(); left.length > 0; ) {
    const node = /** @type {import('../../index.js').TreeNode} */ (left.pop());
    nodes.push({
      ...node.checkpoint,
      children: node.children.map(({ checkpoint }) => checkpoint.checkpointId),
      runs: node.runs.map((run) => ({ kind: run.kind, ...flat(run) })),
    });
    left.push(...node.children.toReversed());
  }
  return { runId, checkpoints: nodes };
}

/**
 * A straight line of descent stays on one level; only where it parts the tree goes deeper.
 * @param {import('../../index.js').TreeNode[]} nodes
 * @param {string} indent
 * @param {string[]} lines
 */
function roots(nodes, indent, lines) {
  nodes.forEach((first, at) => {
    const last = at === nodes.length - 1;
    const below = `${indent}${last ? '   ' : '│  '}`;
    lines.push(`${indent}${last ? '└─' : '├─'} ${label(first)}`);
    let node = first;
    for (;;) {
      for (const run of node.runs) {
        lines.push(`${below}⤷ ${run.kind} ${plain(run.runId)}`);
        roots(run.roots, `${below}  `, lines);
      }
      if (node.children.length !== 1) break;
      node = node.children[0];
      lines.push(`${below}${label(node)}`);
    }
    roots(node.children, below, lines);
  });
}

/** @param {import('../../index.js').TreeNode} node */
function label({ checkpoint }) {
  const { checkpointId, step, state, damage, pin, facts } = checkpoint;
  const parts = [
    checkpointId,
    step === undefined ? '' : `step ${step}`,
    damage ?? state,
    pin ? 'pinned' : '',
    ...(facts?.labels ?? []),
  ];
  return plain(parts.filter((part) => part !== '').join('  '));
}
